/** Whatever happens between a mail server and the backup server, in the end each message of the one is in the other. */
import { closeSync, cpSync, fstatSync, mkdirSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { noteVerified } from '../../src/maintenance/heal.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CsyncServer } from '../../src/server/server.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { asMap, readLine } from '../support/dlist-text.ts';
import { Random } from '../support/random.ts';
import { CsyncWire } from '../support/wire.ts';
import {
  FakeMail,
  FakeSyncClient,
  type Mailbox,
  RunFailed,
  recordsOf,
  type SyncCache,
} from './fake-sync-client.ts';
import { testConfig } from './harness.ts';

/** CI plays more. */
const SEEDS = (process.env.SYNC_SEEDS ?? '1-3').split('-').map(Number) as [number, number];
const STEPS = 40;

const { dir, config } = testConfig({ backup_shards: '2', backup_workers: '1', backup_retention: '1s' });
let server: CsyncServer;
let port: number;

beforeAll(async () => {
  const keys = await makeKeys('secret');
  await updateCredentials(config.passwdFile, ({ users }) => users.set('backup', keys));
  await start();
});

async function start(): Promise<void> {
  server = new CsyncServer({ config, log: pino({ level: 'silent' }), version: '0.0.0', engine: 'zlib' });
  await server.start();
  port = Number(/:(\d+)/.exec(server.addresses[0]!)![1]);
}

/** What one life has broken is not to break the next; `SYNC_KEEP` names a folder for what is to be looked at. */
async function beginAnew(seed: number): Promise<void> {
  await server.stop();
  const keep = process.env.SYNC_KEEP;
  for (const name of ['partition', 'conf']) {
    const folder = path.join(dir, name);
    if (keep !== undefined) cpSync(folder, path.join(keep, `life-${seed}`, name), { recursive: true });
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
  }
  await start();
}

afterAll(async () => {
  await server?.stop();
  rmSync(dir, { recursive: true, force: true });
});

for (let seed = SEEDS[0]; seed <= SEEDS.at(-1)!; seed++) {
  test(`life ${seed}`, async () => {
    const random = new Random(seed);
    const mail = new FakeMail(`life${seed}`, random);
    const users = ['a', 'b', 'c'].map((one) => `${one}${seed}`);
    const done: string[] = [];
    for (const user of users) mail.create(`user.${user}`);
    mail.create(`shared${seed}`);
    let saved: Mailbox[] | undefined;
    const isDamaged = seed % 3 === 0;
    const cache: SyncCache | undefined = seed % 4 === 1 ? new Map() : undefined;
    let serial = 0;
    let wasPutBack = false;
    // A mail server that was put back has no numbers of what it had forgotten later.
    const expires = seed % 2 === 0 && seed % 5 !== 2;
    // A replica that was taken for the mail server for a while: both push.
    const twin = seed % 5 === 2 ? mail.copy() : undefined;
    let hasCopy = false;
    const step = async (): Promise<void> => {
      const changed = twin !== undefined && random.chance(0.3) ? twin : mail;
      if (changed === twin) done.push('  on the twin:');
      const mailbox = random.pick(changed.mailboxes);
      const what = random.int(0, 21);
      if (what < 8) {
        done.push(`append ${mailbox.name}`);
        for (let n = random.int(1, 5); n > 0; n--) changed.append(mailbox);
      } else if (what < 12) {
        done.push(`change ${mailbox.name}`);
        for (let n = random.int(1, 5); n > 0; n--) changed.change(mailbox);
      } else if (what < 14) {
        const name = `user.${random.pick(users)}.f${++serial}`;
        done.push(`create ${name}`);
        changed.create(name);
      } else if (what === 14 && mailbox.name.split('.').length > 2) {
        done.push(`delete ${mailbox.name}`);
        changed.mailboxes.splice(changed.mailboxes.indexOf(mailbox), 1);
        if (random.chance(0.4)) changed.create(mailbox.name);
      } else if (what === 15 && mailbox.name.split('.').length > 2) {
        const name = mailbox.name.replace(/[^.]*$/, `r${++serial}`);
        done.push(`rename ${mailbox.name} to ${name}`);
        mailbox.name = name;
      } else if (what === 16 && mailbox.messages.length > 0) {
        done.push(`${mailbox.name} loses ${changed.lose(mailbox)}`);
      } else if (what === 20) {
        done.push(`${mailbox.name} gets another UIDVALIDITY`);
        mailbox.uidvalidity++;
        mailbox.modseq++;
      } else if (what === 21 && expires) {
        done.push(`expire ${mailbox.name}`);
        changed.expire(mailbox);
      } else if (what === 17 && random.chance(0.4) && !expires) {
        done.push(saved === undefined ? 'saved' : 'put back');
        if (saved === undefined) saved = structuredClone(mail.mailboxes);
        else [mail.mailboxes, saved, wasPutBack] = [saved, undefined, true];
      } else if (what === 18 && isDamaged) {
        done.push(`damage ${await damage(random, users)}`);
      } else if (what === 17 && random.chance(0.2)) {
        hasCopy = !hasCopy;
        done.push(hasCopy ? 'backups are copied' : 'backups are put back');
        await copyOrPutBack(hasCopy);
      } else if (what === 18 || what === 19) {
        done.push('compact');
        await compactAll(users);
      }
    };
    try {
      for (let n = 0; n < STEPS; n++) {
        await step();
        const life = { random, mail, users, done, cache, isDamaged };
        if (random.chance(0.6)) await push(life);
        if (twin !== undefined && random.chance(0.2)) {
          done.push('  by the twin:');
          await push({ ...life, mail: twin, cache: undefined });
        }
        if (random.chance(0.1)) await Promise.all([push(life), push(life)]);
      }
      done.push('all');
      const isSplit = wasPutBack || twin !== undefined;
      if (isSplit) await passDay(users);
      for (const user of [...users, undefined])
        for (let n = 0; n < (isDamaged || isSplit ? 5 : 3); n++)
          await eventuallySync(mail, (client) =>
            user === undefined ? client.some([`shared${seed}`]) : client.user(user),
          );
      await expectAll(mail);
      await expectNoOthers(mail, users);
      await expectRecords(mail);
    } catch (error) {
      process.stderr.write(`${done.join('\n')}\n`);
      await beginAnew(seed);
      throw error;
    }
  });
}

interface Life {
  random: Random;
  mail: FakeMail;
  users: readonly string[];
  done: string[];
  cache: SyncCache | undefined;
  isDamaged: boolean;
}

/** A client in one of its ways; several times by one connection, or broken off. */
async function push({ random, mail, users, done, cache, isDamaged }: Life): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login();
  const client = new FakeSyncClient(wire, mail, random.chance(0.7) ? cache : undefined);
  const isCut = random.chance(0.15);
  if (isCut) setTimeout(() => wire.destroy(), random.int(0, 12));
  try {
    for (let n = random.int(1, 3); n > 0; n--) {
      if (random.chance(0.5)) {
        const user = random.pick(users);
        done.push(`push -u ${user}${isCut ? ', cut' : ''}`);
        await client.user(user);
      } else {
        const names = mail.mailboxes.map(({ name }) => name).filter(() => random.chance(0.4));
        if (names.length === 0) continue;
        done.push(`push -m ${names.join(' ')}${isCut ? ', cut' : ''}`);
        await client.some(names);
      }
      if (random.chance(0.5)) await wire.ok('RESTART');
    }
    await wire.ok('EXIT');
  } catch (error) {
    if (!isCut && !(error instanceof RunFailed)) throw error;
    done.push(`  ${String(error)}`);
    // Nothing but damage makes a client give up.
    if (!isCut && !isDamaged && /twice/.test(String(error))) throw error;
  } finally {
    wire.destroy();
  }
}

