/** A whole dashboard as a picture, from the data of a Prometheus. */
import type { PrometheusApi, Sample } from '../../../test/prometheus/harness/prometheus.ts';
import { filled } from '../expressions.ts';
import { bars, figure, list } from './figures.ts';
import { graph } from './graph.ts';
import type { DashboardModel, Line, PanelModel, Range } from './model.ts';
import { type Box, COLOURS, cut, picture, rect, text } from './svg.ts';

const WIDTH = 1440;
const COLUMN = WIDTH / 24;
/** As Grafana's rows, but a bit lower. */
const ROW = 29;
const HEAD = 40;
const GAP = 4;
const TITLE = 24;

export interface Asked {
  api: PrometheusApi;
  range: Range;
  variables: Record<string, string>;
}

export async function drawn(dashboard: DashboardModel, asked: Asked): Promise<string> {
  const rows = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
  const parts = [text(12, 26, dashboard.title, { size: 17, weight: 600 })];
  for (const panel of dashboard.panels) parts.push(await part(panel, asked));
  return picture(dashboard.title, WIDTH, HEAD + rows * ROW + GAP, parts);
}

async function part(panel: PanelModel, asked: Asked): Promise<string> {
  const { x, y, w, h } = panel.gridPos;
  const box = {
    x: x * COLUMN + GAP / 2,
    y: HEAD + y * ROW + GAP / 2,
    width: w * COLUMN - GAP,
    height: h * ROW - GAP,
  };
  if (panel.type === 'row') return text(box.x + 6, box.y + 18, panel.title, { size: 14, weight: 600 });
  const inner = { x: box.x, y: box.y + TITLE, width: box.width, height: box.height - TITLE - 6 };
  return (
    rect(box, COLOURS.panel!, `stroke="${COLOURS.border}" rx="2"`) +
    text(box.x + 8, box.y + 16, cut(panel.title, 12, box.width - 12), { size: 12, weight: 600 }) +
    content(panel, await linesOf(panel, asked), inner, asked.range)
  );
}

function content(panel: PanelModel, lines: readonly Line[], box: Box, range: Range): string {
  switch (panel.type) {
    case 'timeseries':
      return graph(panel, lines, box, range);
    case 'stat':
      return figure(panel, lines, box);
    case 'bargauge':
      return bars(panel, lines, box);
    default:
      return list(panel, lines, box);
  }
}

async function linesOf({ targets = [] }: PanelModel, { api, range, variables }: Asked): Promise<Line[]> {
  const lines: Line[] = [];
  for (const { expr, legendFormat, instant } of targets) {
    const query = filled(expr, variables);
    const samples = instant ? await api.query(query) : await api.queryRange(query, range);
    lines.push(...samples.map((sample) => lineOf(sample, legendFormat)));
  }
  return lines;
}

function lineOf({ metric, value, values }: Sample, legend: string): Line {
  const points = (values ?? (value === undefined ? [] : [value]))
    .map(([time, number]): [number, number] => [time, Number(number)])
    .filter(([, number]) => Number.isFinite(number));
  const name = legend.replaceAll(/\{\{(\w+)\}\}/g, (_, label: string) => metric[label] ?? '').trim();
  return { name, labels: metric, points };
}
