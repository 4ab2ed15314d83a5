/** `csync-backup compact` by hand beside a running server whose client has the backup open and goes on writing. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { lockHolder } from '../../src/platform/file-lock.ts';
import { isLockFile } from '../../src/platform/file-lock-file.ts';
import { LAUNCHER } from '../cli/run.ts';
import { guidOf, mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { dataPathOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { pushInbox } from '../support/push.ts';
import type { CsyncWire } from '../support/wire.ts';

let site: BackupSite;
let server: BackupServer;
let wire: CsyncWire;

beforeAll(async () => {
  site = await BackupSite.create({ backup_verify_every: 'off' });
  server = await site.start();
  wire = await server.connect();
});

afterAll(async () => {
  wire.destroy();
  await server.kill();
  site.remove();
});

/** Enough for a compaction that is still at it when somebody looks. */
const LARGE = Array.from({ length: 6 }, () => randomBytes(1_000_000).toString('latin1'));

/** A backup of two chunks, which nobody has locked. */
async function makeBackup(user: string): Promise<string> {
  await pushInbox(wire, user, LARGE);
  await wire.ok('RESTART');
  await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}.Sent`, [])}`);
  await wire.ok('RESTART');
  await expect.poll(() => verified(site, user)).toBe('0 faults, 0 notices');
  return dataPathOf(site, user);
}

/** What the client brings, one message after the other, each in an update of its folder News. */
class News {
  readonly #user: string;
  readonly acknowledged: string[] = [];

  constructor(user: string) {
    this.#user = user;
  }

  /** The kind of the first answer that is not OK, or OK. */
  async bring(): Promise<string> {
    const content = `Subject: number ${this.acknowledged.length}\r\n\r\n`;
    const value = mailboxValue(`user.${this.#user}.News`, [...this.acknowledged, content]);
    for (const command of [`APPLY MESSAGE ${messageValue([content]).value}`, `APPLY MAILBOX ${value}`]) {
      const { kind } = await wire.command(command);
      if (kind !== 'OK') return kind;
    }
    this.acknowledged.push(content);
    return 'OK';
  }

