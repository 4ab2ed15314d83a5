/** Which of the two the launcher runs: the build, or the sources where they have changed since. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from '../support/backup-server.ts';
import { LAUNCHER } from './run.ts';

const root = mkdtempSync(path.join(tmpdir(), 'launch-'));
const BUILT_AT = 1_700_000_000;

function write(file: string, text: string, time = BUILT_AT - 10): void {
  const target = path.join(root, file);
  mkdirSync(path.dirname(target), { recursive: true });
  writeFileSync(target, text);
  utimesSync(target, time, time);
}

async function launched(): Promise<string> {
  const { stdout, stderr } = await run(process.execPath, [path.join(root, 'src/cli/launch.cjs')]);
  return stdout.toString() + stderr;
}

beforeAll(() => {
  write('package.json', '{ "type": "module" }');
  write('src/cli/main.ts', "export const main = (): void => console.log('sources');");
  write('src/store/deep/file.ts', '');
  write('workers/store.ts', '');
  write('dist/src/cli/main.js', "export const main = () => console.log('build');");
  write('dist/.built', '', BUILT_AT);
  cpSync(LAUNCHER, path.join(root, 'src/cli/launch.cjs'));
});
afterAll(() => rmSync(root, { recursive: true }));

test('the build, while no source is newer', async () => {
  expect(await launched()).toBe('build\n');
  write('src/store/deep/notes.md', '', BUILT_AT + 10);
  expect(await launched()).toBe('build\n');
});

test.each(['src/store/deep/file.ts', 'workers/store.ts'])('the sources, when %s is newer', async (file) => {
  write(file, '', BUILT_AT + 10);
  expect(await launched()).toBe('sources\n');
  write(file, '');
});

test('the sources, where it is not said when the build was made, or there is none', async () => {
  rmSync(path.join(root, 'dist/.built'));
  expect(await launched()).toBe('sources\n');
  rmSync(path.join(root, 'dist'), { recursive: true });
  expect(await launched()).toBe('sources\n');
});
