import type { Row } from './targets.ts';

const HEAD = ['', '', 'ours', 'backupd', 'ratio', 'target', ''];

/** The rows as text, columns aligned; a ratio says how many times better ours is. */
export function printTable(rows: readonly Row[]): string {
  const cells = rows.map(({ name, unit, ours, peer, ratio, target, shortBy }) => [
    name,
    unit,
    figure(ours),
    figure(peer),
    ratio === undefined ? '' : `${figure(ratio)} x`,
    target,
    shortBy === undefined ? '' : shortBy <= 1 ? 'met' : 'MISSED',
  ]);
  const widths = HEAD.map((head, column) =>
    Math.max(head.length, ...cells.map((line) => line[column]!.length)),
  );
  const isNumber = (column: number): boolean => column >= 2 && column <= 4;
  return [HEAD, ...cells]
    .map((line) =>
      line
        .map((cell, column) =>
          isNumber(column) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** Three significant digits. */
function figure(value: number | undefined): string {
  if (value === undefined) return '';
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(value >= 10 ? 1 : 2);
}
