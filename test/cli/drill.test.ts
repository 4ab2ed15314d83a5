import fs from 'node:fs';
import { describe, expect, test } from 'vitest';
import { SmallStore } from '../support/small-store.ts';

describe('csync-backup drill', () => {
  test('restores a sample of all, and says what it was', () => {
    using store = new SmallStore();
    for (const userid of ['anne', 'bob', 'eve']) store.add(userid);
    const ran = store.run(['drill', '--users', '2', '--messages', '2', '--seed', '7', '--json']);
    expect(ran).toMatchObject({ status: 0, stderr: '' });
    const lines = ran.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toHaveLength(3);
    expect(lines[0]).toMatchObject({
      type: 'backup',
      messages: 2,
      failures: 0,
      absent: 0,
      changed: 0,
      scratch: null,
    });
    expect(lines[2]).toMatchObject({
      type: 'summary',
      backups: 2,
      done: 2,
      failed: 0,
      seed: 7,
      messages: 4,
      failures: 0,
    });
    const text = store.run(['drill', '-u', 'anne', '--share', '100%', '--seed', '7']).stdout;
    expect(text).toMatch(
      /^anne: 3 messages \(\d+ bytes\) came back\n1 backup: 1 done, 3 messages compared, 0 wrong or missing; --seed 7\n$/,
    );
  });

  test('ends with 65 if something did not come back, or if nothing was compared', () => {
    using store = new SmallStore();
    expect(store.run(['drill'])).toMatchObject({
      status: 65,
      stderr: expect.stringContaining('nothing was compared'),
    });
    const dataPath = store.add('anne');
    store.add('bob');
    const bytes = fs.readFileSync(dataPath);
    bytes.fill(0xff, 40, 90);
    fs.writeFileSync(dataPath, bytes);
    const ran = store.run(['drill', '--seed', '1']);
    expect(ran.status).toBe(65);
    expect(ran.stdout).toMatch(/^anne: missing: message 1 of user\/anne \([0-9a-f]{40}\): /m);
    expect(ran.stdout).toMatch(/^anne: 3 messages \(\d+ bytes\) wanted, \d wrong or missing$/m);
    expect(ran.stdout).toMatch(/^bob: 3 messages \(\d+ bytes\) came back$/m);
    fs.rmSync(`${dataPath}.index`);
    const broken = store.run(['drill', '--seed', '1']);
    expect([broken.status, broken.stderr]).toEqual([
      65,
      expect.stringMatching(/INDEX_STALE: .* Run csync-backup reindex/),
    ]);
  });
});
