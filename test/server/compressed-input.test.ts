/** What a client sends behind COMPRESS, in every split and with a session that stops at any moment. */
import { constants, createDeflateRaw, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { inflateStreamMaker } from '../../src/platform/inflate-stream.ts';
import { CompressedInput } from '../../src/server/compressed-input.ts';
import { ConnectionCompression } from '../../src/server/compression.ts';
import { samples } from '../platform/samples.ts';

const engines = (['isal', 'zlib'] as const).filter((name) => inflateStreamMaker(name) !== undefined);
/** Made once: contents are pieces of these. */
const CONTENT = samples(200_000);
const sync = { finishFlush: constants.Z_SYNC_FLUSH };

const receivers: Receiver[] = [];
afterEach(() => {
  for (const { input } of receivers.splice(0)) input.close();
});

/** A connection and the session behind it. */
class Receiver {
  readonly input: CompressedInput;
  readonly parts: Buffer[] = [];
  readonly failures: string[] = [];
  ended = 0;
  isWanted = true;
  isTight = false;
  /** Called at each piece, as a session would. */
  onData: (bytes: Uint8Array) => void = () => {};

  constructor(compression: ConnectionCompression) {
    receivers.push(this);
    this.input = new CompressedInput(compression, {
      data: (bytes) => {
        this.parts.push(Buffer.from(bytes));
        this.onData(bytes);
      },
      ended: () => this.ended++,
      failed: ({ message }) => {
        this.failures.push(message);
        this.input.close();
      },
      wanted: (isWanted) => {
        expect(isWanted).not.toBe(this.isWanted);
        this.isWanted = isWanted;
      },
      isTight: () => this.isTight,
    });
  }

  get content(): Buffer {
    return Buffer.concat(this.parts);
  }

  get length(): number {
    return this.parts.reduce((sum, { length }) => sum + length, 0);
  }

  /** Through a buffer that holds something else right after, as what is received does. */
  push(bytes: Uint8Array): void {
    const shared = Buffer.from(bytes);
    this.input.push(shared);
    shared.fill(0xee);
  }

  /** As a socket: nothing comes while it is not wanted. */
  async send(bytes: Uint8Array, pieceBytes = bytes.length): Promise<void> {
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      while (!this.isWanted) await turn();
      this.push(bytes.subarray(at, at + pieceBytes));
    }
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

async function until(isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error('it does not come to that');
    await turn();
  }
}

/** Megabytes of one byte in kilobytes: a command that goes on and on. */
async function bomb(megabytes: number): Promise<Buffer> {
  const deflate = createDeflateRaw({ level: 9 });
  const parts: Buffer[] = [];
  deflate.on('data', (bytes: Buffer) => parts.push(bytes));
  const spaces = Buffer.alloc(1 << 20, 0x20);
  for (let i = 0; i < megabytes; i++) deflate.write(spaces);
  await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
  return Buffer.concat(parts);
}

describe.each(engines)('inflated by %s', (engine) => {
  const compression = new ConnectionCompression(engine);

  test('it is what was asked for', () => {
    expect(compression.inflates).toBe(engine);
  });

  test('any split of the stream, with pauses at any moment, gives the same bytes', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            kind: fc.constantFrom('mail', 'text', 'noise', 'zeros'),
            bytes: fc.integer({ min: 1, max: 100_000 }),
            pieceBytes: fc.integer({ min: 1, max: 20_000 }),
            /** A command ends here. */
            isFlushed: fc.boolean(),
          }),
          { minLength: 1, maxLength: 5 },
        ),
        fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }),
        fc.boolean(),
        async (parts, pauses, isTight) => {
          const receiver = new Receiver(compression);
          receiver.isTight = isTight;
          let pieces = 0;
          receiver.onData = () => {
            if (!pauses[pieces++ % pauses.length]) return;
            receiver.input.pause();
            const before = receiver.parts.length;
            setImmediate(() => {
              expect(receiver.parts.length).toBe(before);
              receiver.input.resume();
            });
          };
          const deflate = createDeflateRaw();
          let out: Buffer[] = [];
          deflate.on('data', (bytes: Buffer) => out.push(bytes));
          const raw: Buffer[] = [];
          for (const { kind, bytes, pieceBytes, isFlushed } of parts) {
            const content = CONTENT[kind]!.subarray(bytes, 2 * bytes);
            raw.push(content);
            await new Promise((resolve) => deflate.write(content, resolve));
            if (isFlushed)
              await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
            await receiver.send(Buffer.concat(out), Math.max(pieceBytes, bytes >> 8));
            out = [];
          }
          await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
          await receiver.send(Buffer.concat(out));
          receiver.input.end();
          await until(() => receiver.ended > 0);
          expect(receiver.content.equals(Buffer.concat(raw))).toBe(true);
          expect([receiver.ended, receiver.failures]).toEqual([1, []]);
          receiver.input.close();
          expect(compression.lent).toBe(0);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('connections take turns at any moment, and do not get in each other’s way', async () => {
    const texts = ['one', 'two', 'three', 'four'].map((word) => {
      const deflate = createDeflateRaw();
      const out: Buffer[] = [];
      deflate.on('data', (bytes: Buffer) => out.push(bytes));
      return { word, deflate, out, receiver: new Receiver(compression), raw: [] as Buffer[] };
    });
    for (let round = 0; round < 30; round++) {
      for (const { word, deflate, out, raw } of texts) {
        const command = Buffer.from(`APPLY ${word} ${round} ${word.repeat((round * 7919) % 3000)}\r\n`);
        raw.push(command);
        deflate.write(command);
        await new Promise<void>((resolve) => deflate.flush(constants.Z_SYNC_FLUSH, resolve));
        expect(out.length).toBeGreaterThan(0);
      }
      for (let at = 0; texts.some(({ out }) => at < Buffer.concat(out).length); at += 50) {
        for (const { out, receiver } of texts) receiver.push(Buffer.concat(out).subarray(at, at + 50));
      }
      for (const { out } of texts) out.length = 0;
      for (const { receiver, raw } of texts) expect(receiver.content.equals(Buffer.concat(raw))).toBe(true);
      // Between two commands a connection holds no state of isa-l, but one of zlib.
      expect(compression.lent).toBe(engine === 'isal' ? 0 : texts.length);
    }
  });

  test('a bomb comes out no faster than it is taken, and others get their turn', async () => {
    const packed = await bomb(32);
    expect(packed.length).toBeLessThan(35_000);
    const receiver = new Receiver(compression);
    receiver.onData = () => receiver.input.pause();
    receiver.push(packed);
    expect(receiver.isWanted).toBe(false);
    for (let i = 0; i < 5; i++) await turn();
    expect(receiver.length).toBeLessThanOrEqual(64 * 1024);
    receiver.input.resume();
    await until(() => receiver.parts.length === 2);
    for (let i = 0; i < 5; i++) await turn();
    expect(receiver.parts.length).toBe(2);
    receiver.onData = () => {};
    receiver.input.resume();
    let longest = 0;
    while (receiver.length < 32 << 20) {
      const before = receiver.length;
      await turn();
      longest = Math.max(longest, receiver.length - before);
      receiver.parts.splice(0, receiver.parts.length, Buffer.alloc(receiver.length, 0x20));
    }
    expect(longest).toBeLessThanOrEqual((1 << 20) + 64 * 1024);
    expect(receiver.length).toBe(32 << 20);
    expect(receiver.isWanted).toBe(true);
  });

  test('little comes out at a time while memory is short', async () => {
    const receiver = new Receiver(compression);
    receiver.isTight = true;
    receiver.push(await bomb(1));
    expect(receiver.length).toBe(1 << 20);
    expect(Math.max(...receiver.parts.map(({ length }) => length))).toBe(4096);
  });

  test('what comes although nothing was wanted is kept in its order', async () => {
    const raw = CONTENT.mail!;
    const packed = deflateRawSync(raw, sync);
    const receiver = new Receiver(compression);
    receiver.input.pause();
    for (let at = 0; at < packed.length; at += 5000) receiver.push(packed.subarray(at, at + 5000));
    receiver.input.end();
    await turn();
    expect([receiver.parts.length, receiver.ended, receiver.isWanted]).toEqual([0, 0, false]);
    receiver.input.resume();
    receiver.input.resume();
    await until(() => receiver.ended > 0);
    expect(receiver.content.equals(raw)).toBe(true);
  });

  test('a session that pauses and goes on inside the call misses nothing', () => {
    const raw = CONTENT.text!;
    const receiver = new Receiver(compression);
    receiver.onData = () => {
      receiver.input.pause();
      receiver.input.resume();
    };
    receiver.push(deflateRawSync(raw, sync));
    expect(receiver.content.equals(raw)).toBe(true);
    expect(receiver.isWanted).toBe(true);
  });

  test('the end of the deflate stream is the end, once, whatever follows', async () => {
    for (const behind of [0, 1, 50]) {
      const receiver = new Receiver(compression);
      receiver.push(Buffer.concat([deflateRawSync('EXIT\r\n'), Buffer.alloc(behind, 0xff)]));
      receiver.push(Buffer.from('more'));
      receiver.input.end();
      await turn();
      expect([receiver.content.toString(), receiver.ended]).toEqual(['EXIT\r\n', 1]);
      expect([receiver.failures, receiver.isWanted]).toEqual([[], true]);
    }
  });

  test('a stream that is torn gives what is whole, and ends', () => {
    const receiver = new Receiver(compression);
    receiver.push(deflateRawSync('NOOP\r\n'.repeat(1000), sync).subarray(0, -3));
    receiver.input.end();
    expect([receiver.length, receiver.ended]).toEqual([6000, 1]);
  });

  test('garbage fails once, and nothing comes behind it', async () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 400 }), fc.nat(50), (bytes, split) => {
        const receiver = new Receiver(compression);
        receiver.push(bytes.subarray(0, split));
        receiver.push(bytes.subarray(split));
        expect(receiver.failures.length).toBeLessThanOrEqual(1);
        receiver.input.close();
        return compression.lent === 0;
      }),
      { numRuns: 200 },
    );
    const receiver = new Receiver(compression);
    receiver.push(Buffer.alloc(100, 0xff));
    receiver.push(deflateRawSync('NOOP\r\n', sync));
    receiver.input.end();
    await turn();
    expect(receiver.failures).toEqual(['COMPRESS: invalid deflate data']);
    expect([receiver.parts.length, receiver.ended]).toEqual([0, 0]);
  });

  test('closed inside the call, or with something left, it is silent and holds nothing', async () => {
    const packed = await bomb(2);
    const inside = new Receiver(compression);
    inside.onData = () => inside.input.close();
    inside.push(packed);
    const later = new Receiver(compression);
    later.onData = () => later.input.pause();
    later.push(packed);
    later.input.resume();
    later.input.close();
    for (const { input } of [inside, later]) input.end();
    await turn();
    for (const { parts, ended } of [inside, later]) expect([parts.length, ended]).toEqual([1, 0]);
    expect(compression.lent).toBe(0);
  });
});
