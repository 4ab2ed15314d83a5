/** Clients that send too much, too slowly or without sense: bounded memory, clear answers, others undisturbed. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { SLAB_BYTES } from '../../src/pipeline/slabs.ts';
import type { CsyncWire } from '../support/wire.ts';
import { eventually, Harness } from './harness.ts';

let harness: Harness;
afterEach(() => harness.close());

async function start(slabs = 4, options: Record<string, string> = {}): Promise<CsyncWire> {
  harness = await new Harness({ slabs, options }).listen();
  return harness.login();
}

function sha1(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex');
}

/** Shuts the store; the function returned opens it. */
function shut(): () => void {
  let open = () => {};
  harness.shards.gate = new Promise((resolve) => {
    open = () => {
      harness.shards.gate = undefined;
      resolve();
    };
  });
  return open;
}

const HEAD = 'APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne FILL "';

describe('back-pressure', () => {
  test('a large literal passes through few slabs', async () => {
    const wire = await start(2);
    const content = Buffer.alloc(20 * SLAB_BYTES + 12_345, 'Large literals stream. ');
    await wire.ok('GET USER anne');
    const open = shut();
    const done = wire.command(
      `APPLY MESSAGE (%{default ${sha1(content)} ${content.length}}\r\n`,
      content,
      ')',
    );
    await eventually(() => harness.slabs.waitingCount).toBe(1);
    expect(harness.sessions[0]!.state).toBe('waiting');
    open();
    expect((await done).final).toBe('OK Success');
    const [stored] = harness.shards.stored;
    const { offset, size } = stored!.messages![0]!;
    expect(stored!.text.subarray(offset, offset + size).equals(content)).toBe(true);
    expect(harness.slabs.freeCount).toBe(2);
    const metric = await harness.metrics.backPressureSeconds.get();
    expect(metric.values[0]!.value).toBeGreaterThan(0);
  });

  test('small commands of others go on while the slabs are taken', async () => {
    const wire = await start(2);
    const other = await harness.login();
    const open = shut();
    const done = wire.command(
      HEAD,
      Buffer.alloc(100_000, 'x'),
      '" RECORD (',
      Buffer.alloc(5 * SLAB_BYTES, ' '),
      '))',
    );
    await eventually(() => harness.slabs.waitingCount).toBe(1);
    harness.shards.gate = undefined;
    expect((await other.command('APPLY UNUSER bob')).final).toBe('OK Success');
    open();
    expect((await done).final).toBe('OK Success');
  });

  test('everybody gets a slab before anybody gets all of them', async () => {
    const first = await start(4);
    const open = shut();
    const big = () => Buffer.alloc(6 * SLAB_BYTES, ' ');
    const others: CsyncWire[] = [];
    for (let i = 0; i < 3; i++) others.push(await harness.login());
    const all = [first, ...others].map((wire) => wire.command(HEAD, 'x" RECORD (', big(), '))'));
    await eventually(() => harness.sessions.filter(({ slabsHeld }) => slabsHeld > 0).length).toBeGreaterThan(
      2,
    );
    for (const { slabsHeld } of harness.sessions) expect(slabsHeld).toBeLessThanOrEqual(2);
    open();
    for (const answer of await Promise.all(all)) expect(answer.final).toBe('OK Success');
    expect(harness.slabs.freeCount).toBe(4);
  });

  test('a client that stands still gives its slab to those who wait, and loses nothing', async () => {
    const slow = await start(1);
    slow.send(HEAD, Buffer.alloc(70_000, 'x'));
    await eventually(() => harness.slabs.freeCount).toBe(0);
    const other = await harness.login();
    const done = other.command(HEAD, Buffer.alloc(80_000, 'y'), '")');
    await eventually(() => harness.slabs.waitingCount).toBe(1);
    for (const session of harness.sessions) session.tick(performance.now());
    expect(harness.slabs.waitingCount).toBe(1);
    for (const session of harness.sessions) session.tick(performance.now() + 10_000);
    expect((await done).final).toBe('OK Success');
    const end = await slow.command('end")');
    expect(end.final).toBe('OK Success');
    expect(harness.shards.stored.at(-1)!.text.toString()).toBe(
      `${HEAD.slice('APPLY '.length)}${'x'.repeat(70_000)}end")\r\n`,
    );
  });

  test('one that stands still before it has said whose it is has to go', async () => {
    const slow = await start(1);
    slow.send('APPLY MAILBOX %(FILL "', Buffer.alloc(70_000, 'x'));
    await eventually(() => harness.slabs.freeCount).toBe(0);
    const other = await harness.login();
    const done = other.command(HEAD, Buffer.alloc(80_000, 'y'), '")');
    await eventually(() => harness.slabs.waitingCount).toBe(1);
    for (const session of harness.sessions) session.tick(performance.now() + 10_000);
    expect((await done).final).toBe('OK Success');
    expect((await slow.read()).final).toBe('* BYE The command stands still');
  });

  test('a client that does not read is not answered further, and is cut off in time', async () => {
    const wire = await start();
    let pages = 0;
    const page = Buffer.from(`* MAILBOX %(X ${'y'.repeat(250_000)})\r\n`);
    harness.shards.script = (request) => {
      if (request.op !== 'read') return undefined;
      pages++;
      return { code: 'OK', text: '', bytes: page, cursor: pages };
    };
    wire.socket.pause();
    wire.send('GET USER anne\r\n');
    let before = -1;
    await eventually(() => {
      const still = pages === before;
      before = pages;
      return still && pages > 0;
    }, 100).toBe(true);
    expect(pages).toBeLessThan(100);
    const [session] = harness.sessions;
    session!.tick(performance.now() + harness.config.syncTimeoutMs + 1);
    await session!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ reason: 'idle' });
  });
});

