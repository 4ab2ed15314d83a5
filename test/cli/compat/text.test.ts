import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonStream } from '../../../src/cli/compat/json-stream.ts';
import { type Json, jsonObject, jsonText, Real, ratioText } from '../../../src/cli/compat/text.ts';
import { headerFields } from '../../../src/store/message-headers.ts';

describe('JSON as jansson lays it out', () => {
  // What json_dumpf of jansson 2.14 prints with JSON_INDENT(2) | JSON_PRESERVE_ORDER.
  test.each([
    [45.281880567286379, '45.281880567286379'],
    [189.65517241379311, '189.65517241379311'],
    [100, '100.0'],
    [0, '0.0'],
    [0.5, '0.5'],
    [0.0123, '0.0123'],
    [1234567, '1234567.0'],
    [1e-5, '1.0000000000000001e-5'],
    [3e20, '3e20'],
    [Number.NaN, '0.0'],
  ])('%d', (value, text) => {
    expect(jsonText(new Real(value))).toBe(text);
  });

  test('strings, lists and objects', () => {
    const value = jsonObject({ a: 'x"\\\n\u001f/ä', b: [], c: [1, [2]], d: new Map(), gone: undefined });
    expect(jsonText(value)).toBe(
      '{\n  "a": "x\\"\\\\\\n\\u001F/ä",\n  "b": [],\n  "c": [\n    1,\n    [\n      2\n    ]\n  ],\n  "d": {}\n}',
    );
  });

  test('a stream is laid out as the whole', () => {
    const write = (json: JsonStream, value: Json, key?: string): void => {
      if (Array.isArray(value)) {
        json.array(key);
        for (const item of value) write(json, item);
        json.end();
      } else if (value instanceof Map) {
        json.object(key);
        for (const [name, item] of value) write(json, item, name);
        json.end();
      } else json.value(value, key);
    };
    const { tree } = fc.letrec<{ tree: Json }>((tie) => ({
      tree: fc.oneof(
        { maxDepth: 4 },
        fc.oneof(fc.string(), fc.integer()),
        fc.array(tie('tree'), { maxLength: 4 }),
        fc
          .dictionary(fc.string(), tie('tree'), { maxKeys: 4 })
          .map((object) => new Map(Object.entries(object))),
      ),
    }));
    fc.assert(
      fc.property(fc.array(tree), (value) => {
        let text = '';
        write(new JsonStream((piece) => (text += piece)), value);
        expect(text).toBe(`${jsonText(value)}\n`);
        expect(() => JSON.parse(text)).not.toThrow();
      }),
    );
  });
});

test('ratios are as printf has them, and never -nan', () => {
  expect([45.28, 100, 1234.56, Number.NaN, Number.POSITIVE_INFINITY].map(ratioText)).toEqual([
    '  45.3',
    ' 100.0',
    '1234.6',
    '   0.0',
    '   0.0',
  ]);
});

test('header fields are unfolded and kept in order', () => {
  const head = Buffer.from(
    'Received: one\r\n\ttwo\r\nSubject:  a: b\r\nno field\r\nReceived:three\nX-8bit: \xe4\r\nLast: x',
    'latin1',
  );
  expect([...headerFields(head)]).toEqual([
    ['Received', ['one\ttwo', 'three']],
    ['Subject', ['a: b']],
    ['X-8bit', ['\xe4']],
    ['Last', ['x']],
  ]);
});
