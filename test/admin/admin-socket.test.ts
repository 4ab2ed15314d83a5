import { spawn } from 'node:child_process';
import { chmodSync, existsSync, renameSync, statSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { ask, askRaw, dataPathOf, socketOf, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite, ROOT, run } from '../support/backup-server.ts';
import { HAS_FFI } from '../support/ffi.ts';

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create({ backup_shards: '2' });
  server = await site.start();
});

afterAll(async () => {
  await server.kill();
  site.remove();
});

async function push(user: string, content: string) {
  const wire = await server.connect();
  await wire.ok(`GET USER ${user}`);
  await wire.ok(`APPLY MESSAGE ${messageValue([content]).value}`);
  await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, [content])}`);
  return wire;
}

describe('the socket', () => {
  test('is of mode 0600 and goes away with the server', async () => {
    expect(statSync(socketOf(site)).mode & 0o777).toBe(0o600);
    await server.stop();
    expect(existsSync(socketOf(site))).toBe(false);
    const { status, stderr } = await site.cli(['status']);
    expect(status).toBe(69);
    expect(stderr).toMatch(/^csync-backup: UNAVAILABLE: .*no server runs with this configuration\. Start it/);
    server = await site.start();
  });

  test('belongs to one server: a second one says so and ends', async () => {
    const second = await site.cli(['serve']);
    expect(second.status).toBe(69);
    expect(second.stderr).toContain('UNAVAILABLE: cannot listen on');
    expect(second.stderr).toContain('another server has it');
    expect((await ask(site, 'status')).type).toBe('done');
  });

  test.skipIf(process.getuid?.() !== 0 || !HAS_FFI)('answers nobody but root and its own user', async () => {
    for (const folder of [site.dir, path.join(site.dir, 'conf')]) chmodSync(folder, 0o755);
    chmodSync(socketOf(site), 0o666);
    const script = `const s = require('net').connect(${JSON.stringify(socketOf(site))});
      s.pipe(process.stdout); s.write('{"command":"freeze"}\\n');`;
    const { stdout } = await run(process.execPath, ['-e', script], { uid: 65_534, gid: 65_534, cwd: '/' });
    expect(JSON.parse(stdout.toString())).toMatchObject({ type: 'error', code: 'PERMISSION_DENIED' });
    expect(await ask(site, 'thaw')).toMatchObject({ wasFrozen: false });
  });

  test.each([
    ['no JSON', 'status\n', 'BAD_COMMAND'],
    ['no command', '{"comand":"status"}\n', 'BAD_COMMAND'],
    ['an unknown command', '{"command":"constructor"}\n', 'BAD_COMMAND'],
    ['a line without an end', `{"command":"${'x'.repeat(70_000)}`, 'BAD_COMMAND'],
    ['a wrong argument', '{"command":"pause","userid":7}\n', 'USAGE'],
    ['a wrong duration', '{"command":"freeze","forSeconds":"1"}\n', 'USAGE'],
    ['a session that is not there', '{"command":"end-session","id":999999}\n', 'NOT_FOUND'],
  ])('complains about %s', async (_what, bytes, code) => {
    expect(await askRaw(socketOf(site), bytes)).toMatchObject([{ type: 'error', code }]);
  });

  test('holds no more connections than a few, and serves again when they are gone', async () => {
    const sockets = Array.from({ length: 40 }, () => net.connect(socketOf(site)).on('error', () => {}));
    await sleep(100);
    for (const socket of sockets) socket.destroy();
    await sleep(50);
    expect((await ask(site, 'status')).type).toBe('done');
  });
});

test('status says what goes on, to programs and people', async () => {
  const wire = await push('stan', 'Subject: status\r\n\r\n');
  await ask(site, 'pause', { userid: 'pat', forSeconds: 60 });
  const [answer] = await askRaw(socketOf(site), '{"command":"status"}\n');
  expect(answer).toMatchObject({
    type: 'status',
    pid: server.pid,
    frozen: null,
    paused: [{ userid: 'pat', until: expect.stringMatching(/^\d{4}-.*Z$/) }],
    sessions: { total: 1, states: { idle: 1 }, users: 1 },
    queue: { deflate: 0, store: [0, 0] },
    store: { recoveries: 0, failures: 0 },
    partitions: [{ name: 'default', path: site.partition, usedPercent: expect.any(Number) }],
  });
  const text = (await site.cli(['status'])).stdout.toString();
  expect(text).toMatch(/^sessions +1 \(1 idle\), backups open: 1$/m);
  expect(text).toMatch(
    HAS_FFI ? /^paused +pat by uid \d+, pid \d+ until /m : /^paused +pat by an administrator until /m,
  );
  await ask(site, 'resume', { userid: 'pat' });
  wire.destroy();
});

