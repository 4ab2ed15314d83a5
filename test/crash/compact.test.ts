import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { environment } from '../../src/maintenance/reindex.ts';
import { MAINTENANCE_CRASH_POINTS } from '../../src/platform/crash-points.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { openTrusted } from '../../src/store/recovery.ts';
import { LAUNCHER } from '../cli/run.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { stateText } from '../store/state-text.ts';
import { Random } from '../support/random.ts';

const ROUNDS = Number(process.env.CRASH_ROUNDS ?? '2');

/** Chunks of messages of long ago, of which some are long gone. */
function sample(seed: string, messages = 40): SampleBackup {
  const random = new Random(seed);
  const time = 1_600_000_000;
  const contents = Array.from(
    { length: messages },
    (_, i) => `${seed} ${i} ${random.bytes(2000).toString('hex')}`,
  );
  const records = contents.map((content, i) => ({ uid: i + 1, content }));
  return new SampleBackup([
    [messageLine(contents.slice(0, 10), time), mailboxLine('user.anne', records.slice(0, 10), { time })],
    [messageLine(contents.slice(10), time), mailboxLine('user.anne', records, { time })],
    [`${time + 10} APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (1 2 3 4 5))\r\n`],
    [`${time + 20} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`],
  ]);
}

function configOf(backup: SampleBackup): string {
  const file = path.join(backup.folder, 'imapd.conf');
  const lines = [
    `configdirectory: ${backup.folder}`,
    `backuppartition-default: ${backup.folder}`,
    'backup_chunk_max_size: 64K',
  ];
  fs.writeFileSync(file, `${lines.join('\n')}\n`);
  return file;
}

/** Runs `compact --force` until it ends or is killed. */
async function compact(backup: SampleBackup, crashAt: string, killAfterMs?: number): Promise<boolean> {
  const args = [LAUNCHER, 'compact', '--force', '-f', backup.dataPath, '-C', configOf(backup)];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, CSYNC_BACKUP_CRASH_AT: crashAt },
    detached: true,
    stdio: 'ignore',
  });
  const timer =
    killAfterMs === undefined
      ? undefined
      : setTimeout(() => process.kill(-child.pid!, 'SIGKILL'), killAfterMs);
  const [status, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    child.on('close', (...how) => resolve(how)),
  );
  clearTimeout(timer);
  return signal === 'SIGKILL' || status === 137;
}

/** What the backup must say: all of it, or all but what is past the retention. */
async function expectWhole(backup: SampleBackup, before: string): Promise<'old' | 'new'> {
  expect((await backup.verify()).findings).toEqual([]);
  const now = stateText(backup.indexPath);
  if (now === before) return 'old';
  const isKept = (line: string): boolean => line.startsWith('record ') && / - here /.test(line);
  expect(now.split('\n').filter(isKept)).toEqual(before.split('\n').filter(isKept));
  return 'new';
}

/** On a copy: the server opens what the crash has left without making the index anew, and clears it away. */
async function expectServerOpens(backup: SampleBackup): Promise<void> {
  const folder = path.join(backup.folder, 'copy');
  fs.mkdirSync(folder);
  for (const name of fs.readdirSync(backup.folder).filter((file) => file.startsWith('anne'))) {
    fs.copyFileSync(path.join(backup.folder, name), path.join(folder, name));
  }
  const env = environment({ engine: loadDeflateEngine('zlib'), keepPrevious: false });
  const file = DataFile.open(path.join(folder, path.basename(backup.dataPath)));
  expect(file.lock()).toBe(true);
  const { index, fileEnd } = await openTrusted(file, 'anne', env);
  expect(fileEnd).toBe(file.size());
  expect(index.state()?.committedEnd).toBe(fileEnd);
  index.close();
  file.close();
  expect(env.figures.take().values).not.toHaveProperty('index_rebuilds_total');
  expect(fs.readdirSync(folder).sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
  fs.rmSync(folder, { recursive: true });
}

async function expectNothingLeft(backup: SampleBackup): Promise<void> {
  const config = loadConfig({ file: configOf(backup) });
  expect(await compactBackup({ dataPath: backup.dataPath, config, force: true })).toMatchObject({
    compacted: true,
    keptAll: null,
  });
  const names = fs.readdirSync(backup.folder).filter((name) => name.startsWith('anne'));
  expect(names.sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
}

describe('compact killed', () => {
  for (const point of MAINTENANCE_CRASH_POINTS.filter((name) => name.startsWith('compact-'))) {
    test(point, async () => {
      using backup = sample(point);
      const before = stateText(backup.indexPath);
      expect(await compact(backup, point)).toBe(true);
      await expectServerOpens(backup);
      const isSwapped = ['compact-data-renamed', 'compact-index-renamed', 'compact-done'].includes(point);
      expect(await expectWhole(backup, before)).toBe(isSwapped ? 'new' : 'old');
      await expectNothingLeft(backup);
      expect(await expectWhole(backup, before)).toBe('new');
    });
  }

  test(`at random, ${ROUNDS} times`, { timeout: 30_000 + ROUNDS * 5000 }, async () => {
    const random = new Random('compact');
    for (let round = 0; round < ROUNDS; round++) {
      using backup = sample(`random ${round}`, 400);
      const before = stateText(backup.indexPath);
      const at = random.chance(0.5) ? `compact-chunk-written:${random.int(2, 12)}` : '';
      await compact(backup, at, at === '' ? random.int(400, 1200) : undefined);
      await expectWhole(backup, before);
      await expectNothingLeft(backup);
    }
  });
});
