import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDlist } from '../../src/csync/dlist.ts';
import { encodeDlist, printString } from '../../src/csync/encoder.ts';
import { dlist, fileValue, printLoosely } from './arbitraries.ts';
import { CLIENT_STREAMS, fixture } from './fixtures.ts';
import { decode, inPieces, type Recorded, Recorder, toBytes } from './recorder.ts';

const GUID = 'a9993e364706816aba3e25717850c26c9cd0d89d';

/** Good and bad lines of every kind, each of which must leave the decoder in step for the next. */
const MIXED = [
  'C01 CAPABILITY\r\n',
  'AUTHENTICATE PLAIN AGJhY2t1cABzZWNyZXQ=\r\n',
  '\r\n',
  `APPLY MESSAGE (%{default ${GUID} 3}\r\nabc %{"p q" ${GUID.toUpperCase()} 12}\r\nGET USER x\r\n %{default ${GUID} 0}\r\n NIL)\r\n`,
  'apply Local_Mailbox %(uniqueid u1 MBOXNAME {6+}\r\nuser.x ACL "x\tlrs\t" LAST_UID 1 RECORD (%(UID 1 FLAGS (\\Seen a))))\r\n',
  'APPLY RESERVE %(PARTITION default MBOXNAME (user.x "user.x.a b") GUID (a b))\r\n',
  'APPLY UNUSER anne\n',
  'APPLY UNMAILBOX {11}\nuser.x.a\r\nb\r\n',
  'GET MAILBOXES (user.x {8+}\r\nuser.x.% "a \\" b")\r\n',
  'GET USER {4}\nanne\n',
  'GET ANNOTATION ""\r\n',
  'APPLY SUB %(USERID x MBOXNAME {3+}\r\na\r\n) y {10+}\r\nEXIT\r\nNO\r\n\r\n',
  'APPLY SUB %(USERID x {3x} EXTRA %{default zz 10}\r\nRESTART\r\n\n)\r\n',
  'APPLY SUB (a"b" {6}\r\n',
  'APPLY\r\n',
  'APPLY SUB\r\n',
  'APPLY SUB \r\n',
  'APPLY M%( (x)\r\n',
  'GET\r\n',
  ' NOOP\r\n',
  '\r\n',
  '\n',
  'RESTORE MAILBOX %(UNIQUEID NIL A {6+}\r\nEXIT\r\n B {2+}\r\nx\n)\r\n',
  `RESTORE MESSAGE (%{default ${GUID} 8}\r\nRESTART\r %{default x 2}\r\nab)\r\n`,
  'ENABLE "a b" {3}\r\nx y c\r\n',
  'NOOP\n',
].join('');

