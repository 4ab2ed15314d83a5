import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ResumableSha1 } from '../../../src/platform/sha1.ts';
import { CHUNK_START_TEXT } from '../../../src/store/chunk/member.ts';
import { type ScannedMember, scanMembers } from '../../../src/store/chunk/scan.ts';
import { ChunkWriter } from '../../../src/store/chunk/writer.ts';
import {
  appendDeflated,
  BOOT_TAG,
  cyrusMember,
  engine,
  line,
  messageLine,
  TemporaryFile,
  writerAt,
} from './chunk-files.ts';

const SAMPLE = path.join(import.meta.dirname, '../../fixtures/backup-sample');
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');
const STAGES = ['complete', 'unfinished', 'corrupt'];

/** Our own chunk with one segment per line; perhaps not finished. */
function ownMember(file: TemporaryFile, lines: readonly string[], finished = true): void {
  const writer = writerAt(file.fd);
  for (const text of lines) {
    writer.appendRaw(Buffer.from(text, 'latin1'));
    writer.flush();
  }
  if (!finished) return;
  writer.finish();
  writer.writeTrailer();
}

/** Whether zlib finds a whole member there, with this content. */
function inflates(member: Buffer, contentSha1: string): boolean {
  try {
    return sha1(zlib.gunzipSync(member)) === contentSha1;
  } catch {
    return false;
  }
}

/** Whatever is in the file: members follow each other without gaps up to its end, and hashes are right. */
function expectCoherent(bytes: Buffer, members: readonly ScannedMember[]): void {
  let at = 0;
  for (const member of members) {
    expect(member.offset).toBe(at);
    expect(member.end).toBeGreaterThan(at);
    expect(STAGES).toContain(member.state);
    expect(member.reason === '').toBe(member.state === 'complete');
    expect(member.fileSha1).toBe(sha1(bytes.subarray(0, at)));
    expect(member.lineEnd).toBeLessThanOrEqual(member.contentLength);
    for (const cut of member.cuts) expect(cut.fileOffset).toBeLessThanOrEqual(member.end);
    at = member.end;
  }
  expect(at).toBe(bytes.length);
}

describe('scanMembers on whole files', () => {
  it.each(['carol_fQAmPe', 'erik_em7N7U'])('finds the chunks of %s where Cyrus says they are', (name) => {
    const fd = fs.openSync(path.join(SAMPLE, name), 'r');
    const members = [...scanMembers(fd)];
    fs.closeSync(fd);
    expectCoherent(fs.readFileSync(path.join(SAMPLE, name)), members);
    const listed = fs.readFileSync(path.join(SAMPLE, `${name.split('_')[0]}.list-chunks.txt`), 'utf8');
    const expected = [...listed.matchAll(/^ *\d+ (\d+)\t(\d+)/gm)].map(([, offset, length]) => [
      Number(offset),
      Number(length),
    ]);
    expect(members.map((member) => [member.offset, member.contentLength])).toEqual(expected);
    for (const member of members) {
      expect(member).toMatchObject({
        state: 'complete',
        malformedLines: 0,
        bootTag: undefined,
        headerLength: 10,
      });
      expect(member.lineEnd).toBe(member.contentLength);
    }
  });

  it('reports our own chunks with their boot tag, times and hashes', () => {
    using file = new TemporaryFile();
    ownMember(file, [line('a', 1_700_000_000), line('b', 1_700_000_005)]);
    const first = file.bytes().length;
    ownMember(file, [line('c', 1_700_000_009)]);
    const bytes = file.bytes();
    const members = file.scan();
    expectCoherent(bytes, members);
    const content = CHUNK_START_TEXT + line('a', 1_700_000_000) + line('b', 1_700_000_005);
    expect(members).toHaveLength(2);
    expect(members[0]).toMatchObject({
      offset: 0,
      end: first,
      state: 'complete',
      headerLength: 24,
      bootTag: BOOT_TAG,
      contentLength: content.length,
      contentSha1: sha1(Buffer.from(content)),
      lineEnd: content.length,
      lines: 2,
      firstTime: 1_700_000_000,
      lastTime: 1_700_000_005,
      cuts: [],
    });
    expect(members[1]!.fileSha1State).toEqual(ResumableSha1.create().update(bytes.subarray(0, first)).save());
    expect(file.scan(first).map(({ offset, fileSha1 }) => [offset, fileSha1])).toEqual([
      [first, sha1(bytes.subarray(0, first))],
    ]);
  });

  it('names the same segment starts as the writer', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    for (let i = 0; i < 30; i++) appendDeflated(writer, Buffer.from(line('x'.repeat(100_000))));
    const starts = writer.segmentStarts();
    writer.finish();
    writer.writeTrailer();
    expect(starts.length).toBeGreaterThan(8);
    expect(file.scan()[0]!.starts).toEqual(starts);
  });

  it('counts malformed lines and goes on', async () => {
    const member = await cyrusMember([
      line('a'),
      '1700000000 APPLY SUB ((\r\n',
      line('b'),
      '# a comment\r\n',
    ]);
    using file = new TemporaryFile(member.bytes);
    expect(file.scan()[0]).toMatchObject({ state: 'complete', lines: 2, malformedLines: 1 });
  });

  it('takes a mailed backup inside a message for what it is', async () => {
    const mailed = (await cyrusMember([line('spoof')])).bytes;
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    // Level 0: the mailed file stands in the member byte for byte.
    const raw = messageLine(Buffer.concat([mailed, mailed]));
    const stored = zlib.deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    writer.appendSegment(stored, raw, zlib.crc32(raw));
    writer.finish();
    writer.writeTrailer();
    expect(file.bytes().indexOf(mailed)).toBeGreaterThan(0);
    expect(file.scan()).toMatchObject([{ state: 'complete', lines: 1 }]);
  });
});

