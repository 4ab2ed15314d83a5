import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import zlib, { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../../src/platform/crc32.ts';
import { BackupError } from '../../../src/platform/errors.ts';
import { ResumableSha1 } from '../../../src/platform/sha1.ts';
import { CHUNK_START_TEXT } from '../../../src/store/chunk/member.ts';
import { readContent } from '../../../src/store/chunk/reader.ts';
import {
  type ChunkMark,
  ChunkWriter,
  GATHER_BYTES,
  SEGMENT_START_SPACING_BYTES,
} from '../../../src/store/chunk/writer.ts';
import { diskFolder, residentBytes } from '../../support/resident.ts';
import {
  appendDeflated,
  BOOT_TAG,
  engine,
  line,
  TemporaryFile,
  writerAt,
  zlibEngine,
} from './chunk-files.ts';

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

/** What a test does with the writer, and a model of the content that must come of it. */
type Step =
  | { do: 'raw' | 'segment'; bytes: Buffer }
  | { do: 'flush' | 'mark' | 'rollback' }
  | { do: 'starts' };

const text = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.integer({ min: 1, max: 3000 }))
  .map(([bytes, times]) => Buffer.concat(Array<Uint8Array>(times).fill(bytes)));
const step: fc.Arbitrary<Step> = fc.oneof(
  text.map((bytes): Step => ({ do: 'raw', bytes })),
  text.map((bytes): Step => ({ do: 'segment', bytes })),
  fc.constantFrom<Step>({ do: 'flush' }, { do: 'mark' }, { do: 'rollback' }),
);