async function eventuallySync(mail: FakeMail, run: (client: FakeSyncClient) => Promise<void>): Promise<void> {
  for (let n = 0; ; n++) {
    const wire = await (await CsyncWire.connect(port)).login();
    try {
      await run(new FakeSyncClient(wire, mail));
      await wire.ok('EXIT');
      return;
    } catch (error) {
      if (!(error instanceof RunFailed) || n > 50) throw error;
    } finally {
      wire.destroy();
    }
  }
}

function dataPaths(users: readonly string[]): string[] {
  const catalog = new Catalog(config.backupDbPath);
  const paths = [...users, '%SHARED'].flatMap((user) => catalog.get(user) ?? []);
  catalog.close();
  return paths;
}

/** A bit flips somewhere, and verify takes note of what that has cost. */
async function damage(random: Random, users: readonly string[]): Promise<string> {
  const paths = dataPaths(users);
  if (paths.length === 0) return 'nothing';
  const dataPath = random.pick(paths);
  const fd = openSync(dataPath, 'r+');
  const at = random.int(0, fstatSync(fd).size - 1);
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  byte[0]! ^= 1 << random.int(0, 7);
  writeSync(fd, byte, 0, 1, at);
  closeSync(fd);
  if (random.chance(0.2)) rmSync(`${dataPath}.index`, { force: true });
  else {
    const report = await verifyBackup({ dataPath, wait: true });
    await noteVerified(report, { engine: loadDeflateEngine('zlib'), wait: true });
  }
  return `${dataPath} at ${at}`;
}

