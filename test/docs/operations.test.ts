import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.join(import.meta.dirname, '../..');
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const page = read('docs/operations.md');

/** The members of `type NAME = 'A' | 'B'` in a source file. */
function union(file: string, name: string): string[] {
  const source = read(file).replaceAll(/\/\*[\s\S]*?\*\//g, '');
  const [, body = ''] = new RegExp(`type ${name} =([^;]*);`).exec(source) ?? [];
  return [...body.matchAll(/'([A-Z_]+)'/g)].map(([, member]) => member!);
}

test('docs/operations.md says of every error code what it means, with its exit status', () => {
  const source = read('src/platform/errors.ts');
  const codes = union('src/platform/errors.ts', 'ErrorCode');
  expect(codes.length).toBeGreaterThan(10);
  const rows = [...page.matchAll(/^\| `([A-Z_]+)` \| (\d+) \|/gm)].map(
    ([, code, status]) => `${code} ${status}`,
  );
  const expected = codes.map(
    (code) => `${code} ${new RegExp(`^  ${code}: (\\d+),$`, 'm').exec(source)?.[1]}`,
  );
  expect(rows.toSorted()).toEqual(expected.toSorted());
});

test('docs/operations.md explains every finding of verify', () => {
  const codes = union('src/store/verify/finding.ts', 'FindingCode');
  expect(codes.length).toBeGreaterThan(10);
  const section = page.slice(
    page.indexOf('### What verify finds'),
    page.indexOf('## When something is wrong'),
  );
  expect(codes.filter((code) => !section.includes(`\`${code}\``))).toEqual([]);
});

test('docs/operations.md has every message that the program logs', () => {
  const call =
    /\blog\.(?:info|warn|error|fatal)\(\s*(?:(?:\{(?:[^{}]|\{[^{}]*\})*\}|\w+)\s*,\s*)?(['"`])((?:(?!\1).)+)\1/g;
  const files = globSync('src/{cli,server,store}/**/*.ts', { cwd: root });
  const logged = files.flatMap((file) => [...read(file).matchAll(call)].map(([, , message]) => message!));
  expect(logged).toContain('ready');
  expect(logged).toContain('a request to the store failed');
  expect(logged.filter((message) => !page.includes(`\`${message}\``))).toEqual([]);
  // Each call is found by the expression above.
  const calls = files.flatMap((file) => read(file).match(/\blog\.(?:info|warn|error|fatal)\(/g) ?? []);
  expect(logged.length).toBe(calls.length);
});
