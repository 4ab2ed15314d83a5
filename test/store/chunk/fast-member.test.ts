import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FastTools, readFastMember } from '../../../src/store/chunk/fast-member.ts';
import { type ScannedMember, scanMembers } from '../../../src/store/chunk/scan.ts';
import {
  appendDeflated,
  cyrusMember,
  engine,
  line,
  messageLine,
  TemporaryFile,
  writerAt,
  zlibEngine,
} from './chunk-files.ts';

const FLUSH_END = Buffer.from([0x00, 0x00, 0xff, 0xff]);

/** Bytes in which the end of a flush stands again and again, and which do not compress. */
function likeFlushes(length: number, spacing: number): Buffer {
  const bytes = randomBytes(length);
  for (let at = spacing; at + 4 <= length; at += spacing) FLUSH_END.copy(bytes, at);
  return bytes;
}

function finish(writer: ReturnType<typeof writerAt>): void {
  writer.finish();
  writer.writeTrailer();
}

function scanned(fd: number, exact: boolean): ScannedMember[] {
  return [...scanMembers(fd, 0, undefined, { exact })];
}

function read(file: TemporaryFile): { content: Buffer; starts: number; end: number } | undefined {
  const parts: Buffer[] = [];
  let starts = 0;
  const events = {
    content: (bytes: Uint8Array) => parts.push(Buffer.from(bytes)),
    segmentStart: () => starts++,
  };
  const found = readFastMember(file.fd, 0, fs.fstatSync(file.fd).size, events, new FastTools());
  return found && { content: Buffer.concat(parts), starts, end: found.end };
}

describe('readFastMember', () => {
  it('reads a member segment by segment, and finds the start of each', () => {
    for (const deflate of [engine, zlibEngine]) {
      using file = new TemporaryFile();
      const writer = writerAt(file.fd, deflate);
      const parts = [
        Buffer.alloc(1 << 20, 'a'),
        randomBytes(1 << 20),
        Buffer.from('x'),
        randomBytes(300_000),
      ];
      for (const part of parts) appendDeflated(writer, part, deflate);
      finish(writer);
      const member = read(file)!;
      expect(member.end).toBe(fs.fstatSync(file.fd).size);
      expect(member.content.subarray(29).equals(Buffer.concat(parts))).toBe(true);
      // The chunk's first line is a segment of its own here; a part may become several.
      expect(member.starts).toBeGreaterThanOrEqual(parts.length + 1);
    }
  });

  it('is not led astray by bytes inside a segment that look like the end of one', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    const noise = [likeFlushes(400_000, 150_000), likeFlushes(400_000, 1000)];
    for (const bytes of noise) appendDeflated(writer, bytes);
    finish(writer);
    expect(file.bytes().indexOf(noise[0]!.subarray(1000, 1100))).toBeGreaterThan(0);
    expect(read(file)!.content.subarray(29).equals(Buffer.concat(noise))).toBe(true);
    expect(scanned(file.fd, false)[0]).toMatchObject({ state: 'complete' });
  });

  it('streams members that have no flush points, or longer segments than ours', async () => {
    const text = Array.from({ length: 40_000 }, (_, i) => line(`folder${i % 977}`, 1_700_000_000 + i));
    for (const flush of [false, true]) {
      const member = await cyrusMember([text.join(''), messageLine(randomBytes(100_000))], flush);
      using file = new TemporaryFile(member.bytes);
      const { content, end } = read(file)!;
      expect(content.equals(member.content)).toBe(true);
      expect(end).toBe(member.bytes.length);
    }
  });

  it('does not read what is torn, damaged or has a wrong trailer', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    writer.appendRaw(Buffer.from(line('a')));
    writer.flush();
    writer.appendRaw(messageLine(randomBytes(200)));
    finish(writer);
    const whole = file.bytes();
    for (let length = 0; length < whole.length; length++) {
      file.replace(whole.subarray(0, length));
      expect(read(file)).toBeUndefined();
    }
    for (let at = 0; at < 8; at++) {
      const bytes = Buffer.from(whole);
      bytes[bytes.length - 1 - at]! ^= 1;
      file.replace(bytes);
      expect(read(file)).toBeUndefined();
    }
  });
});

