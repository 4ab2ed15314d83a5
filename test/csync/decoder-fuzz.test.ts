import { describe, expect, it } from 'vitest';
import { Decoder, type DecoderEvents, type DecoderLimits } from '../../src/csync/decoder.ts';
import { DEFAULT_DECODER_LIMITS } from '../../src/csync/limits.ts';
import { type LineEvents, LineParser } from '../../src/csync/line-parser.ts';
import { GUID, mutated } from './mutated.ts';
import { Random } from './random.ts';
import { inPieces, Recorder } from './recorder.ts';

/** How long to go on; set CSYNC_FUZZ_SECONDS for more, CSYNC_FUZZ_SEED to run one failure again. */
const SECONDS = Number(process.env.CSYNC_FUZZ_SECONDS ?? 1);
/** Each of the three tests that go on for a while may take as long as all together. */
const TIMEOUT_MS = 30_000 + SECONDS * 1000;
const FIRST_SEED = Number(process.env.CSYNC_FUZZ_SEED ?? Date.now() % 2 ** 31);

const SMALL_LIMITS: DecoderLimits = {
  maxWordBytes: 100,
  maxQuotedBytes: 100,
  maxLiteralBytes: 200,
  maxMessageBytes: 3000,
  maxDepth: 4,
  maxLineBytes: 300,
  maxItems: 20,
  maxCommandBytes: 100,
};

function forSeconds(run: (random: Random, seed: number) => void): number {
  const until = Date.now() + (SECONDS * 1000) / 3;
  let runs = 0;
  for (let seed = FIRST_SEED; Date.now() < until || runs < 50; seed++, runs++) {
    try {
      run(new Random(seed), seed);
    } catch (error) {
      throw new Error(`with CSYNC_FUZZ_SEED=${seed}`, { cause: error });
    }
  }
  return runs;
}

/** A decoder that is fed as a socket would, and that must get through in a number of pushes that its input explains. */
class Feeder extends Recorder {
  feedAll(bytes: Buffer, random: Random): this {
    const size = 1 + random.below(random.pick([3, 50, 10_000]));
    let at = 0;
    let pushes = 0;
    while (at < bytes.length) {
      const end = Math.min(bytes.length, at + size);
      const next = this.push(bytes, at, end);
      if (next < at || next > end) throw new Error(`consumed ${at} to ${end} as far as ${next}`);
      at = next;
      if (++pushes > 1000 + bytes.length * 20) throw new Error(`stuck at ${at} of ${bytes.length}`);
    }
    return this;
  }
}

describe('Decoder, fed with what went wrong on the way', () => {
  it(
    'sees the same however the bytes come, and never throws',
    () => {
      const runs = forSeconds((random) => {
        const bytes = mutated(random);
        const whole = new Recorder().feed([bytes]).end().log;
        const take =
          random.below(2) === 0 ? undefined : (length: number) => Math.min(length, random.below(100));
        const split = new Feeder({ pause: random.below(2) === 0, ...(take && { take }) })
          .feedAll(bytes, random)
          .end().log;
        expect(split).toEqual(whole);
      });
      expect(runs).toBeGreaterThanOrEqual(50);
    },
    TIMEOUT_MS,
  );

  it(
    'keeps its word with limits that are small',
    () => {
      forSeconds((random) => {
        const bytes = mutated(random);
        const take = (length: number) => Math.min(length, random.below(200));
        new Feeder({ limits: SMALL_LIMITS, take, pause: random.below(2) === 0 }).feedAll(bytes, random).end();
      });
    },
    TIMEOUT_MS,
  );
});

const PIECE = Buffer.alloc(1 << 16, 'x');
const RECORDS = Buffer.from(`%(UID 1 MODSEQ 2 FLAGS (\\Seen x) GUID ${GUID}) `.repeat(600));
const QUIET: DecoderEvents = {
  applyStart: () => {},
  text: (_bytes, start, end) => end - start,
  messageStart: () => {},
  messageEnd: () => {},
  field: () => {},
  item: () => {},
  applyEnd: () => {},
  applyAbort: () => {},
  get: () => {},
  command: () => {},
  line: () => {},
  continuation: () => {},
  bad: () => {},
};

