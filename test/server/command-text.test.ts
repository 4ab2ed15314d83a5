import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runDeflateTask } from '../../src/pipeline/deflate-task.ts';
import type { MessageRef, ShardReply, TextPiece } from '../../src/pipeline/messages.ts';
import { SlabPool, SMALL_BUFFERS_BYTES } from '../../src/pipeline/slab-pool.ts';
import { SLAB_BYTES, slabText } from '../../src/pipeline/slabs.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { CommandText, type PieceSink, SMALL_BYTES } from '../../src/server/command-text.ts';
import { Random } from '../support/random.ts';

const OK: ShardReply = { code: 'OK', text: '' };
const engine = loadDeflateEngine('zlib');

class Collector implements PieceSink {
  readonly deflated: boolean;
  readonly pieces: { kind: string; bytes: Buffer; last: boolean }[] = [];
  messages: MessageRef[] | undefined;
  aborted = false;
  opened = 0;
  answer: (piece: number) => ShardReply = () => OK;
  readonly #slabs: SlabPool;

  constructor(slabs: SlabPool, deflated = true) {
    this.#slabs = slabs;
    this.deflated = deflated;
  }

  async open(): Promise<void> {
    this.opened++;
  }

  async send(piece: TextPiece, last: { messages: MessageRef[] } | undefined): Promise<ShardReply> {
    const bytes = Buffer.from(
      piece.kind === 'bytes' ? piece.bytes : slabText(this.#slabs.memory, piece.slab, piece.rawLength),
    );
    if (piece.kind === 'bytes') expect(piece.bytes.buffer.byteLength).toBe(piece.bytes.byteLength);
    this.pieces.push({ kind: piece.kind, bytes, last: last !== undefined });
    this.messages = last?.messages;
    const reply = this.answer(this.pieces.length - 1);
    await new Promise((resolve) => setImmediate(resolve));
    return reply;
  }

  async abort(): Promise<void> {
    this.aborted = true;
  }

  get text(): Buffer {
    return Buffer.concat(this.pieces.map(({ bytes }) => bytes));
  }
}

function setUp(slabCount: number, deflated = true) {
  const slabs = new SlabPool(slabCount);
  const sink = new Collector(slabs, deflated);
  let mismatches = 0;
  const text = new CommandText({
    slabs,
    holder: { slabsHeld: 0 },
    deflate: { run: async (task) => runDeflateTask(task, slabs.memory, engine) },
    onMismatch: () => mismatches++,
  });
  text.onNeedSink = () => (text.sink = sink);
  return { slabs, sink, text, mismatches: () => mismatches };
}

/** Everything that was lent is back. */
function expectClean(slabs: SlabPool): void {
  expect(slabs.freeCount).toBe(slabs.count);
  expect(slabs.waitingCount).toBe(0);
  expect(slabs.takeSmall(SMALL_BUFFERS_BYTES)).toBe(true);
  slabs.releaseSmall(SMALL_BUFFERS_BYTES);
}

/** Gives it all to `text`, waiting where it has no room. */
async function feed(text: CommandText, bytes: Buffer, from = 0, to = bytes.length): Promise<void> {
  let at = from;
  while (at < to) {
    const room = new Promise<void>((resolve) => (text.onRoom = resolve));
    at += text.take(bytes, at, to);
    if (at < to) await room;
  }
}

function sha1(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex');
}

describe('CommandText', () => {
  test('a short command is one piece of bytes', async () => {
    const { slabs, sink, text } = setUp(1);
    await feed(text, Buffer.from('UNUSER anne\r\n'));
    expect(await text.finish()).toEqual(OK);
    expect(sink.pieces).toEqual([{ kind: 'bytes', bytes: Buffer.from('UNUSER anne\r\n'), last: true }]);
    expect(sink.opened).toBe(1);
    expectClean(slabs);
  });

  test.each([
    [SMALL_BYTES - 1, ['bytes']],
    [SMALL_BYTES, ['slab']],
    [SLAB_BYTES, ['slab']],
    [SLAB_BYTES + 1, ['slab', 'bytes']],
    [SLAB_BYTES + SMALL_BYTES - 1, ['slab', 'bytes']],
    [SLAB_BYTES + SMALL_BYTES, ['slab', 'slab']],
    [2 * SLAB_BYTES, ['slab', 'slab']],
  ])('%i bytes of text go as %j', async (length, kinds) => {
    const { slabs, sink, text } = setUp(4);
    const bytes = new Random(length).bytes(1000);
    const whole = Buffer.alloc(length, bytes);
    await feed(text, whole);
    expect(await text.finish()).toEqual(OK);
    expect(sink.pieces.map(({ kind }) => kind)).toEqual(kinds);
    expect(sink.pieces.map(({ last }) => last)).toEqual(kinds.map((_, i) => i === kinds.length - 1));
    expect(sink.text.equals(whole)).toBe(true);
    expectClean(slabs);
  });

  const messages = fc.array(
    fc.record({
      size: fc.oneof(fc.nat(2000), fc.nat(300_000), fc.nat(1_500_000)),
      gap: fc.nat(100),
      early: fc.boolean(),
    }),
    { minLength: 1, maxLength: 5 },
  );

  test('any messages, split anyhow, flushed early or not, come out whole and with their places', async () => {
    await fc.assert(
      fc.asyncProperty(
        messages,
        fc.integer({ min: 1, max: 400_000 }),
        fc.integer({ min: 1, max: 3 }),
        fc.boolean(),
        fc.integer({ min: -1, max: 9 }),
        async (list, chunk, slabCount, deflated, wrong) => {
          const { slabs, sink, text, mismatches } = setUp(slabCount, deflated);
          const random = new Random(chunk);
          const unit = random.bytes(4099);
          const all: Buffer[] = [];
          const feedChunks = async (bytes: Buffer) => {
            all.push(bytes);
            for (let at = 0; at < bytes.length; at += chunk)
              await feed(text, bytes, at, Math.min(bytes.length, at + chunk));
          };
          for (const [i, { size, gap, early }] of list.entries()) {
            await feedChunks(Buffer.alloc(gap, 0x20));
            const content = Buffer.alloc(size, unit);
            if (size > 4) content.writeUInt32LE(i, 0);
            const guid = i === wrong ? '0'.repeat(40) : sha1(content);
            text.messageStart({ partition: 'p', guid, size });
            const half = Math.floor(size / 2);
            await feedChunks(content.subarray(0, half));
            if (early) expect(text.flushEarly()).toBe(true);
            await feedChunks(content.subarray(half));
            text.messageEnd();
          }
          const reply = await text.finish();
          if (wrong >= 0 && wrong < list.length) {
            expect(reply.code).toBe('IMAP_PROTOCOL_ERROR');
            expect(mismatches()).toBe(1);
            expect(sink.pieces.some(({ last }) => last)).toBe(false);
            expect(sink.aborted).toBe(sink.pieces.length > 0);
          } else {
            expect(reply).toEqual(OK);
            const whole = Buffer.concat(all);
            expect(sink.text.equals(whole)).toBe(true);
            expect(sink.messages).toHaveLength(list.length);
            for (const { guid, offset, size } of sink.messages!)
              expect(sha1(whole.subarray(offset, offset + size))).toBe(guid);
          }
          expectClean(slabs);
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a refused piece ends the command, and the rest of its text is dropped', async () => {
    const { slabs, sink, text } = setUp(2);
    sink.answer = (piece) => (piece === 1 ? { code: 'IMAP_MAILBOX_LOCKED', text: 'full' } : OK);
    await feed(text, Buffer.alloc(8 * SLAB_BYTES, 'abc'));
    expect(await text.finish()).toEqual({ code: 'IMAP_MAILBOX_LOCKED', text: 'full' });
    expect(sink.pieces.length).toBeLessThan(5);
    expect(sink.aborted).toBe(true);
    expectClean(slabs);
  });

  test('text that does not say whose it is within a slab is refused', async () => {
    const { slabs, sink, text } = setUp(2);
    text.onNeedSink = () => undefined;
    await feed(text, Buffer.alloc(SLAB_BYTES, 'a'));
    expect(text.flushEarly()).toBe(false);
    expect(text.failure).toBeUndefined();
    await feed(text, Buffer.alloc(3 * SLAB_BYTES, 'a'));
    expect((await text.finish()).code).toBe('IMAP_PROTOCOL_BAD_PARAMETERS');
    expect(sink.pieces).toEqual([]);
    expectClean(slabs);
  });

  test('a thread that fails to compress makes it a temporary failure', async () => {
    const slabs = new SlabPool(2);
    const sink = new Collector(slabs);
    const text = new CommandText({
      slabs,
      holder: { slabsHeld: 0 },
      deflate: { run: () => Promise.reject(new Error('the thread died')) },
      onMismatch: () => {},
    });
    text.sink = sink;
    await feed(text, Buffer.alloc(3 * SLAB_BYTES, 'a'));
    expect((await text.finish()).code).toBe('IMAP_MAILBOX_LOCKED');
    expect(sink.pieces).toEqual([]);
    expectClean(slabs);
  });

  test('aborted while it waits for room, it leaves the line and says so', async () => {
    const { slabs, text } = setUp(1);
    const other = { slabsHeld: 0 };
    const slab = slabs.tryTake(other)!;
    const bytes = Buffer.alloc(SMALL_BYTES, 'a');
    expect(text.take(bytes, 0, bytes.length)).toBe(0);
    expect(slabs.waitingCount).toBe(1);
    const woken = new Promise<void>((resolve) => (text.onRoom = resolve));
    await text.abort();
    await woken;
    expect(slabs.waitingCount).toBe(0);
    slabs.release(other, slab);
    expectClean(slabs);
  });

  test('more messages than a client sends in one command are refused', async () => {
    const { slabs, text } = setUp(1);
    for (let i = 0; i < 16_385; i++) {
      text.messageStart({ partition: 'p', guid: sha1(Buffer.alloc(0)), size: 0 });
      text.messageEnd();
      if (i === 16_383) expect(text.failure).toBeUndefined();
    }
    expect((await text.finish()).code).toBe('IMAP_PROTOCOL_BAD_PARAMETERS');
    expectClean(slabs);
  });

  test('when there is no room for small buffers a slab does', async () => {
    const { slabs, sink, text } = setUp(1);
    expect(slabs.takeSmall(SMALL_BUFFERS_BYTES)).toBe(true);
    await feed(text, Buffer.from('UNUSER anne\r\n'));
    expect(slabs.freeCount).toBe(0);
    expect(await text.finish()).toEqual(OK);
    expect(sink.text.toString()).toBe('UNUSER anne\r\n');
    slabs.releaseSmall(SMALL_BUFFERS_BYTES);
    expectClean(slabs);
  });
});
