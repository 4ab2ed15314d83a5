import fs from 'node:fs';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { StoreRig } from './support/store-rig.ts';

/** Data files and indexes of the rig that this process has open, each as often as it has. */
function targetsOf(rig: StoreRig): string[] {
  const targets = fs.readdirSync('/proc/self/fd').map((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the one that listed them
    }
  });
  return targets.filter((target) => target.startsWith(`${rig.folder}/part/`));
}

function openFiles(rig: StoreRig): number {
  return targetsOf(rig).length;
}

async function withRig(keepOpen: number, work: (rig: StoreRig) => Promise<void>): Promise<void> {
  const rig = new StoreRig(`backup_keep_open: ${keepOpen}\nbackup_shards: 1`);
  try {
    await work(rig);
  } finally {
    await rig.shard.handle({ op: 'stop' });
    rig.remove();
  }
}

async function visit(rig: StoreRig, session: number, userid: string, content: string): Promise<void> {
  await rig.message(session, userid, content);
  expect(await rig.mailbox(session, userid, `user.${userid}`, [content])).toMatchObject({ code: 'OK' });
  await rig.release(session);
}

const hits = (rig: StoreRig): number => rig.figures.take().values.cache_hits_total ?? 0;

test('so many backups stay open as the option says, and no file of another', async () => {
  for (const keepOpen of [0, 1, 3]) {
    await withRig(keepOpen, async (rig) => {
      for (const [n, userid] of ['anne', 'bob', 'carl', 'dora', 'emil'].entries()) {
        await visit(rig, n, userid, `of ${userid}\r\n`);
        // A data file, its index, and the index once more to sync it.
        expect(openFiles(rig)).toBe(3 * Math.min(n + 1, keepOpen));
      }
      expect(await rig.read(9, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' })).toContain('UID 1 ');
    });
  }
});

test('one whose files were removed does not keep their space', async () => {
  await withRig(5, async (rig) => {
    await visit(rig, 1, 'anne', 'one\r\n');
    await visit(rig, 2, 'bob', 'two\r\n');
    fs.rmSync(`${rig.folder}/part/a`, { recursive: true });
    expect(targetsOf(rig).filter((target) => target.includes('/part/a/'))).toHaveLength(3);
    await rig.shard.handle({ op: 'stats' });
    expect(targetsOf(rig).filter((target) => target.includes('/part/a/'))).toEqual([]);
    expect(await rig.read(4, 'bob', { what: 'FULLMAILBOX', mboxname: 'user.bob' })).toContain('UID 1 ');
    expect(hits(rig)).toBe(1);
  });
});

test('a backup that is used again stays, those that come once go', async () => {
  await withRig(2, async (rig) => {
    await visit(rig, 1, 'anne', 'one\r\n');
    await visit(rig, 2, 'anne', 'two\r\n');
    for (const [n, userid] of ['bob', 'carl', 'dora'].entries()) await visit(rig, 3 + n, userid, 'once\r\n');
    const before = hits(rig);
    await visit(rig, 9, 'anne', 'three\r\n');
    expect(hits(rig)).toBe(before + 1);
  });
});

test('whoever comes in whatever order, held or not: never more stay than may, and all are complete', async () => {
  const users = ['anne', 'bob', 'carl', 'dora'];
  const step = fc.record({
    user: fc.constantFrom(...users),
    session: fc.integer({ min: 1, max: 3 }),
    releases: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 3 }),
      fc.array(step, { maxLength: 14 }),
      async (keepOpen, steps) => {
        await withRig(keepOpen, async (rig) => {
          const holder = new Map<string, number>();
          const stored = new Set<string>();
          for (const [n, { user, session, releases }] of steps.entries()) {
            const isBusy = (holder.get(user) ?? session) !== session;
            await rig.message(session, user, `${n}\r\n`);
            const { code } = await rig.mailbox(session, user, `user.${user}`, [`${n}\r\n`]);
            expect(code === 'OK').toBe(!isBusy);
            if (code === 'OK') {
              holder.set(user, session);
              stored.add(user);
            }
            if (releases) {
              await rig.release(session);
              for (const [held, by] of holder) if (by === session) holder.delete(held);
            }
            // One that is in use has SQLite's journal besides.
            expect(openFiles(rig)).toBeLessThanOrEqual(4 * holder.size + 3 * keepOpen);
          }
          for (const session of [1, 2, 3]) await rig.release(session);
          for (const user of stored) {
            expect(await rig.read(9, user, { what: 'FULLMAILBOX', mboxname: `user.${user}` })).toContain(
              'UNIQUEID',
            );
            await rig.release(9);
          }
        });
      },
    ),
    { numRuns: 25 },
  );
});