describe('memory', () => {
  it.each([
    ['a message', `APPLY MESSAGE (%{default ${GUID} 2000000000}\r\n`, PIECE],
    ['a mailbox of many records', 'APPLY MAILBOX %(UID 1 RECORD (', RECORDS],
    ['a word', 'APPLY SUB ', PIECE],
    ['a quoted string', 'APPLY SUB "', PIECE],
    ['a literal over the limit', 'APPLY SUB {2000000000+}\r\n', PIECE],
    ['literals without end', 'APPLY MAILBOX (', Buffer.from('{10+}\r\n1234567890 '.repeat(3000))],
    ['a GET over the limit', 'GET MAILBOXES (', Buffer.from(`${'x'.repeat(99)} `.repeat(600))],
    ['parentheses', 'APPLY SUB ', Buffer.alloc(1 << 16, '(')],
    ['a name', 'APPLY ', PIECE],
    ['a command', '', PIECE],
    ['a file header', 'APPLY MESSAGE (%{', PIECE],
  ])('stays where it is for %s of 8 MB', (_, head, piece) => {
    const decoder = new Decoder({ ...DEFAULT_DECODER_LIMITS, maxLineBytes: 1 << 20 }, QUIET);
    const first = Buffer.from(head);
    decoder.push(first, 0, first.length);
    decoder.push(piece, 0, piece.length);
    const before = process.memoryUsage().arrayBuffers;
    for (let sent = 0; sent < 8e6; sent += piece.length) decoder.push(piece, 0, piece.length);
    const grown = process.memoryUsage().arrayBuffers - before;
    // What a GET or a word may hold before it is refused, twice over while it grows.
    expect(grown).toBeLessThan(4 << 20);
  });

  it('stays where it is for a line of a data file of 8 MB', () => {
    const nothing = () => {};
    const events: LineEvents = {
      lineStart: nothing,
      lineEnd: nothing,
      malformed: nothing,
      beginList: nothing,
      beginKvlist: nothing,
      end: nothing,
      key: nothing,
      scalar: nothing,
      file: nothing,
    };
    for (const [head, piece] of [
      ['1 APPLY MAILBOX %(RECORD (', RECORDS],
      [`1 APPLY MESSAGE (%{default ${GUID} 2000000000}\r\n`, PIECE],
      ['1 APPLY SUB {2000000000}\r\n', PIECE],
      ['', PIECE],
    ] as const) {
      const parser = new LineParser(events);
      parser.reset(0);
      parser.push(Buffer.from(head));
      const before = process.memoryUsage().arrayBuffers;
      for (let sent = 0; sent < 8e6; sent += piece.length) parser.push(piece);
      expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20);
    }
  });
});

describe('LineParser, fed with what went wrong on the way', () => {
  it(
    'sees the same however the bytes come, and never throws',
    () => {
      forSeconds((random) => {
        const bytes = Buffer.from(
          mutated(random)
            .toString('latin1')
            .replaceAll(/^APPLY/gm, '17 APPLY'),
          'latin1',
        );
        const parse = (size: number) => {
          const log: unknown[] = [];
          const events: LineEvents = {
            lineStart: (line) => log.push(line),
            lineEnd: (offset) => log.push(offset),
            malformed: (line) => log.push(line),
            beginList: (offset) => log.push('(', offset),
            beginKvlist: (offset) => log.push('%(', offset),
            end: (offset) => log.push(')', offset),
            key: (key, offset) => log.push(key, offset),
            scalar: (value, offset) => log.push(value.held ? value.latin1() : value.size, offset),
            file: (file, offset) => log.push(file, offset),
          };
          const parser = new LineParser(events, { maxValueBytes: 1000 });
          parser.reset(0);
          for (const piece of inPieces(bytes, size)) parser.push(piece);
          parser.end();
          return log;
        };
        expect(parse(1 + random.below(100))).toEqual(parse(bytes.length || 1));
      });
    },
    TIMEOUT_MS,
  );
});
