import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDlist } from '../../src/csync/dlist.ts';
import { DlistSax, type DlistSaxOptions, ScalarView } from '../../src/csync/dlist-sax.ts';
import { encodeDlist } from '../../src/csync/encoder.ts';
import { dlist, printLoosely } from './arbitraries.ts';
import { ANSWER_STREAMS, answerValues, fixture } from './fixtures.ts';
import { inPieces, toBytes } from './recorder.ts';
import { type SaxEvent, SaxRecorder } from './sax-recorder.ts';

/** Parses one value from pieces; a line end is put behind it, as an atom ends only with what follows. */
function parse(
  bytes: Uint8Array,
  size: number,
  offset = 0,
  options?: DlistSaxOptions,
): SaxRecorder & { left: number } {
  const recorder = Object.assign(new SaxRecorder(), { left: 0 });
  const sax = new DlistSax(recorder, options);
  sax.begin(offset);
  const stream = Buffer.concat([bytes, Buffer.from('\r\n')]);
  for (const piece of inPieces(stream, size)) {
    const at = sax.done ? 0 : sax.push(piece, 0, piece.length);
    recorder.left += piece.length - at;
  }
  expect(sax.problem).toBeUndefined();
  expect(sax.done).toBe(true);
  return recorder;
}

describe('DlistSax', () => {
  it('reports each event with its offset', () => {
    const text =
      '%(name "a\\"b" LIST (NIL \\Seen {3}\r\nx y %{p a9993e364706816aba3e25717850c26c9cd0d89d 3}\r\nabc))';
    const at = (part: string) => 100 + text.indexOf(part);
    const expected: SaxEvent[] = [
      ['%(', at('%(')],
      ['key NAME', at('name')],
      ['quoted a"b', at('"a')],
      ['key LIST', at('LIST')],
      ['(', at('(NIL')],
      ['nil NIL', at('NIL')],
      ['flag \\Seen', at('\\Seen')],
      ['literal x y', at('{3}')],
      ['file p a9993e364706816aba3e25717850c26c9cd0d89d 3', at('abc)')],
      [')', at('))')],
      [')', at('))') + 1],
    ];
    for (let size = 1; size < text.length; size++) {
      const recorder = parse(toBytes(text), size, 100);
      expect(recorder.events).toEqual(expected);
      expect(recorder.left).toBe(2);
    }
  });

  it('sees what the tree parser sees, however the value is written and split', () => {
    fc.assert(
      fc.property(dlist(true), fc.infiniteStream(fc.nat(1000)), (value, stream) => {
        const choose = (ways: number) => (stream.next().value as number) % ways;
        const bytes = toBytes(printLoosely(value, choose));
        const recorder = parse(bytes, 1 + choose(40), choose(1000));
        expect(recorder.values).toEqual([parseDlist(bytes)]);
        expect(recorder.values).toEqual([value]);
      }),
      { numRuns: 500 },
    );
  });

  it('reads what Cyrus wrote', () => {
    for (const name of ANSWER_STREAMS) {
      for (const bytes of answerValues(fixture(name))) {
        const [value] = parse(bytes, 17).values;
        if (value === undefined) throw new Error('no value');
        expect(encodeDlist(value)).toEqual(bytes);
      }
    }
  });

  it('passes over values that are longer than it is to hold, and says how long', () => {
    const options = { maxValueBytes: 10 };
    const long = 'x'.repeat(5000);
    const text = `(${long} "${long}" {5000}\r\n${long} xxxxxxxxxx xxxxxxxxxxx a)`;
    for (const size of [1, 100, 100_000]) {
      const recorder = parse(toBytes(text), size, 0, options);
      expect(recorder.events.map(([event]) => event)).toEqual([
        '(',
        'atom 5000',
        'quoted 5000',
        'literal 5000',
        'atom xxxxxxxxxx',
        'atom 11',
        'atom a',
        ')',
      ]);
    }
    const view = new ScalarView();
    view.size = 11;
    expect(() => view.latin1()).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    expect(() => view.copy()).toThrow(expect.objectContaining({ code: 'LIMIT_EXCEEDED' }));
    expect(view.number()).toBeUndefined();
    expect(view.bigint()).toBeUndefined();
  });

  it('reports a problem once and consumes nothing behind it', () => {
    const recorder = new SaxRecorder();
    const sax = new DlistSax(recorder);
    sax.begin(0);
    const bytes = toBytes('(a"b" c)\r\n');
    expect(sax.push(bytes, 0, bytes.length)).toBe(2);
    expect(sax.problem).toBe('white space or a parenthesis is missing after a value');
    expect(sax.push(bytes, 2, bytes.length)).toBe(2);
    sax.begin(0);
    expect(sax.problem).toBeUndefined();
    expect(sax.push(toBytes('(a)'), 0, 3)).toBe(3);
    expect(sax.done).toBe(true);
  });
});

describe('ScalarView', () => {
  const view = (text: string) => {
    let numbers: [number | undefined, bigint | undefined, string] | undefined;
    const recorder = new SaxRecorder();
    recorder.scalar = (value) => {
      numbers = [value.number(), value.bigint(), value.utf8()];
    };
    const sax = new DlistSax(recorder);
    sax.begin(0);
    const bytes = Buffer.from(`${text} `);
    sax.push(bytes, 0, bytes.length);
    return numbers;
  };

  it('reads numbers exactly or not at all', () => {
    expect(view('0')).toEqual([0, 0n, '0']);
    expect(view('9007199254740991')).toEqual([9007199254740991, 9007199254740991n, '9007199254740991']);
    expect(view('9007199254740992')).toEqual([undefined, 9007199254740992n, '9007199254740992']);
    expect(view('18446744073709551615')).toEqual([undefined, 2n ** 64n - 1n, '18446744073709551615']);
    expect(view('18446744073709551616')).toEqual([undefined, undefined, '18446744073709551616']);
    expect(view('00000000000000000000000012')).toEqual([undefined, undefined, '00000000000000000000000012']);
    expect(view('12a')).toEqual([undefined, undefined, '12a']);
    expect(view('NIL')).toEqual([undefined, undefined, 'NIL']);
    expect(view('""')).toEqual([undefined, undefined, '']);
  });

  it('decodes UTF-8', () => {
    expect(view('"Grüße €"')?.[2]).toBe('Grüße €');
  });
});
