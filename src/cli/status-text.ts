/** The answer to `status` for people. */
import { printDuration, printSize } from '../config/units.ts';
import type { Fields } from './admin-client.ts';
import { printUserid } from './userid-text.ts';

type Row = [label: string, text: string];

/** Lines `label  text`; what is not there is left out. */
export function statusText(status: Fields): string {
  const rows: Row[] = [
    ['server', `csync-backup ${status.version}, pid ${status.pid}, up ${since(status.startedAt)}`],
    ['configuration', String(status.config)],
    ['listening on', (status.addresses as string[]).join(', ')],
    ...restRows(status),
    ...activityRows(status),
    ...storeRows(status),
    ...partitionRows(status),
  ];
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `${label.padEnd(width)}  ${text}\n`).join('');
}

function restRows(status: Fields): Row[] {
  const frozen = status.frozen as Fields | null;
  const paused = status.paused as Fields[];
  return [
    ...(frozen === null
      ? []
      : [['FROZEN', `by ${frozen.by} until ${frozen.until ?? '(not at rest yet)'}`] satisfies Row]),
    ...paused.map(
      (one): Row => ['paused', `${printUserid(String(one.userid))} by ${one.by} until ${one.until}`],
    ),
  ];
}

function activityRows(status: Fields): Row[] {
  const { total, states, users } = status.sessions as {
    total: number;
    states: Record<string, number>;
    users: number;
  };
  const byState = Object.entries(states).map(([state, count]) => `${count} ${state}`);
  const { deflate, store } = status.queue as { deflate: number; store: number[] };
  const slabs = status.slabs as { total: number; free: number; waiting: number };
  return [
    ['sessions', `${total}${total === 0 ? '' : ` (${byState.join(', ')})`}, ${users} backups open`],
    ['queues', `compression ${deflate}, store threads ${store.join(' ')}`],
    [
      'memory',
      `${size(status.residentBytes)}, ${slabs.free} of ${slabs.total} slabs free, ${slabs.waiting} waiting`,
    ],
  ];
}

function storeRows(status: Fields): Row[] {
  const s = status.store as Record<string, number>;
  const gone = status.threadsGone as number[];
  return [
    [
      'since start',
      `${s.recoveries} recoveries, ${s.indexRebuilds} indexes rebuilt, ${s.damagedChunks} damaged chunks, ` +
        `${s.failures} failures, ${s.locksRefused} locks refused`,
    ],
    ...(gone.length === 0 ? [] : [['STORE THREADS', `${gone.join(', ')} are gone`] satisfies Row]),
  ];
}

function partitionRows(status: Fields): Row[] {
  return (status.partitions as Fields[]).map(({ name, path, freeBytes, usedPercent, problem }) => [
    'partition',
    problem === undefined
      ? `${name} ${path}: ${usedPercent}% used, ${size(freeBytes)} free`
      : `${name} ${path}: ${problem}`,
  ]);
}

function since(time: unknown): string {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(String(time))) / 1000));
  return printDuration(seconds * 1000);
}

/** With three digits or so. */
export function size(bytes: unknown): string {
  if (typeof bytes !== 'number') return '?';
  for (const [unit, step] of [
    ['G', 2 ** 30],
    ['M', 2 ** 20],
    ['K', 2 ** 10],
  ] as const) {
    if (bytes >= step) return `${(bytes / step).toFixed(bytes >= 100 * step ? 0 : 1)}${unit}`;
  }
  return printSize(bytes);
}
