import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { verifyCatalog } from '../../src/maintenance/verify-catalog.ts';

let folder: string;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'verify-catalog-'));
});

afterEach(() => fs.rmSync(folder, { recursive: true }));

function put(...names: string[]): string {
  const file = path.join(folder, ...names);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, 'x');
  return file;
}

function findings(entries: [string, string][]): Record<string, unknown>[] {
  const partitions = ['p1', 'p2'].map((name) => ({ name, path: path.join(folder, name) }));
  return [...verifyCatalog(entries, { partitions } as Parameters<typeof verifyCatalog>[1])].map(
    ({ code, severity, userid, path: file }) => ({
      code,
      severity,
      userid,
      path: path.relative(folder, file),
    }),
  );
}

test('finds nothing where each file has one entry, whatever lies beside it', () => {
  const anne = put('p1', 'a', 'anne_x1Y2z3');
  const bob = put('p2', 'b', 'bob_x1Y2z3');
  for (const suffix of [
    '.index',
    '.index-journal',
    '.torn.1700000000',
    '.index.1700000000',
    '.index.rebuild',
  ]) {
    put('p1', 'a', `anne_x1Y2z3${suffix}`);
  }
  put('p1', '.staging', 'carl_x1Y2z3');
  put('p1', 'lost+found', 'something');
  // Published as far as its entry: whoever opens it finishes that.
  put('p2', '.staging', 'dora_x1Y2z3');
  const dora = path.join(folder, 'p2', 'd', 'dora_x1Y2z3');
  expect(
    findings([
      ['anne', anne],
      ['bob', bob],
      ['dora', dora],
    ]),
  ).toEqual([]);
});

test('finds files that are missing, shared, elsewhere and nobody’s', () => {
  const anne = put('p1', 'a', 'anne_x1Y2z3');
  const eve = put('elsewhere', 'e', 'eve_x1Y2z3');
  put('p2', 'f', 'fred_x1Y2z3');
  const gone = path.join(folder, 'p1', 'g', 'gina_x1Y2z3');
  expect(
    findings([
      ['anne', anne],
      ['ann', anne],
      ['eve', eve],
      ['gina', gone],
    ]),
  ).toEqual([
    { code: 'FILE_SHARED', severity: 'fault', userid: 'ann', path: 'p1/a/anne_x1Y2z3' },
    { code: 'FILE_OUTSIDE', severity: 'notice', userid: 'eve', path: 'elsewhere/e/eve_x1Y2z3' },
    { code: 'FILE_MISSING', severity: 'fault', userid: 'gina', path: 'p1/g/gina_x1Y2z3' },
    { code: 'FILE_NOT_IN_CATALOG', severity: 'fault', userid: 'fred', path: 'p2/f/fred_x1Y2z3' },
  ]);
});
