/**
 * A mail server that lives: its users and its administrator do anything, a real sync_client pushes in all its ways, and
 * the backup server is cared for, damaged, put back, started anew and killed meanwhile. Then everything is there, and
 * comes back into an empty mail server as it was.
 */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { withSource } from '../../src/restore/open-source.ts';
import type { Moment } from '../../src/store/past-index.ts';
import { run } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { MailLife } from './harness/life.ts';
import { BackupLife } from './harness/life-backup.ts';
import { type AllViews, expectRestored, viewsOf } from './harness/life-restore.ts';
import { seedShared, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';
import { Certificates } from './harness/tls.ts';
import { type View, viewOf, viewOfSource } from './harness/view.ts';

const ROUNDS = Number(process.env.LIFE_ROUNDS ?? '5');
/** Another one plays another life. */
const SEED = process.env.LIFE_SEED ?? 'life';
/** A short one has compaction drop much, a long one has states of the past kept, which are compared then. */
const RETENTION_SECONDS = Number(process.env.LIFE_RETENTION ?? '3600');
/** A folder that gets both servers' files if the life ends badly. */
const KEEP = process.env.LIFE_KEEP;
const USERS = ['alice', 'bob', 'carol', 'dan.d'];

const random = new Random(SEED);
let cyrus: CyrusSite;
let certificates: Certificates;
let life: MailLife;
let backups: BackupLife;
let proxy: RecordingProxy;
/** By user: what was there at a time, seconds. */
const past = new Map<string, { time: number; view: View }[]>();
/** What all users saw at a time, seconds. */
let pastViews: { time: number; views: AllViews }[] = [];
/** A copy of the mail server, and who was there. */
let savedUsers: string[] | undefined;
/** Then its checksums are other than the backup's until it has been asked, and the backup may know mailboxes that it does not. */
let wasPutBack = false;

beforeAll(async () => {
  cyrus = await CyrusSite.start(['target']);
  certificates = await Certificates.make();
  // Of a user with another name a client that does not roll makes somebody new.
  life = new MailLife(cyrus, USERS, random, (user) => {
    past.delete(user);
    pastViews = [];
  });
  backups = await BackupLife.create({
    ...{ cyrus, certificates, random, retentionSeconds: RETENTION_SECONDS },
    ...{ users: () => life.users, done: life.done, forget },
  });
  await cyrus.startInstance('source', backups.port);
  await backups.start();
  proxy = await RecordingProxy.start(backups.port);
  for (const user of USERS) await seedUser(cyrus, user, { messages: 6 });
  await seedShared(cyrus, ['alice', 'bob']);
});

afterAll(async () => {
  await proxy?.close();
  await backups?.close();
  await cyrus?.close();
  certificates?.[Symbol.dispose]();
});

for (let round = 0; round < ROUNDS; round++) {
  test(`round ${round} of the life "${SEED}"`, { timeout: 300_000 }, () =>
    told(async () => {
      for (let n = random.int(1, 4); n > 0; n--) {
        for (let m = random.int(1, 8); m > 0; m--) await life.changeSomething();
        await backups.push();
        await backups.care();
        if (random.chance(0.06)) await saveOrPutBack();
      }
      await expectAllIsHere();
      if (random.chance(0.15) || round === ROUNDS - 1) await expectAllComesBack();
    }),
  );
}

/** With all that was done, if it fails. */
async function told(act: () => Promise<void>): Promise<void> {
  life.done.push('\n');
  try {
    await act();
  } catch (error) {
    const warnings = backups.server.log.filter((line) => !line.includes('"level":30'));
    process.stderr.write(`${life.done.join('; ')}\n${warnings.join('\n')}\n`);
    if (KEEP !== undefined) {
      for (const dir of [cyrus.dir, backups.backup.site.dir]) await run('cp', ['-a', dir, KEEP]);
      fs.writeFileSync(path.join(KEEP, `${SEED}.log`), backups.server.log.join('\n'));
    }
    throw error;
  }
}

function forget(from: number, to: number): void {
  const isKept = ({ time }: { time: number }): boolean => time < from || time > to;
  for (const [user, moments] of past) past.set(user, moments.filter(isKept));
  pastViews = pastViews.filter(isKept);
}

/** The mail server is copied, or put back to the copy. */
async function saveOrPutBack(): Promise<void> {
  const [now, saved] = [path.join(cyrus.dir, 'source'), path.join(cyrus.dir, 'saved')];
  const isBack = savedUsers !== undefined && random.chance(0.6);
  life.done.push(isBack ? 'the mail server is put back' : 'the mail server is copied');
  await cyrus.stopInstance('source');
  const [from, to] = isBack ? [saved, now] : [now, saved];
  fs.rmSync(to, { recursive: true, force: true });
  expect((await run('cp', ['-a', from, to])).status).toBe(0);
  await cyrus.startInstance('source', backups.port);
  if (!isBack) {
    savedUsers = [...life.users];
    return;
  }
  life.users = savedUsers!;
  wasPutBack = true;
}

/** After a run over all, a second one finds nothing to send; what is here is what the mail server shows, and showed. */
async function expectAllIsHere(): Promise<void> {
  const { backup, server } = backups;
  await cyrus.sync(['-A'], { port: backups.port });
  // What a checksum has shown comes with the next run; and what was to come, and is gone, goes.
  if (wasPutBack || backups.isDamaged) await cyrus.sync(['-A'], { port: backups.port });
  proxy.clear();
  await cyrus.sync(['-A'], { port: proxy.port });
  // The quota of a user who has another name now is never taken away.
  expect(proxy.applies.filter((command) => !command.startsWith('UNQUOTA'))).toEqual([]);
  await backups.reindexLost();
  await backup.cliOk(['verify', '-A', '--wait']);
  if (!wasPutBack)
    expect(server.log.filter((line) => /checksum of a mailbox|by its checksum/.test(line))).toEqual([]);

  const time = Math.floor(Date.now() / 1000);
  const files = new Map((await backup.listed()).map(({ userid, path }) => [userid, path]));
  for (const user of life.users) {
    const dataPath = files.get(user)!;
    const view = await viewOf(cyrus, user);
    expect(known(await stored(dataPath, { kind: 'latest' }), view), user).toEqual(view);
    const moments = past.get(user) ?? [];
    for (const moment of moments) {
      const was = await stored(dataPath, { kind: 'time', time: moment.time });
      expect(known(was, moment.view), `${user} at ${moment.time}`).toEqual(moment.view);
    }
    if (RETENTION_SECONDS >= 3600) past.set(user, [...moments.slice(-4), { time, view }]);
  }
  if (RETENTION_SECONDS >= 3600 && random.chance(0.2)) {
    pastViews = [...pastViews.slice(-1), { time, views: await viewsOf(cyrus, life.users, 'source') }];
  }
  while (Math.floor(Date.now() / 1000) === time) await pause(20);
}

/** Without mailboxes that the mail server has never heard of since it was put back: it does not say that they are gone. */
function known(view: View, there: View): View {
  if (!wasPutBack) return view;
  const names = new Set(there.mail.map(([name]) => name));
  return { ...view, mail: view.mail.filter(([name]) => names.has(name)) };
}

async function expectAllComesBack(): Promise<void> {
  life.done.push('restored');
  // A mail server that was put back does not say either that a seen state which it had later is none.
  const maybeRead = wasPutBack ? new Set(life.users) : life.reborn;
  const options = { cyrus, life: backups, maybeMore: wasPutBack, maybeRead };
  await expectRestored({ ...options, views: await viewsOf(cyrus, life.users, 'source') });
  for (const { time, views } of pastViews) await expectRestored({ ...options, views, at: time });
}

function stored(dataPath: string, moment: Moment): Promise<View> {
  const config = loadConfig({ file: backups.backup.site.configFile });
  return withSource(dataPath, { config, moment, remark: () => {} }, viewOfSource);
}
