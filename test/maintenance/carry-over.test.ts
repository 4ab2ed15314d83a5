import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { stateRows } from '../../src/store/index/state-rows.ts';
import { SampleBackup } from './backup-files.ts';
import { type History, history } from './compact-history.ts';
import { compact, linesOf, nowFor, stateAt } from './compact-runs.ts';

const GONE = 'SELECT hex(CAST(uniqueid AS BLOB)) FROM mailbox WHERE deleted <= ?';
const OF_MAILBOXES: ReadonlySet<string> = new Set(['mailbox', 'record', 'seen']);

function goneMailboxes(index: BackupIndex, time: number): Set<string> {
  return new Set(index.statement(GONE, 'pluck').all(time) as string[]);
}

/** What lives, but for mailboxes of these UNIQUEIDs, in hex, and those that are gone. */
function liveRows(index: BackupIndex, without: ReadonlySet<string>): string[] {
  const gone = goneMailboxes(index, Number.MAX_SAFE_INTEGER);
  return [...stateRows(index)]
    .filter(({ kind, key, gone: time }) => {
      if (time !== null || kind === 'message' || kind === 'heal') return false;
      const uniqueid = key.split(' ')[0]!;
      return !(OF_MAILBOXES.has(kind) && (gone.has(uniqueid) || without.has(uniqueid)));
    })
    .map(({ kind, key, text }) => `${kind} ${key}: ${text}`);
}

/** Compacts a backup to which chunks are appended meanwhile. `turns`: how many at each progress. */
async function checkAppended({ chunks, times }: History, cut: number, place: number, turns: number[]) {
  const first = chunks.slice(0, 1 + (cut % chunks.length));
  const later = chunks.slice(first.length);
  using backup = new SampleBackup(first);
  const since = times[place % first.flat().length]! - 1 + (place % 2);
  const start = BackupIndex.open(backup.indexPath, { readonly: true });
  // One that comes back is sent as a whole; what it was before it went is past the retention.
  const gone = goneMailboxes(start, since);
  start.close();
  let turn = 0;
  const onProgress = (): void => {
    for (let n = turns[turn++ % turns.length]!; n > 0 && later.length > 0; n--)
      backup.append(later.shift()!, true);
  };
  expect(await compact(backup, { now: nowFor(since), onProgress })).toMatchObject({
    compacted: true,
    keptAll: null,
  });
  const { findings } = await backup.verify();
  expect(findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
  // What would come later finds another file, and is not taken without its messages.
  using whole = new SampleBackup(chunks.slice(0, chunks.length - later.length));
  const last = times.at(-1)!;
  using old = stateAt(linesOf(whole), last);
  using fresh = stateAt(linesOf(backup), last);
  expect(liveRows(fresh.index, gone)).toEqual(liveRows(old.index, gone));
}

test('what is appended during a compaction finds all that it counts on', { timeout: 600_000 }, async () => {
  const turns = fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }).filter((list) => list.some((n) => n > 0));
  await fc.assert(fc.asyncProperty(history, fc.nat(100), fc.nat(1000), turns, checkAppended), {
    numRuns: Number(process.env.COMPACT_RUNS ?? '40'),
  });
});
