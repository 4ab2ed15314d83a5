/** A panel with lines over time. */
import type { Line, PanelModel, Range, Step } from './model.ts';
import { type Box, COLOURS, cut, line, PALETTE, path, rect, text, textWidth } from './svg.ts';
import { shown } from './units.ts';

const AXIS_WIDTH = 62;
const LEGEND_LINE = 15;
const LEGEND_LINES = 3;
const SIZE = 10;
/** In seconds: of minutes, hours and days. */
const CLOCK_STEPS = [30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800];

export function graph(panel: PanelModel, lines: readonly Line[], box: Box, range: Range): string {
  const { unit = 'short', noValue, max, custom } = panel.fieldConfig.defaults;
  const visible = lines.filter(({ points }) => points.length > 0);
  if (visible.length === 0)
    return text(box.x + box.width / 2, box.y + box.height / 2, noValue ?? 'No data', {
      anchor: 'middle',
      colour: COLOURS.faint!,
    });
  const legend = legendOf(visible, box);
  const plot = {
    x: box.x + AXIS_WIDTH,
    y: box.y + 6,
    width: box.width - AXIS_WIDTH - 10,
    height: box.height - 26 - legend.height,
  };
  const isStacked = custom?.stacking?.mode === 'normal';
  const drawn = isStacked ? stacked(visible, range) : visible.map(({ points }) => points);
  const top = max ?? Math.max(...drawn.flat().map(([, value]) => value), 0);
  const bottom = Math.min(0, ...drawn.flat().map(([, value]) => value));
  const ticks = ticksOf(bottom, top, unit);
  const highest = ticks.at(-1)!;
  const at = ([time, value]: [number, number]): [number, number] => [
    plot.x + ((time - range.from) / (range.to - range.from)) * plot.width,
    plot.y + plot.height - ((value - ticks[0]!) / (highest - ticks[0]!)) * plot.height,
  ];
  const parts = ticks.map((tick) => {
    const [, y] = at([range.from, tick]);
    return (
      line(plot.x, y, plot.x + plot.width, y, COLOURS.grid!) +
      text(plot.x - 6, y + 3.5, shown(tick, unit), { size: SIZE, anchor: 'end', colour: COLOURS.faint! })
    );
  });
  parts.push(...times(range, plot));
  for (const step of limits(panel)) {
    if (step.value! >= highest || step.value! < ticks[0]!) continue;
    const [, y] = at([range.from, step.value!]);
    parts.push(line(plot.x, y, plot.x + plot.width, y, COLOURS[step.color]!, 'stroke-dasharray="6 4"'));
  }
  for (const [index, points] of [...drawn.entries()].reverse()) {
    const colour = PALETTE[index % PALETTE.length]!;
    const places = withGaps(points, range).map((point) => point && at(point));
    if (isStacked) parts.push(area(places, at([range.from, 0])[1], colour));
    parts.push(path(places, `fill="none" stroke="${colour}" stroke-width="1.2"`));
  }
  return [...parts, ...legend.parts].join('');
}

function limits(panel: PanelModel): Step[] {
  return (panel.fieldConfig.defaults.thresholds?.steps ?? []).filter(({ value }) => value !== null);
}

/** Each line upon the one before. */
function stacked(lines: readonly Line[], range: Range): [number, number][][] {
  const sums = new Map<number, number>();
  return lines.map(({ points }) =>
    points.map(([time, value]) => {
      const key = Math.round((time - range.from) / range.step);
      sums.set(key, (sums.get(key) ?? 0) + value);
      return [time, sums.get(key)!];
    }),
  );
}

function withGaps(points: readonly [number, number][], { step }: Range): ([number, number] | undefined)[] {
  const out: ([number, number] | undefined)[] = [];
  for (const point of points) {
    const before = out.at(-1);
    if (before !== undefined && point[0] - before[0] > step * 1.5) out.push(undefined);
    out.push(point);
  }
  return out;
}

function area(places: readonly ([number, number] | undefined)[], floor: number, colour: string): string {
  const known = places.filter((place) => place !== undefined);
  if (known.length === 0) return '';
  const around: [number, number][] = [[known[0]![0], floor], ...known, [known.at(-1)![0], floor]];
  return path(around, `fill="${colour}" fill-opacity="0.45"`);
}

/** About four round values, from the one below the lowest to the one above the highest. */
function ticksOf(bottom: number, top: number, unit: string): number[] {
  const base = unit === 'bytes' || unit === 'Bps' ? 1024 : 10;
  const span = top - bottom || 1;
  const rough = span / 4;
  const power = base ** Math.floor(Math.log(rough) / Math.log(base));
  const clock = unit === 's' ? CLOCK_STEPS.find((one) => one >= rough && rough >= 15) : undefined;
  const steps = base === 10 ? [1, 2, 2.5, 5, 10] : [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];
  const step = clock ?? steps.map((factor) => factor * power).find((one) => one >= rough)!;
  const first = Math.floor(bottom / step);
  const last = Math.max(first + 1, Math.ceil(top / step));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function times({ from, to }: Range, plot: Box): string[] {
  const every =
    [15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400].find(
      (one) => (to - from) / one <= plot.width / 70,
    ) ?? 604_800;
  const marks: string[] = [];
  for (let time = Math.ceil(from / every) * every; time <= to; time += every) {
    const x = plot.x + ((time - from) / (to - from)) * plot.width;
    const words = new Date(time * 1000).toISOString().slice(11, every < 60 ? 19 : 16);
    marks.push(line(x, plot.y, x, plot.y + plot.height, COLOURS.grid!));
    marks.push(
      text(x, plot.y + plot.height + 14, words, { size: SIZE, anchor: 'middle', colour: COLOURS.faint! }),
    );
  }
  return marks;
}

function legendOf(lines: readonly Line[], box: Box): { height: number; parts: string[] } {
  const rows: { name: string; index: number; x: number }[][] = [[]];
  let x = 0;
  for (const [index, { name }] of lines.entries()) {
    const words = cut(name, SIZE, box.width - 40);
    const width = 28 + textWidth(words, SIZE);
    if (x > 0 && x + width > box.width - 16) {
      rows.push([]);
      x = 0;
    }
    rows.at(-1)!.push({ name: words, index, x });
    x += width;
  }
  const kept = rows.slice(0, LEGEND_LINES);
  const top = box.y + box.height - kept.length * LEGEND_LINE;
  const parts = kept.flatMap((row, n) =>
    row.map(({ name, index, x: left }) => {
      const y = top + n * LEGEND_LINE + 10;
      return (
        rect({ x: box.x + 10 + left, y: y - 4, width: 10, height: 3 }, PALETTE[index % PALETTE.length]!) +
        text(box.x + 24 + left, y, name, { size: SIZE })
      );
    }),
  );
  return { height: kept.length * LEGEND_LINE, parts };
}
