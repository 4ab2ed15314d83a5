import fs from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readContent } from '../../../src/store/chunk/reader.ts';
import type { SegmentStart } from '../../../src/store/chunk/writer.ts';
import { appendDeflated, cyrusMember, line, TemporaryFile, writerAt } from './chunk-files.ts';

function collect(pieces: Iterable<Uint8Array>): Buffer {
  const copies: Buffer[] = [];
  for (const piece of pieces) copies.push(Buffer.from(piece));
  return Buffer.concat(copies);
}

/** A file with 900 KB of content in segments of all sizes. */
function sample(file: TemporaryFile, finish: boolean): { content: Buffer; starts: SegmentStart[] } {
  const writer = writerAt(file.fd);
  const parts: Buffer[] = [Buffer.from('# cyrus backup: chunk start\r\n')];
  for (let i = 0; i < 60; i++) {
    const part = Buffer.from(`${i} ${'text '.repeat((i * 37) % 500)}`.repeat(i % 13 || 40));
    parts.push(part);
    if (i % 2 === 0) appendDeflated(writer, part);
    else writer.appendRaw(part);
  }
  writer.flush();
  const starts = writer.segmentStarts();
  if (finish) {
    writer.finish();
    writer.writeTrailer();
  }
  return { content: Buffer.concat(parts), starts };
}

describe('readContent', () => {
  it('gives any range, from the start of the chunk or from a segment start', () => {
    using file = new TemporaryFile(Buffer.from('before'));
    const { content, starts } = sample(file, true);
    expect(starts.length).toBeGreaterThan(1);
    fc.assert(
      fc.property(fc.nat(content.length), fc.nat(5000), fc.nat(starts.length), (from, wanted, which) => {
        const length = Math.min(wanted, content.length - from);
        const start = starts[which];
        const bytes = collect(readContent(file.fd, { offset: 6, ...(start && { start }) }, from, length));
        expect(bytes.equals(content.subarray(from, from + length))).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('gives all of it, finished or not, and up to a given end', () => {
    for (const finish of [true, false]) {
      using file = new TemporaryFile();
      const { content, starts } = sample(file, finish);
      expect(collect(readContent(file.fd, { offset: 0 })).equals(content)).toBe(true);
      const { fileOffset, contentOffset } = starts[1]!;
      expect(
        collect(readContent(file.fd, { offset: 0, end: fileOffset })).equals(
          content.subarray(0, contentOffset),
        ),
      ).toBe(true);
    }
  });

  it('reads what Cyrus wrote', async () => {
    const member = await cyrusMember([line('a'), line('b'), 'x'.repeat(700_000)]);
    using file = new TemporaryFile(member.bytes);
    expect(collect(readContent(file.fd, { offset: 0 })).equals(member.content)).toBe(true);
    expect(collect(readContent(file.fd, { offset: 0 }, 600_000, 7)).toString()).toBe('xxxxxxx');
  });

  it('keeps memory bounded where little inflates to much', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    for (let i = 0; i < 32; i++) appendDeflated(writer, Buffer.alloc(1 << 20));
    writer.finish();
    writer.writeTrailer();
    expect(fs.fstatSync(file.fd).size).toBeLessThan(300_000);
    let longest = 0;
    let total = 0;
    for (const piece of readContent(file.fd, { offset: 0 })) {
      longest = Math.max(longest, piece.length);
      total += piece.length;
    }
    expect(total).toBe(32 * (1 << 20) + 29);
    expect(longest).toBeLessThanOrEqual(256 * 1024 + 258);
  });

  it('gives what lies before damage, to the byte', async () => {
    const { bytes, content, flushes } = await cyrusMember([line('a'), line('b'), line('c')]);
    using file = new TemporaryFile();
    const damaged = Buffer.from(bytes);
    damaged.fill(0xff, flushes[2]!.bytes);
    file.replace(damaged);
    const parts: Buffer[] = [];
    expect(() => {
      for (const piece of readContent(file.fd, { offset: 0 })) parts.push(Buffer.from(piece));
    }).toThrow('its stream is damaged at byte');
    const good = Buffer.concat(parts).length;
    expect(good).toBe(flushes[2]!.content);
    expect(collect(readContent(file.fd, { offset: 0 }, 0, good)).equals(content.subarray(0, good))).toBe(
      true,
    );
    expect(() => collect(readContent(file.fd, { offset: 0 }, 0, good + 1))).toThrow('damaged');
  });

  it('says what is wrong with a chunk', () => {
    using file = new TemporaryFile();
    const { content } = sample(file, true);
    const all = { offset: 0, path: '/backups/a' };
    expect(() => collect(readContent(file.fd, all, 0, content.length + 1))).toThrow(
      `cannot read the chunk at 0 of /backups/a: its content ends at ${content.length}`,
    );
    expect(() => collect(readContent(file.fd, { offset: 3 }))).toThrow('no chunk begins there');
    const bytes = file.bytes();
    bytes.fill(0xff, 2000, 2100);
    file.replace(bytes);
    expect(() => collect(readContent(file.fd, all))).toThrow('its stream is damaged at byte');
  });
});
