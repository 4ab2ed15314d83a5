import { cpSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MessageStore } from '../crash/model.ts';
import { Pusher, type Users } from '../crash/pusher.ts';
import { expectContent, expectSurvived } from '../crash/survivors.ts';
import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { ask, askRaw, socketOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create({ backup_chunk_max_size: '1M', backup_shards: '2' });
  server = await site.start();
});

afterAll(async () => {
  await server.kill();
  site.remove();
});

async function sessionStates(): Promise<unknown[]> {
  const lines = await askRaw(socketOf(site), '{"command":"sessions"}\n');
  return lines.slice(0, -1).map(({ state }) => state);
}

/** Looks at a copy of the site's folder in the place of the original: nothing in it may need recovery. */
async function withCopy(copy: string, look: (copied: BackupServer) => Promise<void>): Promise<void> {
  const aside = `${site.dir}.aside`;
  await server.kill();
  renameSync(site.dir, aside);
  renameSync(copy, site.dir);
  try {
    const { status, stdout } = await site.cli(['verify', '-A', '--json']);
    const lines = stdout.toString().trim().split('\n');
    expect(lines.filter((line) => JSON.parse(line).type === 'finding')).toEqual([]);
    expect(status).toBe(0);
    const copied = await site.start();
    await look(copied);
    expect(await copied.metric('csync_backup_store_recoveries_total')).toBe(0);
    expect(await copied.metric('csync_backup_store_index_rebuilds_total')).toBe(0);
    expect(await copied.metric('csync_backup_store_stale_backups_total')).toBe(0);
    await copied.kill();
  } finally {
    rmSync(site.dir, { recursive: true, force: true });
    renameSync(aside, site.dir);
  }
}

describe('freeze, with clients pushing', () => {
  test('a copy opens with nothing to recover and holds all that was acknowledged; clients notice nothing', async () => {
    const store = new MessageStore();
    const pushers = ['ada', 'bea', 'cid'].map((name) => new Pusher(name, new Random(name), store, true));
    let more = true;
    const runs = pushers.map(async (pusher) => {
      const wire = await server.connect();
      while (more) await pusher.push(wire, 20);
      await wire.ok('EXIT');
      wire.destroy();
    });
    const all = Promise.all(runs);
    all.catch(() => {}); // awaited below
    const copies: { copy: string; states: { acknowledged: Users; inDoubt: Users[] }[] }[] = [];
    for (let i = 0; i < 1; i++) {
      await sleep(250);
      const { state, id } = await ask(site, 'freeze', { forSeconds: 60 });
      expect(state).toBe('frozen');
      const commands = () => pushers.reduce((sum, pusher) => sum + pusher.commands, 0);
      await sleep(50); // answers that are on their way
      const before = commands();
      const states = pushers.map(({ acknowledged, inDoubt }) => ({ acknowledged, inDoubt }));
      const copy = `${site.dir}.copy${i}`;
      cpSync(site.dir, copy, { recursive: true, filter: (name) => !/\.sock(\.lock)?$/.test(name) });
      await sleep(100);
      expect(commands()).toBe(before);
      expect(await server.metric('csync_backup_frozen')).toBe(1);
      expect(await ask(site, 'thaw')).toMatchObject({ wasFrozen: true, id });
      copies.push({ copy, states });
    }
    more = false;
    await all; // no command was answered anything but OK
    expect(await server.metric('csync_backup_freezes_total')).toBe(1);
    expect(pushers.every(({ commands }) => commands > 20)).toBe(true);
    for (const { copy, states } of copies) {
      await withCopy(copy, async (copied) => {
        const wire = await copied.connect();
        for (const { acknowledged, inDoubt } of states) {
          // What waited is not in the copy, so the state is exactly what was acknowledged.
          expect(await expectSurvived(wire, acknowledged, [])).toBe(acknowledged);
          expect(inDoubt.length).toBeLessThan(3);
          await expectContent(wire, acknowledged, store, 5);
        }
        await wire.ok('EXIT');
        wire.destroy();
      });
    }
    server = await site.start();
  });
});

test('killed while it is frozen: the next start serves, and nothing has to be mended', async () => {
  const store = new MessageStore();
  const pusher = new Pusher('kim', new Random('kim'), store, true);
  const pushing = server.connect().then(async (wire) => {
    for (;;) await pusher.push(wire, 20);
  });
  pushing.catch(() => {}); // the connection is lost in the end
  await expect.poll(() => pusher.commands, { timeout: 20_000 }).toBeGreaterThan(10);
  await ask(site, 'freeze');
  await sleep(50);
  const { acknowledged } = pusher;
  await server.kill();
  await expect(pushing).rejects.toThrow();
  server = await site.start();
  expect(await ask(site, 'status')).toMatchObject({ type: 'done' });
  const wire = await server.connect();
  expect(await expectSurvived(wire, acknowledged, [])).toBe(acknowledged);
  await wire.ok('EXIT');
  expect(await server.metric('csync_backup_store_recoveries_total')).toBe(0);
  expect(await server.metric('csync_backup_store_index_rebuilds_total')).toBe(0);
  wire.destroy();
});

