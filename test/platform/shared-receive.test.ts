import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { afterEach, expect, test } from 'vitest';
import { shareReceiveBuffer } from '../../src/platform/shared-receive.ts';

const TLS_FOLDER = path.join(import.meta.dirname, '..', 'fixtures', 'tls');
const servers: net.Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A connection: the client's side, and the accepted socket that reads through the shared buffer. */
async function connected(
  take: (bytes: Uint8Array, socket: net.Socket) => void,
  isTight: () => boolean = () => false,
): Promise<{ client: net.Socket; accepted: net.Socket }> {
  const server = net.createServer({ allowHalfOpen: true });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [accepted] = (await once(server, 'connection')) as [net.Socket];
  accepted.on('data', () => {
    throw new Error('data was emitted');
  });
  accepted.pause();
  expect(shareReceiveBuffer(accepted, (bytes) => take(bytes, accepted), isTight)).toBe(true);
  return { client, accepted };
}

test('the Node that comes along can do it, for many connections at a time', async () => {
  const connections = await Promise.all(
    ['a', 'b'].map(async (letter) => {
      const parts: string[] = [];
      const pair = await connected((bytes) => parts.push(Buffer.from(bytes).toString('latin1')));
      return { ...pair, parts, text: letter.repeat(3_000_000) };
    }),
  );
  const ends = connections.map(({ client, accepted, text }) => {
    const ended = once(accepted, 'end');
    accepted.resume();
    client.end(text);
    return ended;
  });
  await Promise.all(ends);
  for (const { accepted, parts, text } of connections) {
    expect(parts.join('') === text).toBe(true);
    accepted.destroy();
  }
});

test('a pause inside the call stops reading until resume()', async () => {
  let got = 0;
  let calls = 0;
  const { client, accepted } = await connected((bytes, socket) => {
    calls++;
    got += bytes.length;
    socket.pause();
  });
  accepted.resume();
  client.write(Buffer.alloc(100_000, 'x'));
  await expect.poll(() => calls).toBe(1);
  client.write(Buffer.alloc(900_000, 'x'));
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(calls).toBe(1);
  while (got < 1_000_000) {
    const before = calls;
    accepted.resume();
    await expect.poll(() => calls).toBe(before + 1);
  }
  const ended = once(accepted, 'end');
  client.end();
  accepted.resume();
  await ended;
  accepted.destroy();
});

test('brings little at first, and while memory is tight', async () => {
  const lengths: number[] = [];
  let isTight = false;
  const { client, accepted } = await connected(
    (bytes) => lengths.push(bytes.length),
    () => isTight,
  );
  client.write(Buffer.alloc(500_000));
  await new Promise((resolve) => setTimeout(resolve, 50));
  accepted.resume();
  const received = (): number => lengths.reduce((sum, length) => sum + length, 0);
  await expect.poll(received).toBe(500_000);
  expect(lengths[0]).toBe(4096);
  expect(Math.max(...lengths)).toBeGreaterThan(4096);
  isTight = true;
  client.write(Buffer.alloc(1));
  await expect.poll(received).toBe(500_001);
  lengths.length = 0;
  client.end(Buffer.alloc(100_000));
  await expect.poll(received).toBe(100_000);
  expect(Math.max(...lengths)).toBe(4096);
  accepted.destroy();
});

test('TLS is read through it as well: what was decrypted comes in spite of a pause, and then no more', async () => {
  const server = net.createServer({ allowHalfOpen: true });
  servers.push(server);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const client = tls.connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  shareReceiveBuffer(
    socket,
    () => {
      throw new Error('came past TLS');
    },
    () => false,
  );
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => readFileSync(path.join(TLS_FOLDER, name)));
  const secured = new tls.TLSSocket(socket, {
    isServer: true,
    secureContext: tls.createSecureContext({ cert: cert!, key: key! }),
  });
  const parts: Buffer[] = [];
  const received = (): number => parts.reduce((sum, { length }) => sum + length, 0);
  const sent = Buffer.alloc(2_000_000);
  for (let at = 0; at < sent.length; at += 4) sent.writeUInt32BE(at, at);
  // TLS 1.3: the client's first bytes can come together with the end of its handshake.
  client.on('secureConnect', () => client.end(sent));
  await once(secured, 'secure');
  const take = (bytes: Uint8Array): void => {
    parts.push(Buffer.from(bytes));
    secured.pause();
  };
  expect(shareReceiveBuffer(secured, take, () => false)).toBe(true);
  secured.on('data', () => {
    throw new Error('data was emitted');
  });
  const ended = once(secured, 'end');
  secured.resume();
  let pauses = 0;
  while (received() < sent.length) {
    const before = received();
    await expect.poll(received, { interval: 2 }).toBeGreaterThan(before);
    await new Promise((resolve) => setTimeout(resolve, 2));
    const stopped = received();
    // What was read from the socket at once, 64 kB, and the record whose beginning had come before.
    expect(stopped - before).toBeLessThanOrEqual(5 * 16_384);
    await new Promise((resolve) => setTimeout(resolve, 2));
    expect(received()).toBe(stopped);
    pauses++;
    secured.resume();
  }
  await ended;
  expect(Buffer.concat(parts).equals(sent)).toBe(true);
  expect(pauses).toBeGreaterThan(15);
  secured.destroy();
});

test('a socket without a handle is left as it is', () => {
  const socket = new net.Socket();
  expect(
    shareReceiveBuffer(
      socket,
      () => {},
      () => false,
    ),
  ).toBe(false);
});
