/** Decoder and dlist: the bytes of a client's session, and the text of a mailbox with many records. */
import { DEFAULT_DECODER_LIMITS, Decoder, type DecoderEvents } from '../../src/csync/decoder.ts';
import { parseDlist } from '../../src/csync/dlist.ts';
import { DlistSax, type DlistSaxEvents } from '../../src/csync/dlist-sax.ts';
import { Workload } from '../load/workload.ts';
import type { Benchmark, Prepared, Size } from './benchmark.ts';
import { bigMailbox, mailboxCommand, mailboxValue } from './mailbox-text.ts';

const PROCESSES = 3;
/** What a socket hands over at once. */
const READ_BYTES = 64 << 10;
const RECORDS: Record<Size, number> = { small: 1000, full: 50_000 };
const MAIL_BYTES: Record<Size, number> = { small: 8 << 20, full: 256 << 20 };

/** Takes everything and does nothing with it. */
const IGNORED: DecoderEvents = {
  applyStart() {},
  text: (_bytes, start, end) => end - start,
  messageStart() {},
  messageEnd() {},
  field() {},
  item() {},
  applyEnd() {},
  applyAbort: ({ text }) => {
    throw new Error(text);
  },
  get() {},
  command() {},
  line() {},
  continuation() {},
  bad: ({ text }) => {
    throw new Error(text);
  },
};

function decoding(stream: Buffer): Prepared {
  return {
    bytes: stream.length,
    run() {
      const decoder = new Decoder(DEFAULT_DECODER_LIMITS, IGNORED);
      for (let at = 0; at < stream.length; at += READ_BYTES) {
        const end = Math.min(stream.length, at + READ_BYTES);
        if (decoder.push(stream, at, end) !== end) throw new Error('the decoder paused');
      }
      decoder.end();
    },
  };
}

const SAX_IGNORED: DlistSaxEvents = {
  beginList() {},
  beginKvlist() {},
  end() {},
  key() {},
  scalar() {},
  file() {},
};

export const PARSING: readonly Benchmark[] = [
  {
    name: 'decoder-records',
    clock: 'thread',
    calibrations: { javascript: 1 },
    processes: PROCESSES,
    prepare: (size) => decoding(mailboxCommand(bigMailbox(RECORDS[size]))),
  },
  {
    name: 'decoder-messages',
    clock: 'thread',
    calibrations: { javascript: 1 },
    processes: PROCESSES,
    prepare: (size) => {
      const { steps } = new Workload(1).userOfSize('anne', MAIL_BYTES[size], 4096);
      return decoding(Buffer.concat(steps.map(({ bytes }) => bytes)));
    },
  },
  {
    name: 'dlist-events',
    clock: 'thread',
    calibrations: { javascript: 1 },
    processes: PROCESSES,
    prepare: (size) => {
      const value = mailboxValue(mailboxCommand(bigMailbox(RECORDS[size])));
      return {
        bytes: value.length,
        run() {
          const sax = new DlistSax(SAX_IGNORED);
          sax.begin(0);
          for (let at = 0; at < value.length; at += READ_BYTES) {
            sax.push(value, at, Math.min(value.length, at + READ_BYTES));
          }
          if (!sax.done) throw new Error(sax.problem ?? 'the value is not complete');
        },
      };
    },
  },
  {
    name: 'dlist-tree',
    clock: 'thread',
    calibrations: { javascript: 1, objects: 3 },
    processes: PROCESSES,
    prepare: (size) => {
      const value = mailboxValue(mailboxCommand(bigMailbox(RECORDS[size])));
      return { bytes: value.length, run: () => parseDlist(value) };
    },
  },
];
