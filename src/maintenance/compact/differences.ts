/** Whether a compacted backup says what the old one said, less what is past the retention. */
import type { BackupIndex } from '../../store/index/backup-index.ts';
import { type StateRow, stateRows } from '../../store/index/state-rows.ts';
import type { Retention } from './window.ts';

const MAX_DIFFERENCES = 5;

/** The first few differences, for people; empty if there are none. Both indexes stay as they are meanwhile. */
export function differences(before: BackupIndex, after: BackupIndex, retention: Retention): string[] {
  const gone = retention.goneMailboxes(before);
  const [old, fresh] = [kept(before, retention, gone), kept(after, retention, gone)];
  const found: string[] = [];
  let a = old.next();
  let b = fresh.next();
  while (!(a.done && b.done) && found.length < MAX_DIFFERENCES) {
    const order = a.done ? 1 : b.done ? -1 : compare(a.value, b.value);
    if (order === 0 && !isSame(a.value!, b.value!)) {
      found.push(`${nameOf(a.value!)}: ${a.value!.text} became ${b.value!.text}`);
    } else if (order < 0) found.push(`${nameOf(a.value!)} is lost: ${a.value!.text}`);
    else if (order > 0) found.push(`${nameOf(b.value!)} was not there before: ${b.value!.text}`);
    if (order <= 0) a = old.next();
    if (order >= 0) b = fresh.next();
  }
  old.return();
  fresh.return();
  return found;
}

/** A message that had been given up, but whose bytes were found after all, is no loss. */
function isSame(before: StateRow, after: StateRow): boolean {
  if (before.text === after.text) return true;
  return before.kind === 'record' && before.text.replace(' missing ', ' here ') === after.text;
}

function* kept(
  index: BackupIndex,
  retention: Retention,
  gone: ReadonlySet<string>,
): Generator<StateRow, void> {
  for (const row of stateRows(index)) if (retention.keepsRow(row, gone)) yield row;
}

function compare(a: StateRow, b: StateRow): number {
  if (a.kind !== b.kind) return a.kind < b.kind ? -1 : 1;
  return a.key === b.key ? 0 : a.key < b.key ? -1 : 1;
}

function nameOf({ kind, key }: StateRow): string {
  return `${kind} ${key}`;
}
