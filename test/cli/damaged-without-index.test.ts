/** A data file that is damaged and has no index: nobody knows what was in what cannot be read, so nothing is said to be whole. */
import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
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
      /the damaged end of the backup was put aside: path \S+, messages 0, from \d+, target \S+\.torn\.\d+\n/,
    );
  }
});

test('messages whose only MAILBOX is cut off are put aside by reindex, which says so, and come back from there', () => {
  using other = new SmallStore();
  const dataPath = other.add('eve');
  const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
  const [, second] = index.chunks();
  index.close();
  fs.truncateSync(dataPath, second!.offset - 60);
  fs.rmSync(`${dataPath}.index`);
  const before = fs.readFileSync(dataPath);
  const what = 'the end from byte 0 on counts for nothing and';
  const dry = other.run(['reindex', '-u', 'eve', '--dry-run']);
  expect([dry.status, dry.stdout]).toEqual([
    65,
    expect.stringContaining(
      `${what} would be put aside, with 3 messages that no mailbox names; the next sync `,
    ),
  ]);
  expect(fs.readFileSync(dataPath).equals(before)).toBe(true);
  const ran = other.run(['reindex', '-u', 'eve']);
  const pattern = new RegExp(
    `${what} is put aside as (\\S+\\.torn\\.\\d+), with 3 messages .* docs/operations\\.md`,
  );
  expect([ran.status, ran.stdout]).toEqual([65, expect.stringMatching(pattern)]);
  const aside = pattern.exec(ran.stdout)![1]!;
  expect(fs.readFileSync(aside).equals(before)).toBe(true);
  expect(other.run(['verify', '-u', 'eve'])).toMatchObject({ status: 0 });

  const folder = path.join(other.folder, 'back');
  const dumped = other.run(['dump', 'messages', folder, '-f', aside]);
  expect(dumped).toMatchObject({ status: 0, stdout: `${folder}: 3 messages (14 bytes)\n`, stderr: '' });
  const contents = fs.readdirSync(folder).map((name) => fs.readFileSync(path.join(folder, name), 'utf8'));
  expect(contents.toSorted()).toEqual(['of eve', 'three', 'two']);
  expect(other.run(['dump', 'messages', folder, '-f', aside]).stdout).toContain('3 were there already');
});

test('of a data file that was cut between two chunks reindex says that the end is lost', () => {
  using other = new SmallStore();
  const dataPath = other.add('eve');
  const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
  const [, second] = index.chunks();
  index.close();
  fs.truncateSync(dataPath, second!.offset);
  for (const args of [['--dry-run'], []]) {
    const { status, stdout } = other.run(['reindex', '-u', 'eve', ...args]);
    expect([status, stdout]).toEqual([
      65,
      expect.stringMatching(/the last \d+ bytes that the index knew of are lost/),
    ]);
  }
  expect(other.run(['reindex', '-u', 'eve'])).toMatchObject({ status: 0 });
});

test.each([
  ['compact', /not worth it .*; the last \d+ bytes that the index knew of are lost; the old index/],
  ['move --to two', /it was damaged before/],
])('%s of a data file that was cut off is status 65, and says what was put aside', (command, said) => {
  using other = new SmallStore('backup_compact_work_threshold: 1000');
  const dataPath = other.add('eve');
  fs.truncateSync(dataPath, fs.statSync(dataPath).size - 60);
  const { status, stdout, stderr } = other.run([...command.split(' '), '-u', 'eve']);
  expect([status, stdout]).toEqual([65, expect.stringMatching(said)]);
  expect(stderr).toMatch(
    /the end of the data file is lost; the index that describes it is kept: .*target \S+\.index\.\d+\n/,
  );
  expect(stderr).toMatch(/the damaged end of the backup was put aside: .*target \S+\.torn\.\d+\n/);
});
