/** STARTTLS, TLS from the first byte and COMPRESS, as sessions see and use them. */
import { createHash } from 'node:crypto';
import { copyFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import zlib from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { SLAB_BYTES } from '../../src/pipeline/slabs.ts';
import { loadSecureContext } from '../../src/server/tls-context.ts';
import type { CsyncWire } from '../support/wire.ts';
import { eventually, Harness, TLS_FIXTURES, testConfig } from './harness.ts';

const TLS_OPTIONS = {
  tls_server_cert: path.join(TLS_FIXTURES, 'cert.pem'),
  tls_server_key: path.join(TLS_FIXTURES, 'key.pem'),
};

let harness: Harness;
afterEach(() => harness.close());

async function start(options: Record<string, string> = {}, listenTls = false): Promise<CsyncWire> {
  harness = await new Harness({ options: { ...TLS_OPTIONS, ...options }, tls: listenTls }).listen();
  return harness.connect();
}

/** Stores 3 MB for a user and reads them back from what the store was sent. */
async function pushAndRead(wire: CsyncWire): Promise<void> {
  await wire.login();
  harness.shards.script = (request) =>
    request.op === 'read'
      ? { code: 'OK', text: '', bytes: Buffer.from(`* X ${'y'.repeat(100_000)}\r\n`) }
      : undefined;
  const content = `"${'abc '.repeat(25_000)}"`;
  await wire.ok('GET USER anne');
  for (let i = 0; i < 30; i++) await wire.ok(`APPLY SIEVE %(USERID anne FILENAME f CONTENT ${content})`);
  expect(harness.shards.texts('anne')).toHaveLength(30);
  for (const text of harness.shards.texts('anne'))
    expect(text).toBe(`SIEVE %(USERID anne FILENAME f CONTENT ${content})\r\n`);
  expect((await wire.command('GET META anne')).lines).toEqual([`* X ${'y'.repeat(100_000)}`]);
  await wire.ok('EXIT');
  await wire.closed();
}

describe('TLS', () => {
  test('STARTTLS: the greeting comes again, and the connection works', async () => {
    const wire = await start();
    expect(wire.greeting.lines).toEqual([
      '* SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN',
      '* STARTTLS',
      '* COMPRESS DEFLATE',
    ]);
    await wire.startTls();
    expect(wire.greeting.lines).toEqual(['* SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN', '* COMPRESS DEFLATE']);
    expect(wire.greeting.final).toBe('* OK backup.test csync-backup 0.0.0 backup server');
    expect((await wire.command('STARTTLS')).final).toBe('NO TLS already active');
    await pushAndRead(wire);
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ tls: true, compressed: false });
  });

  test('from the first byte', async () => {
    const wire = await start({}, true);
    expect(wire.greeting.lines).toEqual(['* SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN', '* COMPRESS DEFLATE']);
    await pushAndRead(wire);
  });

  test('from the first byte, an IMAP probe is told the greeting again, once', async () => {
    const wire = await start({}, true);
    expect((await wire.command('C01 CAPABILITY')).final).toMatch(/^C01 BAD /);
    expect((await wire.read()).final).toMatch(/^\* OK backup\.test /);
    expect((await wire.command('C01 CAPABILITY')).final).toMatch(/^C01 BAD /);
    expect((await wire.command('NOOP')).final).toBe('OK Noop completed');
  });

  test('with compression inside', async () => {
    const wire = await start();
    await wire.startTls();
    await wire.login();
    await wire.compress();
    expect((await wire.command('NOOP')).final).toBe('OK Noop completed');
    await wire.ok('EXIT');
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ tls: true, compressed: true });
  });

  test('a push of some MB through few slabs, compressed in TLS', async () => {
    harness = await new Harness({ options: TLS_OPTIONS, slabs: 2 }).listen();
    const wire = await harness.connect();
    await wire.startTls();
    await wire.login();
    await wire.compress();
    await wire.ok('GET USER anne');
    expect(harness.sessions[0]!.transport.sharesReceiveBuffer).toBe(true);
    const content = Buffer.alloc(3 * SLAB_BYTES);
    for (let at = 0; at < content.length; at += 4) content.writeUInt32BE(Math.imul(at, 0x9e3779b1) >>> 0, at);
    const guid = createHash('sha1').update(content).digest('hex');
    for (let round = 0; round < 2; round++) {
      await wire.ok(`APPLY MESSAGE (%{default ${guid} ${content.length}}\r\n`, content, ')');
      const { offset, size } = harness.shards.stored.at(-1)!.messages![0]!;
      const stored = harness.shards.stored.at(-1)!.text.subarray(offset, offset + size);
      expect(stored.equals(content)).toBe(true);
    }
    await wire.ok('EXIT');
    await harness.sessions[0]!.ended;
    expect(harness.slabs.freeCount).toBe(2);
    expect(harness.compression.lent).toBe(0);
  });

  test('required: no mechanism is offered or taken before it', async () => {
    const wire = await start({ backup_tls_required: 'yes' });
    expect(wire.greeting.lines).toEqual(['* STARTTLS', '* COMPRESS DEFLATE']);
    expect((await wire.command('AUTHENTICATE PLAIN AGJhY2t1cABzZWNyZXQ=')).final).toBe(
      'NO This mechanism needs TLS',
    );
    await wire.startTls();
    await wire.login();
  });

  test('plain passwords in clear only where they are allowed', async () => {
    const wire = await start({ allowplaintext: 'no' });
    expect(wire.greeting.lines).toContain('* SASL SCRAM-SHA-256 SCRAM-SHA-1');
    expect((await wire.command('AUTHENTICATE PLAIN AGJhY2t1cABzZWNyZXQ=')).final).toBe(
      'NO This mechanism needs TLS',
    );
    await wire.startTls();
    expect(wire.greeting.lines).toContain('* SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN');
    await wire.login();
  });

  test('what was sent in clear with STARTTLS is not carried out inside', async () => {
    await start();
    const socket = net.connect({ port: harness.port, host: '127.0.0.1' });
    await new Promise((resolve) => socket.once('data', resolve));
    socket.write('STARTTLS\r\nNOSUCH\r\n');
    const ok = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    expect(ok.toString()).toBe('OK Begin TLS negotiation now\r\n');
    socket.removeAllListeners('data');
    const secure = tls.connect({ socket, rejectUnauthorized: false });
    let text = '';
    secure.on('data', (bytes: Buffer) => (text += bytes.toString()));
    await eventually(() => text).toContain('* OK backup.test');
    secure.write('EXIT\r\n');
    await eventually(() => text).toContain('OK Finished');
    expect(text).not.toContain('BAD');
    secure.destroy();
  });

  test('a handshake that fails costs this connection only', async () => {
    const wire = await start();
    await wire.ok('STARTTLS');
    wire.socket.write('this is no handshake\r\n'.repeat(10));
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({
      msg: 'session ended',
      reason: expect.stringMatching(/^TLS handshake/),
    });
    await (await harness.connect()).startTls();
  });

  test('a handshake that never comes is cut off', async () => {
    const wire = await start();
    await wire.ok('STARTTLS');
    await eventually(() => harness.sessions[0]!.state).toBe('handshake');
    harness.sessions[0]!.tick(performance.now() + 3_600_000);
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ reason: expect.stringContaining('handshake') });
  });

  test('not after the login, nor where there is no certificate', async () => {
    const wire = await start();
    await wire.login();
    expect((await wire.command('STARTTLS')).final).toBe('NO TLS must begin before the login');
  });

  test('certificate and key must belong together', async () => {
    harness = new Harness();
    const { dir, config } = testConfig(TLS_OPTIONS);
    copyFileSync(path.join(TLS_FIXTURES, 'key-2.pem'), path.join(dir, 'key.pem'));
    expect(loadSecureContext(config)).toBeDefined();
    const wrong = { ...config, tlsServerKey: path.join(dir, 'key.pem') };
    expect(() => loadSecureContext(wrong)).toThrow(/tls_server_key/);
    expect(() => loadSecureContext({ ...config, tlsServerCert: '/nowhere' })).toThrow(/ENOENT/);
    await harness.listen();
  });
});