describe('scanMembers, fast', () => {
  it('says the same as the exact way of whole, torn and damaged files', async () => {
    const cyrus = await cyrusMember(
      [line('a'), messageLine(randomBytes(3000)), line('b', 1_700_000_001)],
      false,
    );
    const member = fc.oneof(
      fc.constant(cyrus.bytes),
      fc
        .array(fc.tuple(fc.nat(40_000), fc.boolean(), fc.boolean()), { minLength: 1, maxLength: 6 })
        .map((parts) => {
          using file = new TemporaryFile();
          const writer = writerAt(file.fd);
          for (const [length, isNoise, isSlab] of parts) {
            const text = messageLine(isNoise ? likeFlushes(length, 700) : Buffer.alloc(length, 'text '));
            if (isSlab) appendDeflated(writer, text);
            else writer.appendRaw(text);
            if (length % 2 === 0) writer.flush();
          }
          finish(writer);
          return file.bytes();
        }),
    );
    const damage = fc.option(fc.tuple(fc.nat(), fc.nat(7)), { nil: undefined });
    fc.assert(
      fc.property(
        fc.array(member, { minLength: 1, maxLength: 3 }),
        damage,
        fc.nat(60),
        (members, flip, torn) => {
          const bytes = Buffer.from(Buffer.concat(members).subarray(0, torn < 30 ? undefined : -torn));
          if (flip !== undefined) bytes[flip[0] % bytes.length]! ^= 1 << flip[1];
          using file = new TemporaryFile(bytes);
          const [fast, exact] = [scanned(file.fd, false), scanned(file.fd, true)];
          expect(fast).toEqual(exact);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('says the same of what a killed program left, wherever it was cut off and whatever was put behind', () => {
    const part = fc.tuple(fc.nat(30_000), fc.boolean(), fc.boolean());
    const behind = fc.oneof(
      { weight: 3, arbitrary: fc.constant(Buffer.alloc(0)) },
      fc.constant(Buffer.alloc(500)),
      fc.constant(likeFlushes(300, 20)),
      fc.constant('member' as const),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 8 }), fc.nat(), behind, (parts, place, more) => {
        using file = new TemporaryFile();
        const writer = writerAt(file.fd);
        const ends: number[] = [];
        for (const [length, isNoise, isSlab] of parts) {
          const text = messageLine(isNoise ? likeFlushes(length, 700) : Buffer.alloc(length, 'text '));
          if (isSlab) appendDeflated(writer, text);
          else writer.appendRaw(text);
          if (length % 2 === 0) writer.flush();
          ends.push(writer.fileEnd);
        }
        writer.flush();
        const whole = file.bytes();
        // Every other time between two segments, as a kill between two writes leaves it.
        const cut = place % 2 === 0 ? place % whole.length : (ends[place % ends.length] ?? whole.length);
        const next = more === 'member' ? whole.subarray(0, whole.length / 2) : more;
        file.replace(Buffer.concat([whole.subarray(0, cut), next]));
        expect(scanned(file.fd, false)).toEqual(scanned(file.fd, true));
        const known = new Set([0, cut]);
        const [fast, exact] = [false, true].map((way) => [
          ...scanMembers(file.fd, 0, undefined, { exact: way, known }),
        ]);
        expect(fast).toEqual(exact);
      }),
      { numRuns: 80 },
    );
  });

  it('reads what was never finished once', () => {
    using file = new TemporaryFile();
    const writer = writerAt(file.fd);
    for (let i = 0; i < 20; i++) appendDeflated(writer, messageLine(randomBytes(5000)));
    const whole = file.bytes();
    for (const torn of [0, 1, 3000]) {
      file.replace(whole.subarray(0, whole.length - torn));
      let restarts = 0;
      let contentBytes = 0;
      const sink = {
        restart: () => restarts++,
        content: (bytes: Uint8Array) => {
          contentBytes += bytes.length;
        },
      };
      const [member] = [...scanMembers(file.fd, 0, undefined, sink)];
      expect(member!.state).toBe('unfinished');
      expect([restarts, contentBytes]).toEqual([0, member!.contentLength]);
    }
  });

  it('hands over the content of each member, from its start again if something is wrong with it', () => {
    using file = new TemporaryFile();
    for (const name of ['a', 'b']) {
      const writer = writerAt(file.fd);
      writer.appendRaw(Buffer.from(line(name)));
      finish(writer);
    }
    const second = scanned(file.fd, false)[1]!.offset;
    file.replace(file.bytes().subarray(0, -4));
    let heard = '';
    let restarts = 0;
    const sink = {
      restart: () => {
        heard = '';
        restarts++;
      },
      content: (bytes: Uint8Array) => {
        heard += Buffer.from(bytes).toString('latin1');
      },
    };
    const reported: number[] = [];
    for (const { offset, state } of scanMembers(file.fd, 0, undefined, sink)) {
      reported.push(offset);
      expect(heard).toBe(`# cyrus backup: chunk start\r\n${line(offset === 0 ? 'a' : 'b')}`);
      expect([state, restarts]).toEqual(offset === 0 ? ['complete', 0] : ['unfinished', 1]);
      heard = '';
    }
    expect(reported).toEqual([0, second]);
  });
});
