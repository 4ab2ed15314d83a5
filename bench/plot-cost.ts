/** Draws the figures of bench/cost.ts: `node bench/plot-cost.ts [JSON] [SVG]`. */
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { CostPoint, CostReport } from './cost.ts';

const ROOT = path.join(import.meta.dirname, '..');
const [
  ,
  ,
  from = path.join(ROOT, 'bench', 'cost.json'),
  to = path.join(ROOT, 'docs', 'cost-against-size.svg'),
] = process.argv;

interface Curve {
  title: string;
  color: string;
  value(point: CostPoint): number;
}

/** Panels of a column, from the top; their curves share an axis, which begins at 0. */
const ROWS: readonly { title: string; unit: string; curves: readonly Curve[] }[] = [
  {
    title: 'CPU of an update',
    unit: 'ms',
    curves: [{ title: 'CPU', color: '#1f6fb2', value: ({ cpuMsPerUpdate }) => cpuMsPerUpdate }],
  },
  {
    title: 'from connect to the OK of RESTART',
    unit: 'ms',
    curves: [
      { title: 'median', color: '#1f6fb2', value: ({ medianMs }) => medianMs },
      { title: '95 %', color: '#d1711b', value: ({ p95Ms }) => p95Ms },
    ],
  },
  {
    title: 'peak memory of the server',
    unit: 'MB',
    curves: [{ title: 'memory', color: '#1f6fb2', value: ({ peakMegabytes }) => peakMegabytes }],
  },
];

const WIDTH = 380;
const HEIGHT = 170;
const LEFT = 56;
const TOP = 66;
const GAP = { x: 70, y: 62 };
const FONT = 'font-family="sans-serif"';

function draw({ bytes, users, facts, at }: CostReport): string {
  const columns = [
    { points: bytes, axis: 'bytes of the backup', name: sizeName },
    { points: users, axis: 'users in the store', name: countName },
  ];
  const width = LEFT + columns.length * (WIDTH + GAP.x);
  const height = TOP + ROWS.length * (HEIGHT + GAP.y) + 8;
  const panels = columns.flatMap(({ points, axis, name }, column) =>
    ROWS.map((row, line) => {
      const most = Math.max(
        ...columns.flatMap((one) => one.points.flatMap((p) => row.curves.map((c) => c.value(p)))),
      );
      const [x, y] = [LEFT + column * (WIDTH + GAP.x), TOP + line * (HEIGHT + GAP.y)];
      return `<g transform="translate(${x} ${y})">${panel(points, row, axis, name, niceAbove(most))}</g>`;
    }),
  );
  const caption = `${at.slice(0, 10)}, ${facts.cores} cores of ${facts.cpu}, Node ${facts.node}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    '<title>What a small update costs against the size of the backup and the number of users</title>',
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(LEFT, 20, 'What a small update costs', 'font-size="15" font-weight="bold"'),
    text(LEFT, 36, caption, 'font-size="11" fill="#666"'),
    ...panels,
    '</svg>\n',
  ].join('\n');
}

/** @param top value at the upper border */
function panel(
  points: readonly CostPoint[],
  { title, unit, curves }: (typeof ROWS)[number],
  axis: string,
  name: (size: number) => string,
  top: number,
): string {
  const logs = points.map(({ size }) => Math.log10(size));
  const [first, last] = [logs[0]!, logs.at(-1)!];
  const xOf = (log: number): number =>
    last === first ? WIDTH / 2 : ((log - first) / (last - first)) * WIDTH;
  const yOf = (value: number): number => HEIGHT - (value / top) * HEIGHT;
  const parts = [text(0, -6, `${title}, ${unit}`, 'font-size="12"')];
  for (let tick = 0; tick <= 4; tick++) {
    const [value, y] = [(top * tick) / 4, HEIGHT - (HEIGHT * tick) / 4];
    parts.push(`<line x1="0" x2="${WIDTH}" y1="${y}" y2="${y}" stroke="#ddd"/>`);
    parts.push(text(-6, y + 4, String(Number(value.toPrecision(3))), 'font-size="11" text-anchor="end"'));
  }
  for (const [at, log] of logs.entries()) {
    parts.push(text(xOf(log), HEIGHT + 15, name(points[at]!.size), 'font-size="11" text-anchor="middle"'));
  }
  parts.push(text(WIDTH / 2, HEIGHT + 30, axis, 'font-size="11" text-anchor="middle" fill="#666"'));
  for (const [i, { title: label, color, value }] of curves.entries()) {
    const places = points.map((point, at) => `${xOf(logs[at]!).toFixed(1)},${yOf(value(point)).toFixed(1)}`);
    parts.push(`<polyline points="${places.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>`);
    for (const place of places) {
      const [cx, cy] = place.split(',');
      parts.push(`<circle cx="${cx}" cy="${cy}" r="3" fill="${color}"/>`);
    }
    if (curves.length > 1) {
      parts.push(text(WIDTH - 8 - 60 * i, -6, label, `font-size="11" text-anchor="end" fill="${color}"`));
    }
  }
  return parts.join('');
}

function text(x: number, y: number, content: string, attributes: string): string {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}" ${FONT} ${attributes}>${escaped}</text>`;
}

/** 1, 2, 4, 6 or 8 times a power of ten, with some room above the value. */
function niceAbove(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 1.15) ?? 20 * power;
}

function sizeName(bytes: number): string {
  return bytes >= 1e9 ? `${bytes / 1e9} GB` : `${bytes / 1e6} MB`;
}

function countName(count: number): string {
  return count.toLocaleString('en');
}

writeFileSync(to, draw(JSON.parse(readFileSync(from, 'utf8')) as CostReport));