describe('scanMembers on torn files', () => {
  it('says of every truncation of our file how far it is good, and the rest can be gone on with', () => {
    using file = new TemporaryFile();
    ownMember(file, [line('a'), line('b')]);
    const second = file.bytes().length;
    const lines = [
      '1700000001 APPLY SUB %(USERID anne MBOXNAME {5}\r\n\r\n\r\nx)\r\n',
      line('d', 1_700_000_002),
      line('e', 1_700_000_003),
    ];
    const writer = writerAt(file.fd);
    const cuts: { fileOffset: number; contentOffset: number }[] = [];
    for (const text of lines) {
      writer.appendRaw(Buffer.from(text));
      writer.flush();
      cuts.push({ fileOffset: writer.fileEnd, contentOffset: writer.contentLength });
    }
    writer.finish();
    writer.writeTrailer();
    const whole = file.bytes();
    for (let length = second + 1; length < whole.length; length++) {
      file.replace(whole.subarray(0, length));
      const members = file.scan();
      expectCoherent(whole.subarray(0, length), members);
      expect(members.map((member) => member.state)).toEqual(['complete', 'unfinished']);
      const torn = members[1]!;
      expect(torn.cuts).toEqual(cuts.filter((cut) => cut.fileOffset <= length));
      const last = torn.cuts.at(-1);
      expect(torn.lines).toBeGreaterThanOrEqual(torn.cuts.length);
      if (last === undefined) continue;
      const fileSha1 = ResumableSha1.load(torn.fileSha1State);
      ChunkWriter.resume(
        { fd: file.fd, fileEnd: torn.offset, fileSha1, engine, bootTag: BOOT_TAG },
        last,
      ).finish();
      expect(file.bytes().length).toBe(last.fileOffset);
    }
  });

  it('offers no cut inside a line that is flushed in the middle', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const cuts: number[] = [];
    for (const [text, ends] of [
      [line('a'), true],
      ['1700000000 APPLY MESSAGE (%{default ', false],
      [`${'ab'.repeat(20)} 13}\r\n1700`, false],
      ['000\r\n\r\n\r\n', false],
      [')\r', false],
      ['\n', true],
    ] as const) {
      writer.appendRaw(Buffer.from(text));
      writer.flush();
      if (ends) cuts.push(writer.contentLength);
    }
    const [member] = file.scan();
    expect(member!.cuts.map((cut) => cut.contentOffset)).toEqual(cuts);
  });

  it('reads what a backupd left that was killed three times and went on', () => {
    const bytes = fs.readFileSync(path.join(SAMPLE, 'torn-by-kill'));
    using file = new TemporaryFile(bytes);
    const members = file.scan();
    expectCoherent(bytes, members);
    expect(
      members.map((member) => [member.offset, member.state, member.lines, member.contentLength]),
    ).toEqual([
      [0, 'unfinished', 1, 298],
      [245, 'unfinished', 1, 339],
      [516, 'unfinished', 1, 380],
      [811, 'complete', 1, 110],
      [950, 'complete', 1, 1623],
      [1648, 'complete', 1, 167],
    ]);
    for (const torn of members.slice(0, 3)) {
      expect(torn.cuts).toEqual([{ fileOffset: torn.end, contentOffset: torn.contentLength }]);
    }
  });

  it('finds exactly where a killed backupd stopped when later members stand behind', async () => {
    const noise = Buffer.from(Array.from({ length: 350 }, (_, i) => (i * i * 7 + (i >> 3)) & 0xff));
    const torn = await cyrusMember([line('a'), line('b'), messageLine(noise), line('c')]);
    const later = await cyrusMember([line('d'), messageLine(noise.subarray(100, 300))]);
    const last = await cyrusMember([]);
    const behind = Buffer.concat([later.bytes, last.bytes]);
    using file = new TemporaryFile();
    for (let length = 10; length < torn.bytes.length; length++) {
      const bytes = Buffer.concat([torn.bytes.subarray(0, length), behind]);
      file.replace(bytes);
      const members = file.scan();
      expectCoherent(bytes, members);
      expect(members.map((member) => [member.offset, member.state])).toEqual([
        [0, 'unfinished'],
        [length, 'complete'],
        [length + later.bytes.length, 'complete'],
      ]);
      const [first] = members as [ScannedMember];
      // Good to the byte: what zlib makes of the same bytes when nothing follows.
      const inflated = zlib.inflateRawSync(torn.bytes.subarray(10, Math.min(length, torn.bytes.length - 8)), {
        finishFlush: zlib.constants.Z_SYNC_FLUSH,
      });
      expect(first.contentLength).toBe(inflated.length);
      expect(first.contentSha1).toBe(sha1(inflated));
      expect(first.cuts.at(-1)?.fileOffset).toBe(
        torn.flushes
          .filter((flush) => flush.bytes <= length && flush.content > CHUNK_START_TEXT.length)
          .at(-1)?.bytes,
      );
    }
  });

  it('finds the next member where a stored block swallows its header', async () => {
    const raw = messageLine(Buffer.alloc(60_000, 'm'));
    const segment = zlib.deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    const start = await cyrusMember([line('a')]);
    const head = start.bytes.subarray(0, start.flushes.at(-1)!.bytes);
    const next = (await cyrusMember([line('b')])).bytes;
    for (const length of [6, 1000, 59_000]) {
      const torn = Buffer.concat([head, segment.subarray(0, length)]);
      using file = new TemporaryFile(Buffer.concat([torn, next, next]));
      expect(file.scan().map((member) => [member.offset, member.state])).toEqual([
        [0, 'unfinished'],
        [torn.length, 'complete'],
        [torn.length + next.length, 'complete'],
      ]);
    }
  });

  it('finds it even where decoding goes on behind it up to a trailer', async () => {
    const next = await cyrusMember([line('b'), line('c'), line('d')]);
    const start = await cyrusMember([line('a')]);
    const head = start.bytes.subarray(0, start.flushes.at(-1)!.bytes);
    // A stored block of which 20 bytes were written: it ends at a flush point of the next member.
    const length = 20 + next.flushes[2]!.bytes;
    const block = Buffer.alloc(25, 'm');
    block[0] = 0;
    block.writeUInt16LE(length, 1);
    block.writeUInt16LE(length ^ 0xffff, 3);
    const torn = Buffer.concat([head, block]);
    using file = new TemporaryFile(Buffer.concat([torn, next.bytes]));
    expect(file.scan().map((member) => [member.offset, member.state, member.contentLength])).toEqual([
      [0, 'unfinished', start.content.length + 20],
      [torn.length, 'complete', next.content.length],
    ]);
  });

  it('leaves a torn message of ours with a mailed backup in it unread', async () => {
    const mailed = (await cyrusMember([line('spoof')])).bytes;
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    writer.appendRaw(Buffer.from(line('a')));
    writer.flush();
    const end = writer.fileEnd;
    const raw = messageLine(Buffer.concat([mailed, Buffer.alloc(500, 'x')]));
    const stored = zlib.deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    writer.appendSegment(stored, raw, zlib.crc32(raw));
    fs.ftruncateSync(file.fd, writer.fileEnd - 100);
    const members = file.scan();
    expect(members).toHaveLength(1);
    expect(members[0]).toMatchObject({ state: 'unfinished', cuts: [{ fileOffset: end }] });
  });

  it('believes the chunk table rather than the looks of a message', async () => {
    const mailed = (await cyrusMember([line('spoof')])).bytes;
    const raw = messageLine(Buffer.concat([mailed, mailed, Buffer.alloc(5000, 'x')]));
    const segment = zlib.deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    const start = await cyrusMember([line('a')]);
    const torn = Buffer.concat([
      start.bytes.subarray(0, start.flushes.at(-1)!.bytes),
      segment.subarray(0, 4000),
    ]);
    using file = new TemporaryFile(Buffer.concat([torn, mailed]));
    const offsets = file.scan(0, new Set([0, torn.length])).map((member) => member.offset);
    expect(offsets).toEqual([0, torn.length]);
  });
});