  /** All that was acknowledged is stored, byte for byte, and so is what was there before. */
  async isThere(): Promise<void> {
    await expect.poll(() => verified(site, this.#user)).toBe('0 faults, 0 notices');
    const { lines } = await wire.ok(`GET FULLMAILBOX user.${this.#user}.News`);
    expect(lines[0]!.match(/\(UID \d+ /g)).toHaveLength(this.acknowledged.length);
    for (const content of [...this.acknowledged, ...LARGE]) {
      const fetch = `GET FETCH %(MBOXNAME user.${this.#user}.News PARTITION default UNIQUEID u GUID ${guidOf(content)} UID 1)`;
      expect((await wire.ok(fetch)).lines[0]!.includes(content)).toBe(true);
    }
    await wire.ok('RESTART');
  }
}

interface Compacting {
  pid: number;
  done: Promise<{ status: number | null; text: string }>;
  isDone: boolean;
}

function compact(user: string, ...args: string[]): Compacting {
  return compacting([LAUNCHER, 'compact', '-u', user, '--force', ...args, '-C', site.configFile]);
}

/** As the command does it, but it tries for half a second only to get the lock again. */
function compactImpatiently(user: string, dataPath: string): Compacting {
  const source = path.join(import.meta.dirname, '../../src');
  const options = JSON.stringify({ dataPath, userid: user, force: true, patienceMs: 500 });
  const script = `
    const { compactBackup } = await import('${source}/maintenance/compact/compact.ts');
    const { loadConfig } = await import('${source}/config/load.ts');
    const config = loadConfig({ file: '${site.configFile}' });
    await compactBackup({ config, ...${options} }).catch((error) => {
      console.log(error.code, error.message);
      process.exitCode = error.exitStatus;
    });`;
  return compacting(['--input-type=module', '-e', script]);
}

function compacting(args: string[]): Compacting {
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part: string) => (text += part));
  const one: Compacting = {
    pid: child.pid!,
    isDone: false,
    done: new Promise((resolve) => {
      child.on('close', (status) => {
        one.isDone = true;
        resolve({ status, text });
      });
    }),
  };
  return one;
}

/** One that stands still while it writes the new data file, and so has given up the lock. */
async function halfWay(dataPath: string, start: () => Compacting): Promise<Compacting> {
  for (;;) {
    const compacting = start();
    while (!compacting.isDone) {
      if ((fs.statSync(`${dataPath}.new`, { throwIfNoEntry: false })?.size ?? 0) > 0) {
        process.kill(compacting.pid, 'SIGSTOP');
        while (!compacting.isDone && !isStopped(compacting.pid)) await sleep(1);
        // On a busy machine this can be late: it may have the lock again, or be through.
        if (!compacting.isDone && fs.existsSync(`${dataPath}.new`) && !isLocked(dataPath)) return compacting;
        process.kill(compacting.pid, 'SIGCONT');
      }
      await sleep(2);
    }
    expect(await compacting.done).toMatchObject({ status: 0 });
  }
}

function isStopped(pid: number): boolean {
  try {
    return /^\d+ \(.*\) T/.test(fs.readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false; // it has ended
  }
}

function isLocked(dataPath: string): boolean {
  const fd = fs.openSync(dataPath, 'r+');
  try {
    return lockHolder(fd, 'exclusive') !== undefined;
  } finally {
    fs.closeSync(fd);
  }
}

function filesOf(dataPath: string): string[] {
  const name = path.basename(dataPath);
  return fs
    .readdirSync(path.dirname(dataPath))
    .filter((one) => one.startsWith(name) && !one.endsWith('-journal') && !isLockFile(one))
    .sort();
}

test('a backup that a session has open is skipped, and said to be', async () => {
  const dataPath = await makeBackup('anne');
  const news = new News('anne');
  expect(await news.bring()).toBe('OK');
  const compacting = compact('anne');
  while (!compacting.isDone) expect(await news.bring()).toBe('OK');
  const { status, text } = await compacting.done;
  expect(status).toBe(75);
  expect(text).toMatch(
    /^csync-backup: LOCKED: .*anne.*(locked by a session of the server or another program|has it locked)/m,
  );
  expect(text).toContain('1 backup: 0 done, 0 compacted, 0.0 kB freed, 1 failed\n');
  expect(filesOf(dataPath)).toEqual([path.basename(dataPath), `${path.basename(dataPath)}.index`]);
  expect(await news.bring()).toBe('OK');
  await wire.ok('RESTART');
  await news.isThere();
});

test('or waited for with --wait', async () => {
  const dataPath = await makeBackup('bob');
  const news = new News('bob');
  expect(await news.bring()).toBe('OK');
  const compacting = compact('bob', '--wait');
  const until = performance.now() + 1000;
  while (performance.now() < until) expect(await news.bring()).toBe('OK');
  expect([compacting.isDone, fs.existsSync(`${dataPath}.new`)]).toEqual([false, false]);
  await wire.ok('RESTART');
  expect(await compacting.done).toMatchObject({ status: 0, text: expect.stringContaining('chunks to ') });
  await news.isThere();
});

test('a session that comes meanwhile is served, and what it brings is taken over', async () => {
  const dataPath = await makeBackup('eve');
  const news = new News('eve');
  const compacting = await halfWay(dataPath, () => compact('eve', '--wait'));
  const inode = fs.statSync(dataPath).ino;
  // The compaction does nothing at all now, so nothing that is answered here has waited for it.
  for (let i = 0; i < 20; i++) {
    expect(await news.bring()).toBe('OK');
    if (i % 5 === 4) await wire.ok('RESTART');
  }
  expect(await news.bring()).toBe('OK');
  process.kill(compacting.pid, 'SIGCONT');
  const until = performance.now() + 1000;
  while (performance.now() < until) expect(await news.bring()).toBe('OK');
  expect(compacting.isDone).toBe(false);
  // It has the lock between two updates. Whoever comes then waits for it and is not refused.
  while (!compacting.isDone) {
    await wire.ok('RESTART');
    expect(await news.bring()).toBe('OK');
  }
  expect(await compacting.done).toMatchObject({ status: 0 });
  expect(fs.statSync(dataPath).ino).not.toBe(inode);
  await wire.ok('RESTART');
  await news.isThere();
});

test('a compaction that a session keeps from ending is given up, and leaves all as it was', async () => {
  const dataPath = await makeBackup('finn');
  const news = new News('finn');
  const compacting = await halfWay(dataPath, () => compactImpatiently('finn', dataPath));
  const before = fs.readFileSync(dataPath);
  expect(await news.bring()).toBe('OK');
  process.kill(compacting.pid, 'SIGCONT');
  const { status, text } = await compacting.done;
  expect(status).toBe(75);
  expect(text).toMatch(/^LOCKED .*Try again when the session has ended, or give --wait/);
  expect(filesOf(dataPath)).toEqual([path.basename(dataPath), `${path.basename(dataPath)}.index`]);
  expect(fs.readFileSync(dataPath).subarray(0, before.length).equals(before)).toBe(true);
  expect(await news.bring()).toBe('OK');
  await wire.ok('RESTART');
  await news.isThere();
});
