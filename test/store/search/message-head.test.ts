import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { endOfHead, MessageHead } from '../../../src/store/search/message-head.ts';

describe('the header of a message', () => {
  test('folded, in any case, with either line end, and what is no field', () => {
    const head = new MessageHead(
      'From anne Mon Nov 23 10:00:00 2026\r\nSUBJECT: one\r\n\ttwo\n  three\r\nX-Empty:\r\nfrom : a@b\r\nno field\r\n: x\r\nTo: 1\r\nto: 2\r\n\r\nCc: body',
    );
    expect(head.value('subject')).toBe('one\ttwo  three');
    expect(head.value('from')).toBe('a@b');
    expect(head.values('to')).toEqual(['1', '2']);
    expect(head.value('x-empty')).toBe('');
    expect(head.value('cc')).toBeUndefined();
    expect([...head.all()]).toHaveLength(5);
  });

  test.each([
    ['Mon, 23 Nov 2026 10:00:00 +0100 (CET)', '2026-11-23T09:00:00.000Z'],
    ['23 Nov 2026 10:00 GMT', '2026-11-23T10:00:00.000Z'],
    ['yesterday', undefined],
  ])('Date: %s', (date, time) => {
    const { sentAt } = new MessageHead(`Date: ${date}\r\n\r\n`);
    expect(sentAt).toBe(time === undefined ? undefined : Date.parse(time) / 1000);
  });

  test('where it ends', () => {
    expect(endOfHead('a: b\r\n\r\nbody')).toBe(6);
    expect(endOfHead('a: b\n\nbody')).toBe(5);
    expect(endOfHead('\r\nbody')).toBe(0);
    expect(endOfHead('a: b\r\n c\r\n')).toBeUndefined();
    expect(endOfHead('')).toBeUndefined();
  });

  test('any fields, folded anywhere', () => {
    const words = fc.array(fc.stringMatching(/^[!-~]{1,12}$/), { minLength: 1, maxLength: 8 });
    const field = fc.tuple(
      fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,10}$/),
      words,
      fc.constantFrom('\r\n', '\n'),
    );
    fc.assert(
      fc.property(fc.array(field), fc.boolean(), (fields, isFolded) => {
        const text = fields
          .map(([name, value, end]) => `${name}: ${value.join(isFolded ? `${end} ` : ' ')}${end}`)
          .join('');
        const head = new MessageHead(`${text}\r\nbody`);
        for (const [name] of fields) {
          const same = fields.filter(([other]) => other.toLowerCase() === name.toLowerCase());
          const raws = same.map(([, value]) => value.join(' '));
          if (raws.every((raw) => !raw.includes('=?'))) expect(head.values(name.toLowerCase())).toEqual(raws);
        }
      }),
    );
  });
});
