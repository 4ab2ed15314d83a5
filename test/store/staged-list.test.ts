/** Where staged messages lie, in a file. */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StagedMessage } from '../../src/pipeline/messages.ts';
import { findListed, stagedListText } from '../../src/store/staged-list.ts';
import { guidOf } from './support/store-rig.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'csync-list-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const messages: fc.Arbitrary<StagedMessage[]> = fc
  .array(
    fc.record({
      partition: fc.oneof(fc.constant('default'), fc.string({ unit: 'binary' })),
      path: fc.constantFrom('/staging/a', '/staging/ü "\\', '/staging/\u{1f4a9}'),
      offset: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      size: fc.nat(),
    }),
  )
  .map((places) => places.map((place, i) => ({ guid: guidOf(String(i)), ...place })));

test('what is listed is found as it is, in any order and of any name', async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(messages, fc.nat({ max: 5 }), async (all, cut) => {
      const list = path.join(folder, `list${runs++}`);
      for (const some of [all.slice(0, cut), all.slice(cut)])
        appendFileSync(list, Buffer.from(stagedListText(some), 'latin1'));
      expect(await findListed(list, [guidOf('none'), ...all.map(({ guid }) => guid).reverse()])).toEqual(all);
      expect(
        await findListed(
          list,
          all.slice(0, 1).map(({ guid }) => guid),
        ),
      ).toEqual(all.slice(0, 1));
    }),
    { numRuns: 50 },
  );
});

test('of a list longer than what is read at a time', async () => {
  const list = path.join(folder, 'long');
  const places = { partition: 'default', path: '/staging/a', offset: 7, size: 9 };
  const all = Array.from({ length: 30_000 }, (_, i) => ({ guid: guidOf(String(i)), ...places }));
  appendFileSync(list, stagedListText(all));
  const some = all.filter((_, i) => i % 1000 === 999);
  expect(
    await findListed(
      list,
      some.map(({ guid }) => guid),
    ),
  ).toEqual(some);
});

test('nothing is found where there is no list', async () => {
  expect(await findListed(path.join(folder, 'none'), [guidOf('a')])).toEqual([]);
});
