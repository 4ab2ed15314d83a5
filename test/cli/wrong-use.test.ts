/** What is given and would have no effect, or another than it seems to. */
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';
import { LAUNCHER } from './run.ts';

let store: SmallStore;

beforeAll(() => {
  store = new SmallStore();
  store.add('anne');
});

afterAll(() => store[Symbol.dispose]());

test.each([
  [
    'restore -u anne --to eml:out --into here --in-place',
    64,
    /'--into <folder>' cannot be used with option '--in-place'/,
  ],
  ['restore -u anne --to eml:out --resume state', 64, /USAGE: cannot use --resume: it is for all users/],
  ['pause anne --for 2d', 64, /'2d' is invalid\. It has to be from 1s to 1d\./],
  ['freeze --for 1h', 64, /'1h' is invalid\. It has to be from 1s to 20m\./],
  ['rename anne anne', 64, /BAD_PARAMETERS: .*that is the name that it has/],
  [
    'compact -f /nowhere/a/anne_x1Y2z3',
    65,
    /NOT_FOUND: .*it does not exist\. If backups\.db names it, mount/,
  ],
  ['restore -u anne --to eml:out --from-file /tmp', 64, /BAD_PARAMETERS: .*It is a folder: name a file/],
] as const)('%s', (line, status, says) => {
  const ran = store.run(line.split(' '));
  expect([ran.status, ran.stdout]).toEqual([status, expect.stringMatching(/^(?:|1 backup: 0 done.*\n)$/)]);
  expect(ran.stderr).toMatch(says);
});

/** Root may do all. */
const isRoot = process.getuid!() === 0;

test('doctor of somebody who may not look says so, and no more', () => {
  using other = new SmallStore();
  other.add('anne');
  fs.chmodSync(other.folder, 0o755);
  fs.chmodSync(other.configFile, 0o644);
  fs.chmodSync(other.config.configDirectory, isRoot ? 0o700 : 0);
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [LAUNCHER, 'doctor', '-C', other.configFile],
    {
      encoding: 'utf8',
      ...(isRoot && { uid: 65534, gid: 65534 }),
    },
  );
  fs.chmodSync(other.config.configDirectory, 0o700);
  expect(stderr).toBe('');
  expect(stdout).toMatch(
    /^error catalog\/PERMISSION_DENIED: .*\n\s+-> Run commands as root or as the user of the server/m,
  );
  expect(status).toBe(65);
});

test('a configuration that may not be read', () => {
  using other = new SmallStore();
  fs.chmodSync(other.folder, 0o755);
  fs.chmodSync(other.configFile, isRoot ? 0o600 : 0);
  const { status, stderr } = spawnSync(process.execPath, [LAUNCHER, 'list', '-C', other.configFile], {
    encoding: 'utf8',
    ...(isRoot && { uid: 65534, gid: 65534 }),
  });
  expect([status, stderr]).toEqual([
    78,
    expect.stringMatching(/cannot be read by user \d+: give it to the server's.*\(EACCES\)/),
  ]);
});
