import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContentReader } from '../../../src/store/chunk/content-reader.ts';
import { appendDeflated, TemporaryFile, writerAt } from './chunk-files.ts';

const HEAD = Buffer.from('# cyrus backup: chunk start\r\n');

function collect(pieces: Iterable<Uint8Array>): Buffer {
  const copies: Buffer[] = [];
  for (const piece of pieces) copies.push(Buffer.from(piece));
  return Buffer.concat(copies);
}

function textOf(bytes: number, seed: number): Buffer {
  const text = Buffer.alloc(bytes);
  for (let at = 0, x = seed; at < bytes; at++)
    text[at] = 32 + (((x = (x * 1_103_515_245 + 12_345) >>> 0) >>> 16) % 90);
  return text;
}

/** A member of segments as ours, and one without a place to begin at, as zlib makes it for Cyrus. */
const contents = [1, 2].map((seed) => Buffer.concat([HEAD, textOf(1_300_000, seed)]));

function twoMembers(): { file: TemporaryFile; places: Parameters<ContentReader['read']>[0][] } {
  const file = new TemporaryFile();
  const writer = writerAt(file.fd);
  for (let at = HEAD.length; at < contents[0]!.length; at += 200_000) {
    appendDeflated(writer, contents[0]!.subarray(at, Math.min(at + 200_000, contents[0]!.length)));
  }
  writer.finish();
  writer.writeTrailer();
  const second = file.bytes().length;
  file.replace(Buffer.concat([file.bytes(), gzipSync(contents[1]!)]));
  return { file, places: [{ offset: 0 }, { offset: second }] };
}

describe('ContentReader', () => {
  it('gives any ranges of any chunks in any order, several at a time, with few blocks in memory', () => {
    const { file, places } = twoMembers();
    using _ = file;
    const [member] = file.scan();
    expect(member!.starts.length).toBeGreaterThan(2);
    const range = fc.record({
      which: fc.nat(1),
      from: fc.nat(contents[0]!.length),
      length: fc.oneof(fc.nat(5000), fc.nat(600_000)),
      start: fc.nat(member!.starts.length),
    });
    fc.assert(
      fc.property(
        fc.array(range, { minLength: 1, maxLength: 12 }),
        fc.integer({ min: 1, max: 4 }),
        (ranges, blocks) => {
          const reader = new ContentReader(file.fd, blocks);
          const readings = ranges.map(({ which, from, length: wanted, start }) => {
            const content = contents[which]!;
            const known = which === 0 ? member!.starts[start] : undefined;
            const length = Math.min(wanted, content.length - from);
            const place = { ...places[which]!, ...(known && { start: known }) };
            return {
              expected: content.subarray(from, from + length),
              pieces: reader.read(place, from, length),
              got: [] as Buffer[],
            };
          });
          // In turn, so that each has a piece in its hands while others read on.
          for (let going = [...readings]; going.length > 0; ) {
            const held = going.map((reading) => ({ reading, next: reading.pieces.next() }));
            for (const { reading, next } of held) if (!next.done) reading.got.push(Buffer.from(next.value));
            going = held.filter(({ next }) => !next.done).map(({ reading }) => reading);
          }
          for (const { expected, got } of readings) expect(Buffer.concat(got).equals(expected)).toBe(true);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('reads on in a chunk that has grown since', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const parts = [textOf(300_000, 1), textOf(300_000, 2)];
    appendDeflated(writer, parts[0]!);
    const reader = new ContentReader(file.fd);
    const place = { offset: 0 };
    const at = HEAD.length;
    expect(collect(reader.read(place, at, 300_000)).equals(parts[0]!)).toBe(true);
    appendDeflated(writer, parts[1]!);
    expect(collect(reader.read(place, at + 300_000, 300_000)).equals(parts[1]!)).toBe(true);
  });

  it('gives what is good before damage, and says where the damage is', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const part = textOf(200_000, 7);
    for (let i = 0; i < 4; i++) appendDeflated(writer, part);
    writer.finish();
    writer.writeTrailer();
    const { starts } = file.scan()[0]!;
    const bytes = file.bytes();
    bytes.fill(0xff, starts[0]!.fileOffset + 20, starts[0]!.fileOffset + 400);
    file.replace(bytes);
    const reader = new ContentReader(file.fd);
    const good = starts[0]!.contentOffset - HEAD.length;
    for (let again = 0; again < 2; again++) {
      expect(collect(reader.read({ offset: 0 }, HEAD.length, 200_000)).equals(part)).toBe(true);
      expect(() => collect(reader.read({ offset: 0, path: 'F' }, HEAD.length + good, 200_000))).toThrow(
        /CHUNK_CORRUPT|the chunk at 0 of F: its stream is damaged at byte/,
      );
    }
  });

  it('says that a chunk is too short', () => {
    const { file, places } = twoMembers();
    using _ = file;
    const reader = new ContentReader(file.fd);
    const { length } = contents[1]!;
    expect(collect(reader.read(places[1]!, length - 10, 10))).toHaveLength(10);
    expect(() => collect(reader.read(places[1]!, length - 10, 11))).toThrow(/its content ends at/);
  });
});
