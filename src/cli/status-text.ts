/** The answer to `status` for people. */
import { printDuration, printSize } from '../config/units.ts';
import type { SchedulerStatus } from '../maintenance/scheduler.ts';
import type { Fields } from './admin-client.ts';

export type Row = [label: string, text: string];

/** Lines `label  text`; what is not there is left out. */
export function statusText(status: Fields): string {
  const rows: Row[] = [
    ['server', `csync-backup ${status.version}, pid ${status.pid}, up ${since(status.startedAt)}`],
    ['configuration', String(status.config)],
    ['listening on', (status.addresses as string[]).join(', ')],
    ...restRows(status),
    ...activityRows(status),
    ...storeRows(status),
    ...(status.maintenance === null ? [] : maintenanceRows(status.maintenance as Fields)),
    ...partitionRows(status),
  ];
  return rowsText(rows);
}

export function rowsText(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `${label.padEnd(width)}  ${text}\n`).join('');
}

/** What the server's maintenance does, as SchedulerStatus says it. */
export function maintenanceRows(status: Fields): Row[] {
  const { running, run, held, rateBytes, verify, runs, faulty } = status as unknown as SchedulerStatus;
  const rate = rateBytes === 0 ? 'no limit on reading' : `at most ${size(rateBytes)} read per second`;
  const rows: Row[] = [];
  const now = running === null ? 'nothing' : `${running.kind} ${running.userid} for ${since(running.since)}`;
  rows.push(['maintenance', `${held ? 'HELD by a freeze; ' : ''}running: ${now}; ${rate}`]);
  if (run !== null)
    rows.push([run.kind, `all backups, since ${run.since}, now behind ${run.after || '(the beginning)'}`]);
  const every = verify.everySeconds === 0 ? 'off' : `every ${printDuration(verify.everySeconds * 1000)}`;
  rows.push([
    'verify',
    `${every}, next ${verify.next ?? '-'}; ${verify.backups} backups: ${verify.neverVerified} never verified, ` +
      `${verify.overdue} overdue, ${verify.faulty} faulty`,
  ]);
  for (const { kind, next, lastSuccess } of runs)
    rows.push([kind, `next ${next ?? 'never'}, last ended ${lastSuccess ?? 'never'}`]);
  const pull = status.pull as SchedulerStatus | null;
  if (pull !== null) {
    const asked = pull.running === null ? '' : `asking for ${pull.running.userid}; `;
    const [{ next, lastSuccess } = { next: null, lastSuccess: null }] = pull.runs;
    rows.push(['pull', `${asked}next ${next ?? 'never'}, last ended ${lastSuccess ?? 'never'}`]);
  }
  if (faulty.length > 0) rows.push(['FAULTY', faulty.join(' ')]);
  return rows;
}

function restRows(status: Fields): Row[] {
  const frozen = status.frozen as Fields | null;
  const paused = status.paused as Fields[];
  return [
    ...(frozen === null
      ? []
      : [['FROZEN', `by ${frozen.by} until ${frozen.until ?? '(not at rest yet)'}`] satisfies Row]),
    ...paused.map((one): Row => ['paused', `${one.userid} by ${one.by} until ${one.until}`]),
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
    ['sessions', `${total}${total === 0 ? '' : ` (${byState.join(', ')})`}, backups open: ${users}`],
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

export function partitionRows(status: Fields): Row[] {
  return (status.partitions as Fields[]).map(({ name, path, freeBytes, usedPercent, problem }) => [
    problem === undefined ? 'partition' : 'PARTITION',
    `${name} ${path}: ${[
      ...(problem === undefined ? [] : [`NOT USABLE (${problem})`]),
      ...(freeBytes === null ? [] : [`${usedPercent}% used`, `${size(freeBytes)} free`]),
    ].join(', ')}`,
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
