import fs from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type CompactOptions,
  type CompactReport,
  compactBackup,
} from '../../src/maintenance/compact/compact.ts';
import { differences } from '../../src/maintenance/compact/differences.ts';
import { Retention } from '../../src/maintenance/compact/window.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { readDataFile, type StoredLine } from '../support/data-file.ts';
import { SampleBackup } from './backup-files.ts';
import { FIRST_TIME, type History, history } from './compact-history.ts';

const CONFIG: CompactOptions['config'] = {
  backupRetentionMs: 100_000,
  backupKeepPrevious: false,
  backupCompactMinSizeBytes: 0,
  backupCompactMaxSizeBytes: 0,
  backupCompactWorkThreshold: 1,
  chunkMaxBytes: 64 << 20,
  deflateEngine: 'auto',
};

/** With this `now` the retention begins behind `since`. */
const nowFor = (since: number): number => since * 1000 + CONFIG.backupRetentionMs;

function compact(
  backup: SampleBackup,
  options: Partial<CompactOptions> & { settings?: Partial<CompactOptions['config']> } = {},
): Promise<CompactReport> {
  const { settings, ...more } = options;
  return compactBackup({
    dataPath: backup.dataPath,
    config: { ...CONFIG, ...settings },
    force: true,
    ...more,
  });
}

/** Everything may be past the retention. */
function linesOf(backup: SampleBackup): StoredLine[] {
  return backup.bytes().length === 0 ? [] : readDataFile(backup.dataPath);
}

const lineText = ({ time, command, verb, text }: StoredLine): Buffer =>
  command === 'NOTE'
    ? Buffer.concat([Buffer.from(`${time} APPLY RESERVE %(NOTE ${verb} VALUE `), text, Buffer.from(')\r\n')])
    : Buffer.concat([Buffer.from(`${time} APPLY ${verb} `), text, Buffer.from('\r\n')]);

/** What a file's lines up to a time say, as an index; the caller closes and removes it. */
function stateAt(lines: StoredLine[], time: number): { index: BackupIndex; [Symbol.dispose](): void } {
  const until = lines.filter((line) => line.time <= time).map(lineText);
  const backup = new SampleBackup(until.length === 0 ? [] : [until]);
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  return {
    index,
    [Symbol.dispose]() {
      index.close();
      backup[Symbol.dispose]();
    },
  };
}

function expectSame(before: StoredLine[], after: StoredLine[], time: number, since: number): void {
  using old = stateAt(before, time);
  using fresh = stateAt(after, time);
  // Nothing that lives or went inside the retention is different; nothing is known here of what was touched.
  expect(differences(old.index, fresh.index, new Retention(since)), `at ${time}`).toEqual([]);
}

async function checkHistory({ chunks, times }: History, place: number, settings = {}): Promise<void> {
  using backup = new SampleBackup(chunks);
  const before = linesOf(backup);
  const since = times[place % times.length]! - 1 + (place % 2);
  const report = await compact(backup, { now: nowFor(since), settings });
  expect(report.compacted).toBe(true);
  expect(report.keptAll).toBeNull();
  expect(report.damagedPath).toBeNull();
  const after = linesOf(backup);
  const stamps = after.map((line) => line.time);
  expect(stamps).toEqual(stamps.toSorted((a, b) => a - b));
  const last = times.at(-1)!;
  for (const time of new Set([Math.max(since, FIRST_TIME), times[(place * 7) % times.length]!, last])) {
    if (time >= since) expectSame(before, after, time, since);
  }
  // Lines inside the retention are there as they were; marks of mailboxes to be healed may follow.
  const inside = (lines: StoredLine[]) =>
    lines
      .filter(({ time, verb }) => time > since && verb !== 'HEAL')
      .map((line) => lineText(line).toString('latin1'));
  expect(inside(after)).toEqual(inside(before));
  expect((await backup.verify()).findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
  // The index that compaction made is the one that the data file gives.
  const own = BackupIndex.open(backup.indexPath, { readonly: true });
  const marks = own.statement('SELECT count(*) FROM cb_heal', 'pluck').get();
  const ownChunks = own.chunks();
  own.close();
  fs.copyFileSync(backup.indexPath, `${backup.indexPath}.copy`);
  await reindexBackup({ dataPath: backup.dataPath, engine: loadDeflateEngine('auto'), keepPrevious: false });
  const [copy, rebuilt] = [`${backup.indexPath}.copy`, backup.indexPath].map((file) =>
    BackupIndex.open(file, { readonly: true }),
  ) as [BackupIndex, BackupIndex];
  expect(differences(copy, rebuilt, new Retention(Number.NEGATIVE_INFINITY))).toEqual([]);
  expect(rebuilt.chunks()).toEqual(ownChunks);
  expect(rebuilt.statement('SELECT count(*) FROM cb_heal', 'pluck').get()).toBe(marks);
  copy.close();
  rebuilt.close();
  // Compacted again at the same time it says the same.
  await compact(backup, { now: nowFor(since), settings });
  expectSame(before, linesOf(backup), last, since);
}

const numRuns = Number(process.env.COMPACT_RUNS ?? '40');

describe('compactBackup', () => {
  test('says at every moment inside the retention what the backup said before', {
    timeout: 600_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(history, fc.nat(1000), (h, place) => checkHistory(h, place)),
      { numRuns },
    );
  });
});