const SEEN_IN_MIXED: Recorded[] = [
  { kind: 'command', word: 'C01', args: ['CAPABILITY'], sent: 'C01' },
  { kind: 'command', word: 'AUTHENTICATE', args: ['PLAIN', 'AGJhY2t1cABzZWNyZXQ='], sent: 'AUTHENTICATE' },
  { kind: 'line', text: '' },
  {
    kind: 'apply',
    verb: 'MESSAGE',
    text: `MESSAGE (%{default ${GUID} 3}\r\nabc %{"p q" ${GUID.toUpperCase()} 12}\r\nGET USER x\r\n %{default ${GUID} 0}\r\n NIL)\r\n`,
    fields: [],
    items: [['', null]],
    messages: [
      { partition: 'default', guid: GUID, size: 3, offset: 64, end: 67 },
      { partition: 'p q', guid: GUID, size: 12, offset: 122, end: 134 },
      { partition: 'default', guid: GUID, size: 0, offset: 190, end: 190 },
    ],
  },
  {
    kind: 'apply',
    verb: 'LOCAL_MAILBOX',
    text: 'MAILBOX %(uniqueid u1 MBOXNAME {6}\r\nuser.x ACL "x\tlrs\t" LAST_UID 1 RECORD (%(UID 1 FLAGS (\\Seen a))))\r\n',
    fields: [
      ['UNIQUEID', 'u1'],
      ['MBOXNAME', 'user.x'],
      ['ACL', 'x\tlrs\t'],
      ['LAST_UID', '1'],
    ],
    items: [],
    messages: [],
  },
  {
    kind: 'apply',
    verb: 'RESERVE',
    text: 'RESERVE %(PARTITION default MBOXNAME (user.x "user.x.a b") GUID (a b))\r\n',
    fields: [['PARTITION', 'default']],
    items: [
      ['MBOXNAME', 'user.x'],
      ['MBOXNAME', 'user.x.a b'],
      ['GUID', 'a'],
      ['GUID', 'b'],
    ],
    messages: [],
  },
  { kind: 'apply', verb: 'UNUSER', text: 'UNUSER anne\r\n', fields: [['', 'anne']], items: [], messages: [] },
  { kind: 'continuation' },
  {
    kind: 'apply',
    verb: 'UNMAILBOX',
    text: 'UNMAILBOX {11}\r\nuser.x.a\r\nb\r\n',
    fields: [['', 'user.x.a\r\nb']],
    items: [],
    messages: [],
  },
  { kind: 'get', name: 'MAILBOXES', value: '(user.x {8}\r\nuser.x.% {5}\r\na " b)' },
  { kind: 'continuation' },
  { kind: 'get', name: 'USER', value: 'anne' },
  { kind: 'get', name: 'ANNOTATION', value: '""' },
  { kind: 'abort', verb: 'SUB', reason: { kind: 'malformed', text: 'something follows the value' } },
  { kind: 'abort', verb: 'SUB', reason: { kind: 'malformed', text: 'the size of a literal is malformed' } },
  {
    kind: 'abort',
    verb: 'SUB',
    reason: { kind: 'malformed', text: 'white space or a parenthesis is missing after a value' },
  },
  { kind: 'bad', reason: { kind: 'malformed', text: 'Missing required argument to Apply' } },
  { kind: 'bad', reason: { kind: 'malformed', text: 'Missing required argument to Apply' } },
  { kind: 'abort', verb: 'SUB', reason: { kind: 'malformed', text: 'a value is missing' } },
  { kind: 'bad', reason: { kind: 'malformed', text: 'the name of what to get or apply is malformed' } },
  { kind: 'bad', reason: { kind: 'malformed', text: 'Missing required argument to Get' } },
  { kind: 'bad', reason: { kind: 'empty', text: 'Null command' } },
  { kind: 'bad', reason: { kind: 'empty', text: 'Null command' } },
  { kind: 'bad', reason: { kind: 'empty', text: 'Null command' } },
  {
    kind: 'command',
    word: 'RESTORE',
    args: ['MAILBOX', '%(UNIQUEID', 'NIL', 'A', 'EXIT\r\n', 'B', 'x\n', ')'],
    sent: 'RESTORE',
  },
  { kind: 'bad', reason: { kind: 'malformed', text: 'a file stands where none belongs' } },
  { kind: 'continuation' },
  { kind: 'command', word: 'ENABLE', args: ['a b', 'x y', 'c'], sent: 'ENABLE' },
  { kind: 'command', word: 'NOOP', args: [], sent: 'NOOP' },
];

