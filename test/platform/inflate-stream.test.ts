import { constants, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type InflateStream,
  newInflateStream,
  newIsalStream,
  newZlibStream,
} from '../../src/platform/inflate-stream.ts';
import { samples } from './samples.ts';

const streams = [newIsalStream(), newZlibStream()].filter(
  (stream): stream is InflateStream => stream !== undefined,
);

/** Inflates `bytes`, given in pieces of `pieceBytes`, into an output of `roomBytes`. */
function inflate(
  stream: InflateStream,
  bytes: Uint8Array,
  pieceBytes: number,
  roomBytes: number,
): { content: Buffer; state: string; end: number } {
  const output = new Uint8Array(roomBytes);
  const parts: Buffer[] = [];
  let at = 0;
  stream.reset();
  for (;;) {
    const step = { ...stream.run(bytes.subarray(at, at + pieceBytes), output) };
    at += step.consumed;
    if (step.state !== 'error') parts.push(Buffer.from(output.subarray(0, step.produced)));
    const isOut = step.state === 'input' && at >= bytes.length;
    const state = isOut && stream.isAtEnd() ? 'end' : step.state;
    if (state === 'end') return { content: Buffer.concat(parts), state, end: at - stream.readAhead };
    if (state === 'error' || isOut) return { content: Buffer.concat(parts), state, end: at };
  }
}

/** One deflate stream in pieces, flushed after each of these lengths of its content. */
function flushedAfter(raw: Buffer, lengths: readonly number[]): Buffer[] {
  let at = 0;
  return lengths.map((length) => {
    const [before, piece] = [raw.subarray(0, at), raw.subarray(at, at + length)];
    at += length;
    const dictionary = before.length === 0 ? {} : { dictionary: before.subarray(-32768) };
    return deflateRawSync(piece, { finishFlush: constants.Z_SYNC_FLUSH, ...dictionary });
  });
}

test('the fastest of this machine is used', () => {
  expect(newInflateStream()!.name).toBe(streams[0]!.name);
});

describe.each(streams)('a stream of $name', (stream) => {
  test('inflates in pieces of any size, and stops behind the final block', () => {
    const flushed = { finishFlush: constants.Z_FULL_FLUSH };
    for (const raw of Object.values(samples(70_000))) {
      const streamsOfIt = [
        deflateRawSync(raw),
        deflateRawSync(raw, { level: 0 }),
        Buffer.concat([deflateRawSync(raw.subarray(0, 9000), flushed), deflateRawSync(raw.subarray(9000))]),
      ];
      for (const deflated of streamsOfIt) {
        for (const behind of [0, 1, 7, 8, 9, 100]) {
          const bytes = Buffer.concat([deflated, Buffer.alloc(behind, 0xa5)]);
          for (const [piece, room] of [
            [bytes.length, 100_000],
            [1000, 4096],
            [13, 997],
          ] as const) {
            const { content, state, end } = inflate(stream, bytes, piece, room);
            expect({ state, end, isSame: content.equals(raw) }).toEqual({
              state: 'end',
              end: deflated.length,
              isSame: true,
            });
          }
        }
      }
    }
  });

  test('gives all that is good of a torn stream, and does not take it for whole', () => {
    const raw = samples(3000).mail!;
    const deflated = deflateRawSync(raw);
    for (let cut = 0; cut < deflated.length; cut++) {
      const { content, state } = inflate(stream, deflated.subarray(0, cut), 500, 512);
      expect(state).toBe('input');
      expect(content.equals(raw.subarray(0, content.length))).toBe(true);
    }
  });

  test('goes on from its history at each flush, if it has one, and has none in between', () => {
    const other = streams.find(({ name }) => name === stream.name)!;
    const content = samples(360_000);
    const output = new Uint8Array(1 << 20);
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 60_000 }), { minLength: 1, maxLength: 6 }),
        fc.constantFrom('mail', 'text', 'noise'),
        fc.integer({ min: 40, max: 5000 }),
        (lengths, kind, pieceBytes) => {
          const total = lengths.reduce((sum, length) => sum + length, 0);
          const raw = content[kind]!.subarray(0, total);
          const deflated = flushedAfter(raw, lengths);
          const parts: Buffer[] = [];
          stream.reset();
          for (const part of deflated) {
            for (let at = 0; at < part.length; at += pieceBytes) {
              const { state, produced } = stream.run(part.subarray(at, at + pieceBytes), output);
              expect(state).toBe('input');
              parts.push(Buffer.from(output.subarray(0, produced)));
              if (at + pieceBytes === part.length - 1) expect(stream.history()).toBeUndefined();
            }
            const history = stream.history()?.slice();
            expect(history === undefined).toBe(stream.name === 'zlib');
            if (history === undefined) continue;
            const given = Buffer.concat(parts);
            expect(given.subarray(-32768).equals(history)).toBe(true);
            // Somebody else has it meanwhile.
            other.reset();
            other.run(deflateRawSync(Buffer.alloc(50_000, 'else')), output);
            stream.reset(history);
          }
          expect(Buffer.concat(parts).equals(raw)).toBe(true);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('arbitrary bytes are damaged, end or go on, and nothing else happens', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 300 }),
        fc.integer({ min: 1, max: 40 }),
        (bytes, piece) => {
          expect(['end', 'error', 'input']).toContain(inflate(stream, bytes, piece, 300).state);
        },
      ),
      { numRuns: 300 },
    );
    const raw = samples(5000).text!;
    expect(inflate(stream, deflateRawSync(raw), 700, 700).content.equals(raw)).toBe(true);
  });
});