describe('freeze', () => {
  afterEach(async () => {
    await ask(site, 'thaw');
  });

  test('keeps what waits for its MAILBOX, and new clients, until the thaw', async () => {
    const wire = await server.connect();
    await wire.ok('GET USER anne');
    const { value } = messageValue(['Subject: waits\r\n\r\n']);
    await wire.ok(`APPLY MESSAGE ${value}`);
    await ask(site, 'freeze');
    wire.send(`APPLY MAILBOX ${mailboxValue('user.anne', ['Subject: waits\r\n\r\n'])}\r\n`);
    const second = await server.connect();
    expect((await second.command('NOOP')).kind).toBe('OK');
    second.send('GET USER bob\r\n');
    await sleep(300);
    expect(readdirSync(`${site.partition}/a`).filter((name) => name.startsWith('anne'))).toEqual([]);
    expect(await sessionStates()).toEqual(['held', 'held']);
    await ask(site, 'thaw');
    expect((await wire.read()).kind).toBe('OK');
    expect((await second.read()).kind).toBe('OK');
    const { lines } = await wire.ok('GET FULLMAILBOX user.anne');
    expect(lines[0]).toContain('UID 1 ');
    for (const one of [wire, second]) one.destroy();
    expect(server.log.filter((line) => line.includes('send all of it again'))).toEqual([]);
  });

  test('ends at its deadline though nobody thaws', async () => {
    const wire = await server.connect();
    const started = Date.now();
    await ask(site, 'freeze', { forSeconds: 1 });
    expect((await wire.command('GET USER anne')).kind).toBe('OK');
    expect(Date.now() - started).toBeGreaterThan(900);
    expect(await ask(site, 'thaw')).toMatchObject({ wasFrozen: false });
    expect(server.log.some((line) => line.includes('"the freeze has ended by itself"'))).toBe(true);
    wire.destroy();
  });

  test('--exec runs a command meanwhile and gives its status', async () => {
    const done = await site.cli(['freeze', '--exec', `cat ${site.configFile}; exit 3`]);
    expect(done.status).toBe(3);
    expect(done.stdout.toString()).toBe(readFileSync(site.configFile, 'utf8'));
    expect(await ask(site, 'thaw')).toMatchObject({ wasFrozen: false });
    const late = await site.cli(['freeze', '--for', '1s', '--exec', 'sleep 1.5']);
    expect(late.status).toBe(75);
    expect(late.stderr).toContain('TIMED_OUT: cannot keep the backups frozen for sleep 1.5');
  });

  test('a second one is refused, and so is one that is too long', async () => {
    await ask(site, 'freeze');
    await expect(ask(site, 'freeze')).rejects.toThrow('"code":"LOCKED"');
    await ask(site, 'thaw');
    await expect(ask(site, 'freeze', { forSeconds: 3600 })).rejects.toThrow('"code":"USAGE"');
  });

  test('a command that is sent too slowly is refused, and what was sent of it is not in the file', async () => {
    const wire = await server.connect();
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MAILBOX ${mailboxValue('user.anne.Slow', [])}`);
    const size = 3_000_000;
    wire.send(`APPLY MESSAGE (%{default ${'0'.repeat(40)} ${size}}\r\n`, Buffer.alloc(size / 2));
    await expect.poll(() => server.metric('csync_backup_deflated_raw_bytes_total')).toBeGreaterThan(1e6);
    await ask(site, 'freeze', { withinSeconds: 1 });
    expect(await verified(site, 'anne')).toBe('0 faults, 0 notices');
    wire.send(Buffer.alloc(size / 2), ')\r\n');
    await ask(site, 'thaw');
    expect((await wire.read()).kind).toBe('NO IMAP_MAILBOX_LOCKED');
    await wire.ok('GET USER anne');
    wire.destroy();
  });

  test('can be ended while it is being made, and then nobody is held', async () => {
    const slow = await server.connect();
    await slow.ok('GET USER anne');
    slow.send(`APPLY MESSAGE (%{default ${'0'.repeat(40)} 3000000}\r\n`, Buffer.alloc(1_500_000));
    await expect.poll(async () => (await sessionStates()).includes('receiving')).toBe(true);
    const freezing = ask(site, 'freeze', { withinSeconds: 20 });
    freezing.catch(() => {}); // looked at below
    await expect.poll(async () => (await ask(site, 'thaw')).wasFrozen).toBe(true);
    const other = await server.connect();
    expect((await other.command('GET USER bob')).kind).toBe('OK');
    slow.destroy();
    await expect(freezing).rejects.toThrow('it was ended while it was being made');
    expect((await other.command('GET USER bob')).kind).toBe('OK');
    expect(await server.metric('csync_backup_frozen')).toBe(0);
    other.destroy();
  });

  test('the server stops at once though it is frozen', async () => {
    const wire = await server.connect();
    await ask(site, 'freeze');
    wire.send('GET USER anne\r\n');
    await sleep(100);
    expect(await server.stop()).toBe(0);
    server = await site.start();
    wire.destroy();
  });
});