describe('ChunkWriter', () => {
  it('writes members that any gzip reads, whatever is appended, marked and rolled back', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 50 }),
        fc.array(step, { maxLength: 15 }),
        fc.boolean(),
        (before, steps, isal) => {
          using file = new TemporaryFile(before);
          const deflate = isal ? engine : zlibEngine;
          const writer = writerAt(file.fd, deflate);
          let content: Buffer = Buffer.from(CHUNK_START_TEXT);
          let mark: { at: ChunkMark; content: Buffer } = { at: writer.mark(), content };
          for (const { do: what, ...rest } of steps) {
            if (what === 'mark') mark = { at: writer.mark(), content };
            else if (what === 'rollback') {
              writer.rollback(mark.at);
              content = mark.content;
            } else if (what === 'flush') writer.flush();
            else {
              const { bytes } = rest as { bytes: Buffer };
              content = Buffer.concat([content, bytes]);
              if (what === 'raw') writer.appendRaw(bytes);
              else appendDeflated(writer, bytes, deflate);
            }
            expect(writer.contentLength).toBe(content.length);
            expect(file.bytes().length).toBe(writer.fileEnd);
          }
          expect(writer.empty).toBe(content.length === CHUNK_START_TEXT.length);
          if (writer.empty) return;
          const chunk = writer.finish();
          const trailerless = file.bytes();
          writer.writeTrailer();
          const bytes = file.bytes();
          expect(zlib.gunzipSync(bytes.subarray(before.length)).equals(content)).toBe(true);
          expect(chunk).toEqual({
            offset: before.length,
            length: content.length,
            dataSha1: sha1(content),
            crc32: crc32(content),
            trailerOffset: trailerless.length,
            trailer: new Uint8Array(bytes.subarray(-10)),
            fileEndAfterTrailer: bytes.length,
            fileSha1StateAfterTrailer: ResumableSha1.create().update(bytes).save(),
          });
          expect(writer.fileSha1Hex).toBe(sha1(Buffer.from(before)));
        },
      ),
      { numRuns: 150 },
    );
  });

  it('writes nothing at all while there are no lines', () => {
    using file = new TemporaryFile(Buffer.from('before'));
    const writer = writerAt(file.fd);
    writer.flush();
    expect(file.bytes().toString()).toBe('before');
    expect(() => writer.finish()).toThrow('it has no lines');
  });

  it('keeps every segment readable alone: its text, a full flush, nothing across', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    let from = writer.fileEnd;
    let first = true;
    for (const name of ['a', 'b', 'c']) {
      writer.appendRaw(Buffer.from(line(name)));
      writer.flush();
      const segment = file.bytes().subarray(from + (first ? 24 : 0), writer.fileEnd);
      const alone = zlib.inflateRawSync(Buffer.concat([segment, Buffer.from([3, 0])])).toString();
      expect(alone).toBe(first ? CHUNK_START_TEXT + line(name) : line(name));
      from = writer.fileEnd;
      first = false;
    }
  });

  it('splits gathered text at GATHER_BYTES and copies what it is given', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const room = GATHER_BYTES - CHUNK_START_TEXT.length;
    const bytes = Buffer.alloc(room - 1, 'x');
    writer.appendRaw(bytes);
    expect(writer.fileEnd).toBe(0);
    bytes.fill('y');
    writer.appendRaw(Buffer.from('z'));
    expect(writer.fileEnd).toBeGreaterThan(0);
    writer.finish();
    writer.writeTrailer();
    expect(zlib.gunzipSync(file.bytes()).toString()).toBe(`${CHUNK_START_TEXT}${'x'.repeat(room - 1)}z`);
  });

  it('takes text and segments from shared memory', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const shared = new Uint8Array(new SharedArrayBuffer(4096)).fill(65);
    writer.appendRaw(shared.subarray(0, 10));
    const deflated = new Uint8Array(new SharedArrayBuffer(8192));
    const length = engine.deflateSegment(shared, deflated);
    writer.appendSegment(deflated.subarray(0, length), shared, crc32(shared));
    shared.fill(66);
    writer.finish();
    writer.writeTrailer();
    expect(zlib.gunzipSync(file.bytes()).toString()).toBe(CHUNK_START_TEXT + 'A'.repeat(4106));
  });

  it('names the first segment at or behind every 256 KiB, each a place to read from', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const content = [Buffer.from(CHUNK_START_TEXT)];
    const starts: ReturnType<ChunkWriter['segmentStarts']> = [];
    for (let i = 0; i < 40; i++) {
      const raw = Buffer.alloc(50_000 + i, `${i} `);
      content.push(raw);
      appendDeflated(writer, raw);
      if (i % 7 === 0) starts.push(...writer.segmentStarts());
    }
    starts.push(...writer.segmentStarts());
    expect(writer.segmentStarts()).toEqual([]);
    const whole = Buffer.concat(content);
    expect(starts.map((start) => Math.floor(start.contentOffset / SEGMENT_START_SPACING_BYTES))).toEqual([
      1, 2, 3, 4, 5, 6,
    ]);
    for (const start of starts) {
      const rest: Buffer[] = [];
      for (const piece of readContent(file.fd, { offset: 0, start }, start.contentOffset))
        rest.push(Buffer.from(piece));
      expect(Buffer.concat(rest).equals(whole.subarray(start.contentOffset))).toBe(true);
    }
  });

  it('forgets segment starts behind a mark', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    appendDeflated(writer, Buffer.alloc(300_000, 'a'));
    const mark = writer.mark();
    appendDeflated(writer, Buffer.alloc(300_000, 'b'));
    appendDeflated(writer, Buffer.alloc(300_000, 'c'));
    writer.rollback(mark);
    expect(writer.segmentStarts()).toEqual([]);
    appendDeflated(writer, Buffer.alloc(10, 'd'));
    expect(writer.segmentStarts().map((start) => start.contentOffset)).toEqual([300_029]);
  });

  it('goes on in an unfinished member as if nothing had happened', () => {
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 2, maxLength: 6 }),
        fc.nat(),
        fc.nat(100),
        (parts, choice, tail) => {
          using file = new TemporaryFile(Buffer.from('what was before'));
          const writer = writerAt(file.fd);
          const content = [Buffer.from(CHUNK_START_TEXT)];
          const cuts: { fileOffset: number; contentOffset: number; starts: number }[] = [];
          let starts: ReturnType<ChunkWriter['segmentStarts']> = [];
          for (const part of parts) {
            appendDeflated(writer, part);
            content.push(part);
            starts = starts.concat(writer.segmentStarts());
            cuts.push({
              fileOffset: writer.fileEnd,
              contentOffset: writer.contentLength,
              starts: starts.length,
            });
          }
          fs.ftruncateSync(file.fd, Math.max(writer.fileEnd - tail, cuts[0]!.fileOffset));
          const size = file.bytes().length;
          const possible = cuts.filter((cut) => cut.fileOffset <= size);
          const cut = possible[choice % possible.length]!;
          const fileSha1 = ResumableSha1.create().update(file.bytes().subarray(0, 15));
          const options = { fd: file.fd, fileEnd: 15, fileSha1, engine, bootTag: BOOT_TAG };
          const resumed = ChunkWriter.resume(options, cut);
          expect(resumed.contentLength).toBe(cut.contentOffset);
          expect(file.bytes().length).toBe(cut.fileOffset);
          expect(resumed.segmentStarts()).toEqual(starts.slice(0, cut.starts));
          resumed.appendRaw(Buffer.from('more'));
          const chunk = resumed.finish();
          resumed.writeTrailer();
          const expected = Buffer.concat([
            Buffer.concat(content).subarray(0, cut.contentOffset),
            Buffer.from('more'),
          ]);
          expect(zlib.gunzipSync(file.bytes().subarray(15)).equals(expected)).toBe(true);
          expect(chunk.dataSha1).toBe(sha1(expected));
          expect(chunk.fileSha1StateAfterTrailer).toEqual(ResumableSha1.create().update(file.bytes()).save());
        },
      ),
      { numRuns: 40 },
    );
  });

  it('refuses to go on at what is no flush point', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    appendDeflated(writer, Buffer.from('some text that is long enough'));
    const cut = { fileOffset: writer.fileEnd, contentOffset: writer.contentLength };
    const before = file.bytes();
    const options = { fd: file.fd, fileEnd: 0, fileSha1: ResumableSha1.create(), engine, bootTag: BOOT_TAG };
    for (const wrong of [
      { ...cut, fileOffset: cut.fileOffset - 1 },
      { ...cut, contentOffset: cut.contentOffset + 1 },
    ]) {
      expect(() => ChunkWriter.resume(options, wrong)).toThrow(BackupError);
    }
    expect(() => ChunkWriter.resume({ ...options, fileEnd: 5 }, cut)).toThrow('no member begins there');
    expect(file.bytes().equals(before)).toBe(true);
  });

  it('leaves the file as it was when a write fails, and says what failed', () => {
    using file = new TemporaryFile(Buffer.from('before'));
    const writer = writerAt(file.fd);
    writer.appendRaw(Buffer.from(line('a')));
    writer.flush();
    const before = file.bytes();
    const mark = writer.mark();
    const readOnly = fs.openSync(file.path, 'r');
    const broken = ChunkWriter.resume(
      {
        fd: file.fd,
        fileEnd: 6,
        fileSha1: ResumableSha1.create().update(Buffer.from('before')),
        engine: {
          name: 'zlib',
          deflateSegment: () => {
            throw new Error('no');
          },
        },
        bootTag: BOOT_TAG,
      },
      { fileOffset: writer.fileEnd, contentOffset: writer.contentLength },
    );
    broken.appendRaw(Buffer.from(line('b')));
    expect(() => broken.flush()).toThrow('no');
    expect(file.bytes().equals(before)).toBe(true);
    const unwritable = new ChunkWriter({
      fd: readOnly,
      fileEnd: 6,
      fileSha1: ResumableSha1.create(),
      engine,
      bootTag: BOOT_TAG,
      path: 'P',
    });
    unwritable.appendRaw(Buffer.from(line('c')));
    expect(() => unwritable.flush()).toThrow(BackupError);
    fs.closeSync(readOnly);
    expect(file.bytes().equals(before)).toBe(true);
    writer.rollback(mark);
    writer.appendRaw(Buffer.from(line('b')));
    writer.finish();
    writer.writeTrailer();
    expect(zlib.gunzipSync(file.bytes().subarray(6)).toString()).toBe(
      CHUNK_START_TEXT + line('a') + line('b'),
    );
  });

  it('discards the chunk', () => {
    using file = new TemporaryFile(Buffer.from('before'));
    const writer = writerAt(file.fd);
    appendDeflated(writer, Buffer.alloc(100_000, 'a'));
    writer.discard();
    expect(file.bytes().toString()).toBe('before');
    expect(() => writer.appendRaw(Buffer.from('a'))).toThrow('it is finished');
  });

  it('takes nothing more once it is finished, until it is rolled back', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    expect(() => writer.writeTrailer()).toThrow('finish() was not called');
    writer.appendRaw(Buffer.from(line('a')));
    const mark = writer.mark();
    expect(writer.finish()).toEqual(writer.finish());
    expect(() => writer.appendRaw(Buffer.from('a'))).toThrow('it is finished');
    writer.rollback(mark);
    writer.appendRaw(Buffer.from(line('b')));
    writer.finish();
    writer.writeTrailer();
    expect(zlib.gunzipSync(file.bytes()).toString()).toBe(CHUNK_START_TEXT + line('a') + line('b'));
  });

  it.skipIf(diskFolder === undefined)('leaves little of a long chunk in the page cache when asked to', () => {
    const kept = [false, true].map((forgetsPages) => {
      using file = new TemporaryFile(undefined, diskFolder);
      const fileSha1 = ResumableSha1.create();
      const writer = new ChunkWriter({
        fd: file.fd,
        fileEnd: 0,
        fileSha1,
        engine: zlibEngine,
        bootTag: BOOT_TAG,
        forgetsPages,
      });
      const noise = randomBytes(1 << 20);
      const content: Buffer[] = [Buffer.from(CHUNK_START_TEXT)];
      for (let piece = 0; piece < 40; piece++) {
        const raw = Buffer.concat([Buffer.from(`# ${piece} `), noise]);
        content.push(raw);
        const deflated = deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
        writer.appendSegment(deflated, raw, crc32(raw));
        if (piece % 4 === 3) fs.fdatasyncSync(file.fd);
      }
      const { length } = writer.finish();
      writer.writeTrailer();
      const resident = residentBytes(file.fd);
      expect(length).toBe(content.reduce((sum, { length }) => sum + length, 0));
      expect(zlib.gunzipSync(file.bytes()).equals(Buffer.concat(content))).toBe(true);
      return resident;
    });
    expect(kept[0]).toBeGreaterThan(36 << 20);
    expect(kept[1]).toBeLessThan(20 << 20);
  });
});
