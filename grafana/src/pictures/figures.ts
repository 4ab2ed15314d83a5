/** Panels that show the present: large figures, bars, lists. */
import { colourOf, type Line, type PanelModel } from './model.ts';
import { type Box, COLOURS, cut, line, rect, text, textWidth } from './svg.ts';
import { shown } from './units.ts';

export function figure(panel: PanelModel, lines: readonly Line[], box: Box): string {
  const all = lines.filter(({ points }) => points.length > 0);
  if (all.length === 0) return tile(box, COLOURS.panel!, panel.fieldConfig.defaults.noValue ?? '-', '');
  const width = box.width / all.length;
  return all
    .map(({ name, points }, index) => {
      const value = points.at(-1)![1];
      const part = { ...box, x: box.x + index * width + 2, width: width - 4 };
      const isNamed =
        all.length > 1 ||
        /\{\{/.test(panel.targets?.[0]?.legendFormat ?? '') ||
        (panel.targets?.length ?? 0) > 1;
      return tile(part, COLOURS[colourOf(panel, name, value)]!, words(panel, value), isNamed ? name : '');
    })
    .join('');
}

function tile(box: Box, colour: string, words: string, name: string): string {
  const isEmpty = colour === COLOURS.panel;
  const size = Math.min(34, box.height * 0.5, (box.width - 12) / (words.length * 0.56));
  const middle = box.y + box.height / 2;
  const ink = isEmpty ? COLOURS.faint! : '#ffffff';
  return (
    rect(box, colour, `rx="2"${isEmpty ? '' : ' fill-opacity="0.75"'}`) +
    text(box.x + box.width / 2, middle + size * 0.35 - (name === '' ? 0 : 7), words, {
      size,
      anchor: 'middle',
      colour: ink,
      weight: 600,
    }) +
    (name === ''
      ? ''
      : text(box.x + box.width / 2, box.y + box.height - 8, cut(name, 11, box.width - 8), {
          anchor: 'middle',
          colour: ink,
        }))
  );
}

export function bars(panel: PanelModel, lines: readonly Line[], box: Box): string {
  const all = lines.filter(({ points }) => points.length > 0);
  const { defaults } = panel.fieldConfig;
  if (all.length === 0)
    return text(box.x + box.width / 2, box.y + box.height / 2, defaults.noValue ?? 'No data', {
      anchor: 'middle',
      colour: COLOURS.faint!,
    });
  const values = all.map(({ points }) => points.at(-1)![1]);
  const top = defaults.max ?? Math.max(...values, 1e-9);
  const height = Math.min(30, box.height / all.length);
  const namesWidth = Math.min(box.width * 0.45, Math.max(...all.map(({ name }) => textWidth(name, 11))) + 14);
  const valuesWidth = 62;
  const scale = box.width - namesWidth - valuesWidth - 12;
  return all
    .map(({ name }, index) => {
      const value = values[index]!;
      const y = box.y + index * height;
      const colour = COLOURS[colourOf(panel, name, value)]!;
      const bar = { x: box.x + namesWidth, y: y + 3, height: height - 6, width: scale };
      const length = Math.max(value > 0 ? 2 : 0, Math.min(1, value / top) * scale);
      return (
        text(box.x + 8, y + height / 2 + 4, cut(name, 11, namesWidth - 8), {}) +
        rect(bar, COLOURS.grid!, 'fill-opacity="0.6"') +
        rect({ ...bar, width: length }, colour) +
        text(bar.x + scale + 6, y + height / 2 + 4, words(panel, value), { colour, weight: 600 })
      );
    })
    .join('');
}

export function list(panel: PanelModel, lines: readonly Line[], box: Box): string {
  const { options } = panel.transformations?.find(({ id }) => id === 'organize') ?? {};
  const rows = lines.map(({ labels }) => labels);
  let x = box.x + 8;
  const parts = [line(box.x + 6, box.y + 20, box.x + box.width - 6, box.y + 20, COLOURS.border!)];
  for (const [label, name] of Object.entries(options?.renameByName ?? {})) {
    const cells = rows.map((labels) => labels[label] ?? '').slice(0, Math.floor(box.height / 20) - 1);
    parts.push(text(x, box.y + 14, name, { colour: '#6e9fff' }));
    parts.push(...cells.map((cell, row) => text(x, box.y + 34 + row * 20, cell)));
    x += Math.max(...[name, ...cells].map((words) => textWidth(words, 11))) + 18;
  }
  if (lines.length === 0)
    parts.push(
      text(box.x + 8, box.y + 34, panel.fieldConfig.defaults.noValue ?? '', { colour: COLOURS.faint! }),
    );
  return parts.join('');
}

function words(panel: PanelModel, value: number): string {
  const { unit = 'short', decimals, mappings = [] } = panel.fieldConfig.defaults;
  return mappings[0]?.options[String(value)]?.text ?? shown(value, unit, decimals);
}