describe('COMPRESS', () => {
  test('both ways', async () => {
    const wire = await start();
    await wire.login();
    await wire.compress();
    expect((await wire.command('COMPRESS DEFLATE')).final).toBe('NO Compression already active: DEFLATE');
    const content = 'abc '.repeat(100_000);
    await wire.ok(`APPLY SIEVE %(USERID anne FILENAME f CONTENT {${content.length}+}\r\n${content})`);
    expect(harness.shards.texts('anne')[0]).toContain(`{400000}\r\n${content})\r\n`);
    harness.shards.script = (request) =>
      request.op === 'read'
        ? { code: 'OK', text: '', bytes: Buffer.from(`* X ${'y'.repeat(3e6)}\r\n`) }
        : undefined;
    expect((await wire.command('GET USER anne')).lines[0]).toHaveLength(3e6 + 4);
    await wire.ok('EXIT');
    await wire.closed();
    await harness.sessions[0]!.ended;
    const end = harness.logLines.at(-1) as { bytesIn: number };
    expect(end).toMatchObject({ compressed: true });
    expect(end.bytesIn).toBeLessThan(20_000);
  });

  test('deflated bytes may follow the command at once', async () => {
    const wire = await start();
    await wire.login();
    const deflated = zlib.deflateRawSync('NOOP\r\nEXIT\r\n', { finishFlush: zlib.constants.Z_SYNC_FLUSH });
    const received: Buffer[] = [];
    wire.socket.removeAllListeners('data');
    wire.socket.on('data', (bytes: Buffer) => received.push(bytes));
    wire.socket.write(Buffer.concat([Buffer.from('COMPRESS DEFLATE\r\n'), deflated]));
    await wire.closed();
    const all = Buffer.concat(received);
    const clear = 'OK DEFLATE active\r\n';
    expect(all.subarray(0, clear.length).toString()).toBe(clear);
    const inflated = zlib.inflateRawSync(all.subarray(clear.length), {
      finishFlush: zlib.constants.Z_SYNC_FLUSH,
    });
    expect(inflated.toString()).toBe('OK Noop completed\r\nOK Finished\r\n');
  });

  test('a client that goes away is gone when what it sent is carried out', async () => {
    const wire = await start();
    await wire.login();
    await wire.ok('COMPRESS DEFLATE');
    const commands = 'APPLY UNUSER bob\r\n'.repeat(50);
    wire.socket.end(zlib.deflateRawSync(commands, { finishFlush: zlib.constants.Z_SYNC_FLUSH }));
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ reason: 'closed by the client', compressed: true });
    expect(harness.shards.texts('bob')).toHaveLength(50);
    expect(harness.compression.lent).toBe(0);
  });

  test('is neither offered nor taken where nothing inflates', async () => {
    await start();
    Object.defineProperty(harness.compression, 'inflates', { value: undefined });
    const wire = await harness.connect();
    expect(wire.greeting.lines).not.toContain('* COMPRESS DEFLATE');
    await wire.login();
    expect((await wire.command('COMPRESS DEFLATE')).final).toBe('NO Compression is not available here');
    expect((await wire.command('NOOP')).final).toBe('OK Noop completed');
  });

  test('what cannot be inflated ends the connection', async () => {
    const wire = await start();
    await wire.login();
    await wire.ok('COMPRESS DEFLATE');
    wire.socket.write(Buffer.alloc(100, 0xff));
    await harness.sessions[0]!.ended;
    expect(harness.logLines.at(-1)).toMatchObject({ reason: expect.stringMatching(/invalid/) });
  });

  test('a bomb is inflated no faster than it is taken', async () => {
    const wire = await start();
    await wire.login();
    await wire.compress();
    let open = () => {};
    harness.shards.gate = new Promise((resolve) => (open = resolve));
    // 32 MB of spaces between two values, from 32 kB on the wire; the store takes nothing meanwhile.
    const deflate = zlib.createDeflateRaw({ level: 9 });
    const bomb: Buffer[] = [];
    deflate.on('data', (bytes: Buffer) => bomb.push(bytes));
    deflate.write('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne ');
    const spaces = Buffer.alloc(1 << 20, 0x20);
    for (let i = 0; i < 32; i++) deflate.write(spaces);
    await new Promise<void>((resolve) => deflate.end('X y)\r\n', resolve));
    wire.socket.write(Buffer.concat(bomb));
    await eventually(() => harness.slabs.waitingCount).toBe(1);
    expect(harness.slabs.freeCount).toBe(harness.slabs.count / 2);
    expect(harness.sessions[0]!.state).toBe('waiting');
    open();
    harness.shards.gate = undefined;
    expect((await wire.read()).final).toBe('OK Success');
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });
});