describe('time-outs', () => {
  test('an idle client is told BYE', async () => {
    const wire = await start();
    const [session] = harness.sessions;
    session!.tick(performance.now() + harness.config.syncTimeoutMs - 1000);
    expect((await wire.command('NOOP')).kind).toBe('OK');
    session!.tick(performance.now() + harness.config.syncTimeoutMs + 1000);
    expect((await wire.read()).final).toBe('* BYE Idle for too long');
    await wire.closed();
  });

  test('who does not log in has less time', async () => {
    await start();
    const wire = await harness.connect();
    harness.sessions[1]!.tick(performance.now() + 61_000);
    expect((await wire.read()).final).toBe('* BYE Idle for too long');
  });

  test('a client that waits for the store is not idle', async () => {
    const wire = await start();
    const open = shut();
    const done = wire.command('GET USER anne');
    await eventually(() => harness.shards.requests.length).toBe(1);
    harness.sessions[0]!.tick(performance.now() + 1e9);
    open();
    expect((await done).final).toBe('OK Success');
  });

  test('half a command is no reason to stay', async () => {
    const wire = await start();
    wire.send(HEAD);
    await eventually(() => harness.sessions[0]!.state).toBe('receiving');
    harness.sessions[0]!.tick(performance.now() + harness.config.syncTimeoutMs + 1000);
    expect((await wire.read()).final).toBe('* BYE Idle for too long');
  });

  test('nor is half a login', async () => {
    await start();
    const wire = await harness.connect();
    wire.send('AUTHENTICATE PLAIN\r\n');
    expect((await wire.read()).final).toBe('+ ');
    harness.sessions[1]!.tick(performance.now() + 61_000);
    expect((await wire.read()).final).toBe('* BYE Idle for too long');
  });
});

describe('hostile input', () => {
  test('before the login nothing is kept, however much comes', async () => {
    await start();
    const wire = await harness.connect();
    for (const command of [
      `APPLY MAILBOX %(X "${'x'.repeat(3_000_000)}")`,
      `APPLY MAILBOX ${'('.repeat(100_000)}`,
      'x'.repeat(3_000_000),
      `GET USER ${'('.repeat(100_000)}`,
      `GET USER {3000000+}\r\n${'x'.repeat(3_000_000)}`,
    ]) {
      expect((await wire.command(command)).kind).toMatch(/^(NO|BAD)/);
    }
    expect((await wire.command('NOOP')).final).toBe('OK Noop completed');
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });

  test('who sends on and on while a login is checked is cut off', async () => {
    await start(4, { failedloginpause: '1' });
    const socket = net.connect({ port: harness.port, host: '127.0.0.1' });
    socket.on('error', () => {});
    await once(socket, 'data');
    // Little is read at first; from the second time on much at a time.
    socket.write('NOOP\r\n');
    await once(socket, 'data');
    socket.resume();
    socket.write('AUTHENTICATE PLAIN AGEAYg==\r\n');
    socket.write('NOOP\r\n'.repeat(50_000));
    await eventually(() => harness.sessions[1]?.transport.bytesIn).toBeGreaterThan(20_000);
    harness.sessions[1]!.tick(performance.now());
    await new Promise((resolve) => socket.once('close', resolve));
    await harness.sessions[1]!.ended;
    expect(harness.logLines.some(({ reason }) => reason === 'sent too much before it logged in')).toBe(true);
  });

  test('after the login, too', async () => {
    const wire = await start();
    const commands: [string, RegExp][] = [
      [`APPLY MAILBOX ${'('.repeat(100_000)}`, /^(NO|BAD)/],
      [`APPLY MAILBOX %(MBOXNAME user.anne ${'('.repeat(100_000)}`, /^(NO|BAD)/],
      ['x'.repeat(3_000_000), /^BAD/],
      [`GET MAILBOXES (${'x '.repeat(300_000)})`, /^(NO|BAD)/],
      [`APPLY SIEVE %(USERID anne FILENAME f CONTENT {99999999999+}\r\n`, /^(NO|BAD)/],
    ];
    for (const [command, expected] of commands.slice(0, -1)) {
      expect((await wire.command(command)).kind, command.slice(0, 40)).toMatch(expected);
      expect((await wire.command('NOOP')).final).toBe('OK Noop completed');
    }
    expect((await wire.command(commands.at(-1)![0])).kind).toMatch(commands.at(-1)![1]);
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
    expect(harness.shards.stored).toEqual([]);
  });

  test('a MAILBOX that hides its name behind a slab of other things is refused', async () => {
    const wire = await start();
    const fill = Array.from({ length: 30 }, (_, i) => `F${i} "${'x'.repeat(100_000)}"`).join(' ');
    const answer = await wire.command(`APPLY MAILBOX %(${fill} MBOXNAME user.anne)`);
    expect(answer.kind).toBe('NO IMAP_PROTOCOL_BAD_PARAMETERS');
    expect(harness.shards.stored).toEqual([]);
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });
});
