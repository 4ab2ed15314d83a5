import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SessionGate } from '../../src/server/session-gate.ts';
import { mailboxValue } from '../store/support/store-rig.ts';
import { eventually, Harness } from './harness.ts';

describe('a gate', () => {
  test('lets in who has begun, and others only when nobody holds it', async () => {
    const gate = new SessionGate();
    await gate.enter();
    const releases = [gate.hold(), gate.hold()];
    await gate.enter(); // goes on with what it has begun
    let isQuiet = false;
    const quiet = gate.quiet().then(() => {
      isQuiet = true;
    });
    await null;
    expect(isQuiet).toBe(false);
    gate.leave();
    await quiet;
    let isIn = false;
    const entering = gate.enter().then(() => {
      isIn = true;
    });
    releases[0]!();
    releases[0]!(); // once is enough
    await new Promise(setImmediate);
    expect([isIn, gate.isWaiting, gate.isInside]).toEqual([false, true, false]);
    releases[1]!();
    await entering;
    expect([isIn, gate.isWaiting, gate.isInside]).toEqual([true, false, true]);
  });
});

describe('a session whose gate is held', () => {
  let harness: Harness;

  beforeEach(async () => {
    harness = await new Harness({ options: { sync_timeout: '3s' } }).listen();
  });

  afterEach(() => harness.close());

  test('answers what needs no backup, and is not taken for idle while its command waits', async () => {
    const wire = await harness.login();
    const session = harness.sessions[0]!;
    const release = session.gate.hold();
    expect((await wire.command('NOOP')).kind).toBe('OK');
    wire.send('GET USER anne\r\n');
    await eventually(() => session.gate.isWaiting).toBe(true);
    session.tick(performance.now() + 3600_000);
    expect(session.isClosing).toBe(false);
    expect(harness.shards.requests).toEqual([]);
    release();
    expect((await wire.read()).kind).toBe('OK');
    session.tick(performance.now() + 1000);
    expect(session.isClosing).toBe(false);
    session.tick(performance.now() + 3600_000);
    expect(session.isClosing).toBe(true);
  });

  test('takes no more of a long command than there are slabs for, and is not idle then either', async () => {
    const wire = await harness.login();
    const session = harness.sessions[0]!;
    await wire.ok('GET USER anne');
    const release = session.gate.hold();
    const size = 20 << 20;
    wire.send(`APPLY MESSAGE (%{default ${'0'.repeat(40)} ${size}}\r\n`, Buffer.alloc(size), ')\r\n');
    await eventually(() => session.state).toBe('waiting');
    expect(harness.shards.of('piece')).toEqual([]);
    session.tick(performance.now() + 3600_000);
    expect(session.isClosing).toBe(false);
    release();
    // Its SHA-1 is not that of zeros.
    expect((await wire.read()).kind).toBe('NO IMAP_PROTOCOL_ERROR');
  });

  test('a command for a user who may not be worked on is refused, whatever its length', async () => {
    harness.access = {
      refusal: (userid) => (userid === 'anne' ? 'paused' : undefined),
      makeRoom: () => undefined,
      served: () => {},
    };
    const wire = await harness.login();
    expect((await wire.command('GET USER anne')).final).toBe('NO IMAP_MAILBOX_LOCKED paused');
    expect((await wire.command(`APPLY MAILBOX ${mailboxValue('user.anne', [])}`)).kind).toBe(
      'NO IMAP_MAILBOX_LOCKED',
    );
    const content = Buffer.alloc(3 << 20);
    const guid = createHash('sha1').update(content).digest('hex');
    const head = `APPLY MESSAGE (%{default ${guid} ${content.length}}\r\n`;
    expect((await wire.command(head, content, ')')).kind).toBe('NO IMAP_MAILBOX_LOCKED');
    expect(harness.shards.of('piece')).toEqual([]);
    expect((await wire.command('GET USER bob')).kind).toBe('OK');
  });

  test('its half received command can be interrupted: the rest of it is dropped and answered NO', async () => {
    const wire = await harness.login();
    const session = harness.sessions[0]!;
    await wire.ok('GET USER anne');
    const size = 3 << 20;
    wire.send(`APPLY MESSAGE (%{default ${'0'.repeat(40)} ${size}}\r\n`, Buffer.alloc(size / 2));
    await eventually(() => harness.shards.of('piece').length).toBeGreaterThan(0);
    const release = session.gate.hold();
    expect(session.gate.isInside).toBe(true);
    await session.interrupt('Not now');
    expect(session.gate.isInside).toBe(false);
    expect(harness.shards.of('abort')).toHaveLength(1);
    release();
    wire.send(Buffer.alloc(size / 2), ')\r\n');
    expect((await wire.read()).final).toBe('NO IMAP_MAILBOX_LOCKED Not now');
  });
});