/** Whether what differs is what the mail server has, by its checksum, is asked once a day. */
async function passDay(users: readonly string[]): Promise<void> {
  await server.stop();
  for (const dataPath of dataPaths(users)) {
    const db = new Database(`${dataPath}.index`);
    db.exec('UPDATE cb_mailbox SET crc_asked = crc_asked - 90000');
    db.close();
  }
  await start();
}

async function copyOrPutBack(isCopy: boolean): Promise<void> {
  await server.stop();
  for (const name of ['partition', 'conf']) {
    const [here, copy] = [path.join(dir, name), path.join(dir, `copy-${name}`)];
    const [from, to] = isCopy ? [here, copy] : [copy, here];
    rmSync(to, { recursive: true, force: true });
    cpSync(from, to, { recursive: true });
  }
  await start();
}

async function compactAll(users: readonly string[]): Promise<void> {
  const now = Date.now() + 60_000;
  for (const dataPath of dataPaths(users)) {
    const report = await compactBackup({ dataPath, config, force: true, wait: true, now });
    expect(report.damagedChunks > 0 || report.keptAll === null).toBe(true);
  }
}

/** What is gone there is gone here. */
async function expectNoOthers(mail: FakeMail, users: readonly string[]): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login();
  for (const user of users) {
    const { lines } = await wire.ok(`GET USER ${user}`);
    const found = lines.flatMap((line) => /^\* MAILBOX .*? MBOXNAME (\S+) /.exec(line)?.[1] ?? []);
    const names = mail.mailboxes.map(({ name }) => name);
    const own = names.filter((name) => name === `user.${user}` || name.startsWith(`user.${user}.`));
    expect(found.sort()).toEqual(own.sort());
  }
  await wire.ok('EXIT');
  wire.destroy();
}

/** Live ones are as they are there. */
async function expectRecords(mail: FakeMail): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login();
  for (const { name, messages } of mail.mailboxes) {
    const { lines } = await wire.ok(`GET FULLMAILBOX ${name}`);
    const records = recordsOf(asMap(readLine(lines[0]!).value));
    const live = messages.filter(({ expunged }) => !expunged).map(({ size: _, ...record }) => record);
    expect(records.filter(({ expunged }) => !expunged)).toEqual(live);
  }
  await wire.ok('EXIT');
  wire.destroy();
}

async function expectAll(mail: FakeMail): Promise<void> {
  const wire = await (await CsyncWire.connect(port)).login();
  for (const { name, uniqueid, messages } of mail.mailboxes) {
    for (const { uid, guid, expunged } of messages) {
      if (expunged || mail.lost.has(guid)) continue;
      const at = `MBOXNAME ${name} PARTITION default UNIQUEID ${uniqueid} GUID ${guid} UID ${uid}`;
      const answer = await wire.command(`GET FETCH %(${at})`);
      expect(answer.kind, `UID ${uid} of ${name}, ${guid}`).toBe('OK');
      expect(answer.lines[0]).toContain(mail.contents.get(guid));
    }
  }
  await wire.ok('EXIT');
  wire.destroy();
}