test('flush gives the lock up in the middle of a sync, which goes on as if nothing had been', async () => {
  const wire = await push('flo', 'Subject: one\r\n\r\n');
  await wire.ok(`APPLY MESSAGE ${messageValue(['Subject: two\r\n\r\n']).value}`);
  expect(await verified(site, 'flo')).toBe('locked');
  expect((await ask(site, 'flush', { userid: 'flo' })).busy).toEqual([]);
  expect(await verified(site, 'flo')).toBe('0 faults, 0 notices');
  const both = ['Subject: one\r\n\r\n', 'Subject: two\r\n\r\n'];
  await wire.ok(`APPLY MAILBOX ${mailboxValue('user.flo', both)}`);
  expect((await ask(site, 'flush')).busy).toEqual([]);
  expect(await verified(site, 'flo')).toBe('0 faults, 0 notices');
  const { lines } = await wire.ok('GET FULLMAILBOX user.flo');
  expect(lines[0]).toContain('UID 2 ');
  wire.destroy();
});

test('pause keeps clients of one user off, so that the files can be replaced; resume lets them back', async () => {
  const wire = await push('paula', 'Subject: kept\r\n\r\n');
  const file = dataPathOf(site, 'paula');
  expect((await ask(site, 'pause', { userid: 'paula' })).busy).toEqual([]);
  expect((await wire.command('GET USER paula')).final).toMatch(
    /^NO IMAP_MAILBOX_LOCKED .*paused by the administrator/,
  );
  const sub = await wire.command('APPLY SUB %(USERID paula MBOXNAME user.paula)');
  expect(sub.kind).toBe('NO IMAP_MAILBOX_LOCKED');
  expect((await wire.command('GET USER somebody')).kind).toBe('OK');
  expect(await verified(site, 'paula')).toBe('0 faults, 0 notices');
  renameSync(`${file}.index`, `${file}.moved`);
  await ask(site, 'resume', { userid: 'paula' });
  expect((await wire.ok('GET USER paula')).lines[0]).toContain('user.paula');
  expect(await server.metric('csync_backup_store_index_rebuilds_total')).toBe(1);
  wire.destroy();
});

test('a pause ends by itself', async () => {
  await ask(site, 'pause', { userid: 'tim', forSeconds: 1 });
  const wire = await server.connect();
  expect((await wire.command('GET USER tim')).kind).toBe('NO IMAP_MAILBOX_LOCKED');
  await sleep(1050);
  expect((await wire.command('GET USER tim')).kind).toBe('OK');
  wire.destroy();
});

test('a session can be ended, and keeps what it was told OK for', async () => {
  const wire = await push('ed', 'Subject: stays\r\n\r\n');
  const listed = (await askRaw(socketOf(site), '{"command":"sessions"}\n')).find(({ users }) =>
    (users as string[] | undefined)?.includes('ed'),
  );
  expect(listed).toMatchObject({ login: 'backup', state: 'idle', client: '127.0.0.1', messages: 1 });
  await ask(site, 'end-session', { id: listed!.id });
  await wire.closed();
  const again = await server.connect();
  await expect.poll(async () => (await again.command('GET USER ed')).lines.length).toBe(1);
  again.destroy();
});

test('the commands print what the server says', async () => {
  const wire = await push('cora', 'Subject: shown\r\n\r\n');
  const commands = [
    ['sessions'],
    ['flush', '-A'],
    ['pause', 'cora', '--for', '10m'],
    ['resume', 'cora', '--json'],
    ['resume', 'cora'],
  ];
  const results = await Promise.all(commands.slice(0, 2).map((args) => site.cli(args)));
  for (const args of commands.slice(2)) results.push(await site.cli(args));
  expect(results.map(({ status, stderr }) => [status, stderr])).toEqual(results.map(() => [0, '']));
  const [sessions, flushed, paused, resumed, again] = results.map(({ stdout }) => stdout.toString());
  expect(sessions).toMatch(/^\d+\t127\.0\.0\.1\tbackup\t\w+\t-\tcora\t\d+\t1\t\d+\t\d+$/m);
  expect(flushed).toBe('flushed\n');
  expect(paused).toMatch(/^paused cora until \d{4}-\S+Z\n$/);
  expect(JSON.parse(resumed!)).toEqual({ userid: 'cora', wasPaused: true });
  expect(again).toBe('cora was not paused\n');
  // A slip of the pen is none of the two.
  const [flushing, pausing] = await Promise.all([
    site.cli(['flush', 'kora']),
    site.cli(['pause', 'kora', '--for', '1s']),
  ]);
  expect([flushing.status, flushing.stderr]).toEqual([65, expect.stringContaining('Did you mean cora?')]);
  expect([pausing.status, pausing.stderr]).toEqual([0, expect.stringContaining('Did you mean cora?')]);
  wire.destroy();
});

test('status --watch goes on and on', async () => {
  const args = [path.join(ROOT, 'src', 'cli', 'launch.cjs'), 'status', '--watch', '1s', '--json'];
  const child = spawn(process.execPath, [...args, '-C', site.configFile], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => (text += more));
    await expect.poll(() => text.split('\n').length, { timeout: 10_000 }).toBeGreaterThan(2);
    for (const line of text.trim().split('\n')) expect(JSON.parse(line)).toMatchObject({ pid: server.pid });
  } finally {
    child.kill();
  }
});
