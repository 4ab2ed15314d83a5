/** A data file that is damaged and has no index: nobody knows what was in what cannot be read, so nothing is said to be whole. */
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';

let store: SmallStore;

beforeAll(() => {
  store = new SmallStore();
  const dataPath = store.add('anne');
  fs.rmSync(`${dataPath}.index`);
  const bytes = fs.readFileSync(dataPath);
  bytes.fill(0xff, 60, 90);
  fs.writeFileSync(dataPath, bytes);
});

afterAll(() => store[Symbol.dispose]());

test.each([
  'restore -u anne --to eml:OUT',
  'restore -A --to eml:OUT/{user}',
  'search anne --from x',
  'history anne',
  'diff anne --from -1m',
])('%s', (line) => {
  const args = line.replace('OUT', path.join(store.folder, `out-${line.length}`)).split(' ');
  const { status, stderr } = store.run(args);
  expect(stderr).toMatch(/is damaged \(.*the rest of it is lost/);
  expect(status, stderr).toBe(65);
});

test('of an index that is missing it is said what makes one, and verify says that it did', () => {
  using other = new SmallStore();
  const dataPath = other.add('bob');
  fs.rmSync(`${dataPath}.index`);
  const shown = other.run(['show', 'mailboxes', '-u', 'bob']);
  expect(shown).toMatchObject({ status: 0, stdout: expect.stringContaining('user/bob/Sent') });
  expect(shown.stderr).toMatch(
    /the index of \S+ cannot be used \(it does not exist\); .* csync-backup reindex makes one anew/,
  );
  const first = other.run(['verify', '-u', 'bob', '--quick']);
  expect([first.status, first.stdout]).toEqual([
    65,
    expect.stringMatching(/verify bob: failed \(1 fault, 0 notices\); the index was made anew\n/),
  ]);
  expect(other.run(['verify', '-u', 'bob'])).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^verify bob: ok\n/),
  });
});

test('who makes an index anew of a data file that was cut off says from where on it was put aside, and where to', () => {
  using other = new SmallStore();
  for (const command of ['verify', 'reindex']) {
    const dataPath = other.add(command);
    fs.truncateSync(dataPath, fs.statSync(dataPath).size - 60);
    const { stderr } = other.run([command, '-u', command]);
    expect(stderr).toMatch(
      /the damaged end of the backup was put aside: path \S+, from \d+, target \S+\.torn\.\d+\n/,
    );
  }
});
