import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { LineParser } from '../../src/csync/line-parser.ts';
import { Condenser, pushCondensed } from '../../src/store/condensed.ts';
import { guidOf, mailboxLine, messageLine } from '../maintenance/backup-files.ts';

/** Events of a parser but for the bytes of messages, which may be left out. */
function recorder(): { parser: LineParser; events: unknown[] } {
  const events: unknown[] = [];
  const note =
    (name: string) =>
    (...rest: unknown[]): void => {
      events.push([name, ...rest]);
    };
  const parser = new LineParser({
    lineStart: note('start'),
    lineEnd: note('end'),
    malformed: note('malformed'),
    beginList: note('list'),
    beginKvlist: note('kvlist'),
    end: note('close'),
    key: note('key'),
    scalar: (value, offset) => events.push(['scalar', value.held ? value.latin1() : value.size, offset]),
    file: note('file'),
    fileEnd: note('file end'),
  });
  parser.reset(0);
  return { parser, events };
}

const line = fc.oneof(
  fc
    .array(fc.string({ minLength: 0, maxLength: 300, unit: 'binary-ascii' }), { minLength: 1, maxLength: 4 })
    .map((contents) => messageLine(contents)),
  fc
    .string({ maxLength: 60, unit: 'binary-ascii' })
    .map((content) => Buffer.from(mailboxLine('user.anne', [{ uid: 1, content }]), 'latin1')),
  fc.constant(Buffer.from('# a comment\r\n')),
  fc.string({ maxLength: 40, unit: 'binary-ascii' }).map((text) => Buffer.from(`${text}\n`)),
);

describe('condensed content', () => {
  test('gives a parser the same events as the whole, however both are split', () => {
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 6 }),
        fc.array(fc.nat(400), { minLength: 1, maxLength: 30 }),
        fc.nat(3),
        fc.nat(),
        (lines, sizes, cut, upTo) => {
          const whole = Buffer.concat(lines);
          const content = whole.subarray(0, Math.max(whole.length - cut, 0)); // the end may be torn
          const condenser = new Condenser();
          condenser.reset();
          for (let at = 0, i = 0; at < content.length; i++) {
            const size = (sizes[i % sizes.length] as number) + 1;
            condenser.push(content.subarray(at, at + size));
            at += size;
          }
          const condensed = condenser.finish(content.length);
          const [direct, indirect] = [recorder(), recorder()];
          direct.parser.push(content);
          direct.parser.end();
          pushCondensed(indirect.parser, condensed!, content.length);
          indirect.parser.end();
          expect(indirect.events).toEqual(direct.events);
          expect(indirect.parser.offset).toBe(content.length);

          const kept = Buffer.concat(lines.slice(0, upTo % (lines.length + 1)));
          if (kept.length > content.length) return;
          const [first, firstOfAll] = [recorder(), recorder()];
          first.parser.push(kept);
          first.parser.end();
          pushCondensed(firstOfAll.parser, condensed!, kept.length);
          firstOfAll.parser.end();
          expect(firstOfAll.events).toEqual(first.events);
        },
      ),
      { numRuns: 300 },
    );
  });

  test('says of each message whether its bytes are those of its GUID', () => {
    const right = messageLine(['one', 'two']);
    const wrong = messageLine(['three', 'four']);
    wrong.write('X', wrong.indexOf('four'), 'latin1');
    const content = Buffer.concat([right, wrong, messageLine([''])]);
    const condenser = new Condenser();
    condenser.reset();
    condenser.push(content);
    const condensed = condenser.finish(content.length)!;
    expect([...condensed.verdicts]).toEqual([1, 1, 1, 0, 1]);
    expect(Buffer.from(condensed.text).includes('three')).toBe(false);
    expect(Buffer.from(condensed.text).includes(guidOf('four'))).toBe(true);
  });

  test('is not made of more text than is worth handing over', () => {
    const condenser = new Condenser();
    condenser.reset();
    const line = Buffer.from(
      `1700000000 APPLY SUB %(USERID anne MBOXNAME {900000}\r\n${'x'.repeat(900_000)})\r\n`,
    );
    for (let i = 0; i < 10; i++) condenser.push(line);
    expect(condenser.finish(10 * line.length)).toBeUndefined();
    condenser.reset();
    condenser.push(line);
    expect(condenser.finish(line.length)).toBeDefined();
  });
});
