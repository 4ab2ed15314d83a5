import { constants, createInflateRaw } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadIsal } from '../../src/platform/deflate.ts';
import { ConnectionCompression } from '../../src/server/compression.ts';
import { samples } from '../platform/samples.ts';

const CONTENT = samples(200_000);
const compressions = (['auto', 'zlib'] as const).map((choice) => new ConnectionCompression(choice));

/** As a client does: one stream that never ends. */
async function inflateAll(parts: readonly Uint8Array[]): Promise<Buffer> {
  const inflate = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH });
  const out: Buffer[] = [];
  inflate.on('data', (bytes: Buffer) => out.push(bytes));
  for (const part of parts) inflate.write(part);
  await new Promise<void>((resolve) => inflate.end(resolve));
  return Buffer.concat(out);
}

test('the engines are those that are asked for', () => {
  expect(new ConnectionCompression('zlib')).toMatchObject({ inflates: 'zlib', deflates: 'zlib' });
  const best = loadIsal() === undefined ? 'zlib' : 'isal';
  expect(new ConnectionCompression('auto')).toMatchObject({ inflates: best, deflates: best });
});

test.each(compressions)('answers of any length are one deflate stream ($deflates)', async (compression) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          kind: fc.constantFrom('mail', 'text', 'noise'),
          bytes: fc.oneof(fc.nat(200), fc.nat(200_000)),
        }),
        { maxLength: 6 },
      ),
      async (answers) => {
        const raw = answers.map(({ kind, bytes }) => CONTENT[kind]!.subarray(0, bytes));
        const sent = raw.map((answer) => Buffer.concat([...compression.deflate(answer)]));
        expect((await inflateAll(sent)).equals(Buffer.concat(raw))).toBe(true);
        // Each can be read at once.
        for (const [n, answer] of raw.entries()) {
          expect((await inflateAll([sent[n]!])).equals(answer)).toBe(true);
          expect(sent[n]!.length).toBeLessThanOrEqual(answer.length + 30 * (1 + answer.length / 65536));
        }
      },
    ),
    { numRuns: 40 },
  );
});

test.each(compressions)('a line is stored, a page of lines compressed ($deflates)', (compression) => {
  const line = [...compression.deflate(Buffer.from('OK Success\r\n'))];
  expect(line.map((part) => Buffer.from(part).toString('latin1'))).toEqual([
    '\0\x0c\0\xf3\xffOK Success\r\n',
  ]);
  const page = Buffer.from('* MAILBOX %(UNIQUEID abc MBOXNAME user.anne LAST_UID 33)\r\n'.repeat(2000));
  const parts = [...compression.deflate(page)];
  expect(parts.length).toBe(2);
  expect(Buffer.concat(parts).length).toBeLessThan(page.length / 20);
});