describe('scanMembers on damaged files', () => {
  it('reports flipped bits in every byte of a small file without throwing', () => {
    using file = new TemporaryFile();
    ownMember(file, [line('a'), line('b')]);
    ownMember(file, [messageLine(Buffer.from('Subject: x\r\n\r\nbody\r\n')).toString('latin1')]);
    ownMember(file, [line('c')]);
    const whole = file.bytes();
    const sound = file.scan();
    for (let at = 0; at < whole.length; at++) {
      for (const bit of [at % 8, (at + 5) % 8]) {
        const bytes = Buffer.from(whole);
        bytes[at]! ^= 1 << bit;
        file.replace(bytes);
        const members = file.scan();
        expectCoherent(bytes, members);
        const hit = sound.find((member) => at >= member.offset && at < member.end)!;
        // Some bits say nothing about the content: the time, the boot tag, padding before a flush.
        const irrelevant = inflates(bytes.subarray(hit.offset, hit.end), hit.contentSha1);
        const states = members.map((member) => member.state);
        if (irrelevant) expect(states).toEqual(['complete', 'complete', 'complete']);
        else {
          expect(states.filter((state) => state !== 'complete')).toHaveLength(1);
          // The members that were not hit are found where they are.
          for (const other of sound) {
            if (other !== hit) {
              expect(members).toContainEqual(
                expect.objectContaining({
                  offset: other.offset,
                  end: other.end,
                  contentSha1: other.contentSha1,
                }),
              );
            }
          }
        }
      }
    }
  });

  /** Finished chunks with a message and a line each, in one segment; another `variant` is deflated to other bits. */
  function finishedMembers(file: TemporaryFile, variant: number): void {
    for (let i = 0; i < 3; i++) {
      const hex = sha1(Buffer.from(`${variant} ${i}`));
      const body = Buffer.from(`Subject: ${hex}\r\n\r\n${hex.slice(0, 9).repeat(20)}\r\n`);
      ownMember(file, [messageLine(body).toString('latin1') + line(hex.slice(20))]);
    }
  }

  it('finds the chunks behind one whose stream goes on through them to the end of the file', () => {
    let swallowed = 0;
    for (let variant = 0; variant < 12; variant++) {
      using file = new TemporaryFile();
      finishedMembers(file, variant);
      const whole = file.bytes();
      const sound = file.scan();
      for (const hit of sound.slice(0, 2)) {
        for (let bit = 0; bit < 8; bit++) {
          const bytes = Buffer.from(whole);
          bytes[hit.end - 16]! ^= 1 << bit; // the end of the last segment
          file.replace(bytes);
          const members = file.scan();
          expectCoherent(bytes, members);
          const behind = sound.filter(({ offset }) => offset > hit.offset);
          for (const { offset, contentSha1 } of behind) {
            expect(members).toContainEqual(
              expect.objectContaining({ offset, contentSha1, state: 'complete' }),
            );
          }
          if (members.some(({ reason, end }) => /goes on/.test(reason) && end < whole.length)) swallowed++;
        }
      }
    }
    expect(swallowed).toBeGreaterThan(0);
  });

  it.each([true, false])('finds them also before a chunk that is not finished (exact: %s)', (exact) => {
    let swallowed = 0;
    for (let variant = 0; variant < 10; variant++) {
      using file = new TemporaryFile();
      finishedMembers(file, variant);
      const finished = file.bytes().length;
      ownMember(
        file,
        [
          line(`last ${variant}`),
          messageLine(Buffer.alloc(60, sha1(Buffer.from([variant])))).toString('latin1'),
        ],
        false,
      );
      const all = file.bytes();
      // Also in its first segment, behind its header, and in it.
      for (const length of [all.length, all.length - 7, finished + 30, finished + 24]) {
        const whole = all.subarray(0, length);
        file.replace(whole);
        const [sound, last] = [file.scan().slice(0, 3), file.scan()[3]!];
        for (const hit of sound) {
          for (let bit = 0; bit < 8; bit++) {
            const bytes = Buffer.from(whole);
            bytes[hit.end - 16]! ^= 1 << bit;
            file.replace(bytes);
            const members = [...scanMembers(file.fd, 0, bytes.length, { exact })];
            expectCoherent(bytes, members);
            const behind = sound.filter(({ offset }) => offset > hit.offset);
            for (const { offset, contentSha1 } of behind) {
              expect(members).toContainEqual(
                expect.objectContaining({ offset, contentSha1, state: 'complete' }),
              );
            }
            expect(members.at(-1)).toMatchObject({
              offset: finished,
              state: 'unfinished',
              lines: last.lines,
            });
            if (members.some(({ reason }) => /goes on/.test(reason))) swallowed++;
          }
        }
      }
    }
    expect(swallowed).toBeGreaterThan(0);
  });

  it('takes a finished chunk at the end of the file for damaged, and never for torn', () => {
    using file = new TemporaryFile();
    finishedMembers(file, 0);
    const whole = file.bytes();
    const { offset } = file.scan().at(-1)!;
    // Of its own trailer nothing is needed.
    for (let at = offset; at < whole.length - 14; at++) {
      for (let bit = 0; bit < 8; bit++) {
        const bytes = Buffer.from(whole);
        bytes[at]! ^= 1 << bit;
        file.replace(bytes);
        expect(file.scan().at(-1)?.state, `bit ${bit} of byte ${at}`).not.toBe('unfinished');
      }
    }
  });

  it('takes any bytes without throwing or going on for ever', async () => {
    const sample = (await cyrusMember([line('a'), line('b')])).bytes;
    const part = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc
        .tuple(fc.nat(sample.length), fc.nat(sample.length))
        .map(([a, b]) => sample.subarray(Math.min(a, b), Math.max(a, b))),
      fc.constant(sample),
      fc.constant(Buffer.from([0x1f, 0x8b, 8])),
      fc.constant(Buffer.alloc(40)),
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 8 }), (parts) => {
        const bytes = Buffer.concat(parts);
        using file = new TemporaryFile(bytes);
        expectCoherent(bytes, file.scan());
      }),
      { numRuns: 300 },
    );
  });

  it('reads the segments behind a damaged one, and a chunk whose header is lost', () => {
    using file = new TemporaryFile();
    ownMember(file, [line('before')]);
    const offset = file.bytes().length;
    const writer = writerAt(file.fd);
    const ends: number[] = [];
    const contents: number[] = [];
    for (const word of ['a', 'b', 'c', 'd']) {
      writer.appendRaw(Buffer.from(line(word.repeat(40), 1_700_000_000 + ends.length)));
      writer.flush();
      ends.push(writer.fileEnd);
      contents.push(writer.contentLength);
    }
    writer.finish();
    writer.writeTrailer();
    ownMember(file, [line('behind')]);
    const whole = file.bytes();
    const [, sound, behind] = file.scan();
    let found = 0;
    for (const [from, to, lost] of [
      [offset, offset + 24, 0],
      [offset + 1, offset + 2, 0],
      [offset + 11, offset + 12, 0],
      [offset, offset + 40, 1],
      [offset + 30, offset + 40, 1],
      [ends[0]! + 3, ends[0]! + 9, 1],
      [ends[0]! - 4, ends[0]! + 9, 2],
      [ends[0]! + 3, ends[1]! + 9, 2],
      [ends[1]! + 3, ends[1]! + 20, 1],
    ] as const) {
      const bytes = Buffer.from(whole);
      bytes.fill(0xfe, from, to);
      file.replace(bytes);
      const members = file.scan();
      expectCoherent(bytes, members);
      expect(members).toMatchObject([
        { state: 'complete' },
        { offset, end: sound!.end, state: 'corrupt' },
        { offset: behind!.offset, state: 'complete' },
      ]);
      const { tail, contentLength, lines, lastTime, starts } = members[1]!;
      expect(lines).toBeGreaterThanOrEqual(4 - lost);
      expect(lastTime).toBe(1_700_000_003);
      // What is there instead may be a stream, too.
      if (/checksum/.test(members[1]!.reason)) continue;
      found++;
      const first = ends.indexOf(tail?.start.fileOffset ?? -1);
      expect(tail).toMatchObject({
        contentEnd: sound!.contentLength,
        start: { contentOffset: first < 0 ? 0 : contents[first] },
      });
      expect(starts).toContainEqual(tail!.start);
      expect(contentLength).toBeLessThanOrEqual(tail!.start.contentOffset);
    }
    expect(found).toBeGreaterThan(5);
    // Where its trailer is lost, too, nothing says where the rest belongs.
    const bytes = Buffer.from(whole);
    bytes.fill(0xfe, offset + 30, offset + 40).fill(0xfe, sound!.end - 14, sound!.end - 8);
    file.replace(bytes);
    const lost = file.scan()[1]!;
    expect(lost).toMatchObject({ offset, state: 'corrupt', lines: 0 });
    expect(lost.tail).toBeUndefined();
  });

  it('goes on behind zeros, as a lost write leaves them', () => {
    using file = new TemporaryFile();
    ownMember(file, [line('a')]);
    const first = file.bytes();
    ownMember(file, [line('b')]);
    const second = file.bytes().subarray(first.length);
    const zeros = Buffer.alloc(5000);
    file.replace(Buffer.concat([first, zeros, second]));
    expect(file.scan().map((member) => [member.offset, member.state])).toEqual([
      [0, 'complete'],
      [first.length, 'corrupt'],
      [first.length + zeros.length, 'complete'],
    ]);
    file.replace(Buffer.concat([first, zeros]));
    expect(file.scan().map((member) => member.state)).toEqual(['complete', 'corrupt']);
  });

  it('does not spin on a message full of headers', async () => {
    const mailed = (await cyrusMember([])).bytes;
    const raw = messageLine(Buffer.concat(Array<Buffer>(20_000).fill(mailed)));
    const member = await cyrusMember([line('a')]);
    const segment = zlib.deflateRawSync(raw, { level: 0, finishFlush: zlib.constants.Z_FULL_FLUSH });
    const head = member.bytes.subarray(0, member.flushes.at(-1)!.bytes);
    using file = new TemporaryFile(Buffer.concat([head, segment, Buffer.alloc(100, 0xff)]));
    const members = file.scan();
    expect(members[0]).toMatchObject({ state: 'corrupt', lines: 2 });
    expectCoherent(file.bytes(), members);
  });
});