describe('Decoder', () => {
  it('reads good and bad lines and stays in step', () => {
    expect(decode(MIXED)).toEqual(SEEN_IN_MIXED);
  });

  it('sees the same at every split position', () => {
    const bytes = toBytes(MIXED);
    for (let at = 0; at <= bytes.length; at++) {
      const log = new Recorder().feed([bytes.subarray(0, at), bytes.subarray(at)]).end().log;
      expect(log, `split at ${at}`).toEqual(SEEN_IN_MIXED);
    }
  });

  it.each([1, 2, 3, 7])('sees the same in pieces of %i bytes', (size) => {
    expect(new Recorder().feed(inPieces(toBytes(MIXED), size)).end().log).toEqual(SEEN_IN_MIXED);
  });

  it.each([1, 5, 100, 100_000])(
    'sees the same with a taker of few bytes that pauses, in pieces of %i',
    (size) => {
      let turn = 0;
      const take = (length: number) => Math.min(length, turn++ % 4);
      for (const pause of [false, true]) {
        expect(new Recorder({ take, pause }).feed(inPieces(toBytes(MIXED), size)).end().log).toEqual(
          SEEN_IN_MIXED,
        );
      }
    },
  );

  it('needs no more bytes than those that it was offered again', () => {
    // A caller that hands the rest over in smaller pieces than before.
    const bytes = toBytes(MIXED);
    let room = 0;
    const recorder = new Recorder({ take: (length) => Math.min(length, room) });
    let at = 0;
    for (let turn = 0; at < bytes.length; turn++) {
      room = turn % 3;
      const end = Math.min(bytes.length, at + 1 + (turn % 40));
      at = recorder.push(bytes, at, end);
    }
    expect(recorder.end().log).toEqual(SEEN_IN_MIXED);
  });

  it.each(CLIENT_STREAMS)('reads %s, in pieces of any size', (name) => {
    const bytes = fixture(name);
    const whole = decode(bytes);
    expect(whole.filter((entry) => entry.kind === 'abort' || entry.kind === 'bad')).toEqual([]);
    expect(whole.at(-1)).toEqual({ kind: 'command', word: 'EXIT', args: [], sent: 'EXIT' });
    expect(whole.some((entry) => entry.kind === 'apply')).toBe(true);
    for (const size of [1, 13, 100])
      expect(new Recorder().feed(inPieces(bytes, size)).end().log).toEqual(whole);
  });

  it('hands a whole message over in one run per piece', () => {
    const size = 300_000;
    const runs: number[] = [];
    const recorder = new Recorder({ take: (length) => runs.push(length) && length });
    const head = Buffer.from(`APPLY MESSAGE (%{default ${GUID} ${size}}\r\n`);
    recorder.feed([head, ...inPieces(Buffer.alloc(size, 'x'), 100_000), Buffer.from(')\r\n')]).end();
    expect(runs.filter((length) => length > 100)).toEqual([100_000, 100_000, 100_000]);
  });

  it('gives text that holds the same values as were sent', () => {
    const value = dlist(false);
    fc.assert(
      fc.property(fc.array(value, { maxLength: 4 }), fc.infiniteStream(fc.nat(1000)), (values, stream) => {
        const choose = (ways: number) => (stream.next().value as number) % ways;
        const sent = values.map((item) => `APPLY SEEN ${printLoosely(item, choose)}\r\n`).join('');
        const got = new Recorder().feed(inPieces(toBytes(sent), 1 + choose(50))).end().log;
        const applied = got.filter((entry) => entry.kind !== 'continuation');
        expect(applied.length).toBe(values.length);
        applied.forEach((entry, index) => {
          const { text } = entry as { text: string };
          expect(text.startsWith('SEEN ') && text.endsWith('\r\n')).toBe(true);
          expect(parseDlist(toBytes(text.slice(5, -2)))).toEqual(values[index]);
        });
      }),
      { numRuns: 300 },
    );
  });

  it('says exactly where each message lies', () => {
    fc.assert(
      fc.property(fc.array(fileValue, { maxLength: 5 }), fc.integer({ min: 1, max: 80 }), (files, size) => {
        const sent = Buffer.concat([
          Buffer.from('APPLY MESSAGE '),
          encodeDlist({ kind: 'list', items: files }),
          Buffer.from('\r\n'),
        ]);
        const [entry] = new Recorder().feed(inPieces(sent, size)).end().log;
        expect(entry?.kind).toBe('apply');
        if (entry?.kind !== 'apply') return;
        expect(entry.messages.length).toBe(files.length);
        for (const [index, message] of entry.messages.entries()) {
          const file = files[index];
          if (file?.kind !== 'file') throw new Error('not a file');
          expect(message).toMatchObject({ partition: file.partition, guid: file.guid });
          expect(entry.text.slice(message.offset, message.end)).toBe(file.content.toString('latin1'));
        }
      }),
      { numRuns: 200 },
    );
  });

  it('passes over files where only values belong, and what they hold', () => {
    const log = decode(
      `APPLY SUB %(A %{default ${GUID} 7}\r\nEXIT\r\n)\r\nGET USER %{default ${GUID} 4}\r\nABC\n\r\nNOOP\r\n`,
    );
    const text = 'a file stands where none belongs';
    expect(log).toEqual([
      { kind: 'abort', verb: 'SUB', reason: { kind: 'malformed', text } },
      // The file of SUB was 7 bytes, so its closing parenthesis is on a line of its own.
      ...log.slice(1),
    ]);
    expect(log.at(-1)).toMatchObject({ kind: 'command', word: 'NOOP' });
  });

  it('reports long values by silence, short ones as they are', () => {
    const at = (length: number) =>
      decode(`APPLY SEEN %(A ${printString('x'.repeat(length), { nonSynchronising: true })})\r\n`);
    expect(at(4096)[0]).toMatchObject({ kind: 'apply', fields: [['A', 'x'.repeat(4096)]] });
    expect(at(4097)[0]).toMatchObject({ kind: 'apply', fields: [] });
  });

  it('aborts the command that the connection ends in, and only that', () => {
    const open = new Recorder().feed([toBytes('APPLY SUB %(A b')]);
    expect(open.log).toEqual([]);
    expect(open.end().log).toEqual([
      {
        kind: 'abort',
        verb: 'SUB',
        reason: { kind: 'eof', text: 'the connection ended inside the command' },
      },
    ]);
    for (const half of ['', 'NOO', 'GET USER al', 'APPLY SU', 'APPLY SUB %(A b)\r\n']) {
      const log = decode(half);
      expect(log.filter((entry) => entry.kind !== 'apply')).toEqual([]);
    }
  });

  it('stops at a paused command, for what comes after STARTTLS is not plain text', () => {
    const bytes = toBytes('STARTTLS\r\n\x16\x03\x01');
    const recorder = new Recorder({ pause: true });
    expect(recorder.push(bytes, 0, bytes.length)).toBe(10);
    expect(recorder.log).toEqual([{ kind: 'command', word: 'STARTTLS', args: [], sent: 'STARTTLS' }]);
  });

  it('takes a SASL response as it is, whatever it looks like', () => {
    const log = decode('AUTHENTICATE X\r\nAPPLY SUB {5+}\r\nAUTHENTICATE X\n*\nNOOP\r\n');
    expect(log.map((entry) => (entry.kind === 'line' ? entry.text : entry.kind))).toEqual([
      'command',
      'APPLY SUB {5+}',
      'command',
      '*',
      'command',
    ]);
  });
});
