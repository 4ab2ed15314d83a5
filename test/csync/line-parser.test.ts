import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Dlist } from '../../src/csync/dlist.ts';
import { encodeDlist } from '../../src/csync/encoder.ts';
import {
  type LineEvents,
  LineParser,
  type LineStart,
  type MalformedLine,
} from '../../src/csync/line-parser.ts';
import { dlist } from './arbitraries.ts';
import { CLIENT_STREAMS, fixture } from './fixtures.ts';
import { decode, inPieces, toBytes } from './recorder.ts';
import { SaxRecorder } from './sax-recorder.ts';

const GUID = 'a9993e364706816aba3e25717850c26c9cd0d89d';
const START = '# cyrus backup: chunk start\r\n';

type Line = LineStart & { end: number; value: Dlist | undefined };

class LineRecorder extends SaxRecorder implements LineEvents {
  readonly lines: Line[] = [];
  readonly bad: MalformedLine[] = [];
  #open: LineStart | undefined;

  lineStart(line: LineStart): void {
    if (this.#open !== undefined) throw new Error('lineStart within a line');
    this.#open = line;
  }

  lineEnd(offset: number): void {
    if (this.#open === undefined) throw new Error('lineEnd without a line');
    this.lines.push({ ...this.#open, end: offset, value: this.values.at(-1) });
    this.#open = undefined;
  }

  malformed(line: MalformedLine): void {
    if (line.started !== (this.#open !== undefined)) throw new Error('started is wrong');
    this.#open = undefined;
    this.bad.push(line);
  }
}

function parse(
  content: Uint8Array | string,
  size: number,
  offset = 0,
): { recorder: LineRecorder; parser: LineParser } {
  const recorder = new LineRecorder();
  const parser = new LineParser(recorder);
  parser.reset(offset);
  for (const piece of inPieces(toBytes(content), size)) parser.push(piece);
  parser.end();
  return { recorder, parser };
}

/** Parses at every piece size up to 60 and whole, and expects the same each time. */
function parseAll(content: string): LineRecorder {
  const { recorder } = parse(content, content.length);
  for (let size = 1; size <= 60; size++) {
    const { lines, bad } = parse(content, size).recorder;
    expect({ lines, bad }, `pieces of ${size}`).toEqual({ lines: recorder.lines, bad: recorder.bad });
  }
  return recorder;
}

const names = (recorder: LineRecorder) =>
  recorder.lines.map((line) => `${line.time} ${line.command} ${line.verb}`);

describe('LineParser', () => {
  it('reads lines, comments and where they lie', () => {
    const content = `${START}1700000000 APPLY MESSAGE (%{default ${GUID} 3}\r\nabc)\r\n# a comment\n1700000001 note QUOTA %(ROOT {6+}\r\nuser.x STORAGE 1)\n1700000002 APPLY UNUSER x\r\n`;
    const recorder = parseAll(content);
    expect(recorder.bad).toEqual([]);
    expect(names(recorder)).toEqual([
      '1700000000 APPLY MESSAGE',
      '1700000001 NOTE QUOTA',
      '1700000002 APPLY UNUSER',
    ]);
    for (const line of recorder.lines) {
      expect(content.slice(line.offset)).toMatch(new RegExp(`^${line.time} ${line.command}`, 'i'));
      expect(content.slice(line.textOffset).startsWith(line.verb)).toBe(true);
      expect(content[line.end - 1]).toBe('\n');
      expect(line.resynchronised).toBe(false);
    }
    expect(recorder.events).toContainEqual([`file default ${GUID} 3`, content.indexOf('abc')]);
  });

  it('counts offsets from where the caller says', () => {
    const { recorder, parser } = parse('17 APPLY UNUSER x\r\n', 4, 5000);
    expect(recorder.lines).toMatchObject([{ offset: 5000, textOffset: 5009, end: 5019 }]);
    expect(recorder.events).toEqual([['atom x', 5016]]);
    expect(parser.completeEnd).toBe(5019);
    expect(parser.offset).toBe(5019);
  });

  it('reads back what the decoder made of what a client sent', () => {
    for (const name of CLIENT_STREAMS) {
      const applied = decode(fixture(name)).filter((entry) => entry.kind === 'apply');
      const content = START + applied.map((entry) => `1700000000 APPLY ${entry.text}`).join('');
      for (const size of [1, 33, 1 << 20]) {
        const { recorder, parser } = parse(content, size);
        expect(recorder.bad).toEqual([]);
        expect(recorder.lines.length).toBe(applied.length);
        recorder.lines.forEach((line, index) => {
          const { text } = applied[index] as { text: string };
          expect(content.slice(line.textOffset, line.end)).toBe(text);
        });
        expect(parser.completeEnd).toBe(content.length);
      }
    }
  });

  it('finds every value, file and line end, whatever they hold', () => {
    fc.assert(
      fc.property(
        fc.array(dlist(true), { maxLength: 5 }),
        fc.integer({ min: 1, max: 50 }),
        (values, size) => {
          const lines = values.map((value) =>
            Buffer.concat([Buffer.from('1700000000 APPLY SEEN '), encodeDlist(value), Buffer.from('\r\n')]),
          );
          const content = Buffer.concat([Buffer.from(START), ...lines]);
          const { recorder } = parse(content, size);
          expect(recorder.bad).toEqual([]);
          expect(recorder.values).toEqual(values);
          let offset = START.length;
          for (const [index, line] of recorder.lines.entries()) {
            expect(line.offset).toBe(offset);
            expect(line.end).toBe((offset += lines[index]?.length ?? 0));
          }
          for (const [event, at] of recorder.events) {
            if (event.startsWith('file '))
              expect(content.subarray(0, at).toString('latin1')).toMatch(/ \d+}\r\n$/);
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  it('reports a malformed line and goes on behind it, literals counted past', () => {
    const recorder = parseAll(
      `1 APPLY SUB %(A b {26}\r\n2 APPLY UNUSER forged1\r\n\r\n C (d"e") %{p ${GUID} 26}\r\n3 APPLY UNUSER forged2\r\n\r\n)\r\n4 APPLY UNUSER x\r\n`,
    );
    expect(names(recorder)).toEqual(['4 APPLY UNUSER']);
    expect(recorder.bad).toMatchObject([{ offset: 0, kind: 'malformed', started: true }]);
    expect(recorder.lines[0]?.resynchronised).toBe(false);
  });

  it.each([
    ['a value that is followed by something', '1 APPLY SUB (a) b'],
    ['a literal with a broken size', '1 APPLY SUB {3x}'],
    ['a list that is not closed', '1 APPLY SUB (a'],
    ['no value', '1 APPLY SUB '],
    ['a stray CR', '1 APPLY SUB a\rb'],
  ])('reports %s', (_, line) => {
    const recorder = parseAll(`${line}\r\n4 APPLY UNUSER x\r\n`);
    expect(names(recorder)).toEqual(['4 APPLY UNUSER']);
    expect(recorder.bad).toMatchObject([{ offset: 0, kind: 'malformed' }]);
  });

  it.each([
    ['no time', 'APPLY SUB a'],
    ['no name', '1 APPLY'],
    ['an empty line', ''],
    ['text', 'Subject: 1 APPLY SUB a'],
    ['a word that is too long', `1 APPLY ${'X'.repeat(300)} a`],
    ['a strange word', '1 APPLY M%( a'],
  ])('when it finds %s it goes on where a line looks like one of ours', (_, line) => {
    const recorder = parseAll(
      `${line}\r\n12 FOO BAR x\r\n\r\n1234567\r\n4 APPLY UNUSER x\r\n5 OTHER Y z\r\n`,
    );
    expect(names(recorder)).toEqual(['4 APPLY UNUSER', '5 OTHER Y']);
    expect(recorder.bad).toMatchObject([{ offset: 0, kind: 'malformed', started: false }]);
    expect(recorder.lines.map((entry) => entry.resynchronised)).toEqual([true, true]);
    expect(recorder.lines[0]?.offset).toBe(line.length + 2 + 14 + 2 + 9);
  });

  it('reports a torn last line wherever it is torn', () => {
    const whole = `${START}1 APPLY UNUSER x\r\n`;
    const torn = `2 APPLY MESSAGE (%{default ${GUID} 3}\r\nabc "d" {2}\r\nxy)\r\n`;
    for (let length = 1; length < torn.length; length++) {
      const { recorder, parser } = parse(whole + torn.slice(0, length), 7);
      expect(names(recorder)).toEqual(['1 APPLY UNUSER']);
      expect(recorder.bad).toMatchObject([{ offset: whole.length, kind: 'torn' }]);
      expect(parser.completeEnd).toBe(whole.length);
    }
    expect(parse(whole + torn, 7).recorder.bad).toEqual([]);
  });

  it('says so when content is missing, and finds its place again', () => {
    const recorder = new LineRecorder();
    const parser = new LineParser(recorder);
    parser.reset(0);
    parser.push(toBytes('1 APPLY UNUSER x\r\n2 APPLY UNUSER'));
    parser.gap(1000);
    parser.push(toBytes('half of a message\r\nSubject: x\r\n3 APPLY UNUSER y\r\n4 APPLY UNUSER z\r\n'));
    parser.gap(2000);
    parser.push(toBytes('5 NOTE QUOTA z\r\n'));
    parser.end();
    expect(recorder.bad).toMatchObject([{ offset: 18, kind: 'malformed' }]);
    expect(recorder.lines.map(({ time, offset, resynchronised }) => [time, offset, resynchronised])).toEqual([
      [1, 0, false],
      [3, 1031, true],
      [4, 1049, true],
      [5, 2000, true],
    ]);
    parser.reset(0);
    parser.push(toBytes('6 APPLY UNUSER x\r\n'));
    expect(recorder.lines.at(-1)).toMatchObject({ time: 6, resynchronised: false });
  });

  it('never throws and never loses its place in the bytes', () => {
    const piece = fc.oneof(
      fc.constantFrom(
        START,
        '1 APPLY SUB (a)\r\n',
        '2 NOTE QUOTA %(A {3}\r\n',
        `%{p ${GUID} 5}\r\n`,
        '{9+}\r\n',
        '\r\n',
        '"',
        ')',
      ),
      fc.string({ unit: 'binary-ascii', maxLength: 12 }),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 1, max: 30 }), (pieces, size) => {
        const content = toBytes(pieces.join(''));
        const whole = parse(content, content.length || 1);
        const split = parse(content, size);
        expect(split.recorder.lines).toEqual(whole.recorder.lines);
        expect(split.recorder.bad).toEqual(whole.recorder.bad);
        expect(split.parser.offset).toBe(content.length);
        expect(split.parser.completeEnd).toBe(whole.parser.completeEnd);
      }),
      { numRuns: 2000 },
    );
  });
});
