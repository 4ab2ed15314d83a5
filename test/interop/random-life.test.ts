/**
 * A mail server that lives: its users and its administrator do anything, a real sync_client pushes in all its ways, and
 * the backup server is compacted, verified, started anew and killed meanwhile.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { withSource } from '../../src/restore/open-source.ts';
import type { Moment } from '../../src/store/past-index.ts';
import type { BackupServer } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { MailLife } from './harness/life.ts';
import { seedShared, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';
import { type View, viewOf, viewOfSource } from './harness/view.ts';

const ROUNDS = Number(process.env.LIFE_ROUNDS ?? '6');
/** Another one plays another life. */
const SEED = process.env.LIFE_SEED ?? 'life';
/** A short one has compaction drop much, a long one has states of the past kept, which are compared then. */
const RETENTION_SECONDS = Number(process.env.LIFE_RETENTION ?? '3600');
const USERS = ['alice', 'bob', 'carol', 'dan.d'];

const random = new Random(SEED);
let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;
let life: MailLife;
/** By user: what was there at a time, seconds. */
const past = new Map<string, { time: number; view: View }[]>();

beforeAll(async () => {
  cyrus = await CyrusSite.start(['source']);
  backup = await SharedBackup.create(cyrus, {
    backup_retention: `${RETENTION_SECONDS}s`,
    backup_chunk_max_size: '1M',
  });
  server = await backup.site.start();
  proxy = await RecordingProxy.start(backup.site.port);
  for (const user of USERS) await seedUser(cyrus, user, { messages: 6 });
  await seedShared(cyrus, ['alice', 'bob']);
  // Of a user with another name a client that does not roll makes somebody new.
  life = new MailLife(cyrus, USERS, random, (user) => void past.delete(user));
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
});

for (let round = 0; round < ROUNDS; round++) {
  test(`round ${round} of the life "${SEED}"`, async () => {
    life.done.length = 0;
    try {
      for (let n = random.int(1, 4); n > 0; n--) {
        for (let m = random.int(1, 8); m > 0; m--) await life.changeSomething();
        await push();
        await maintain();
      }
      await expectAllIsHere();
      // Nothing of this is a mail server that was put back.
      expect(server.log.filter((line) => line.includes('checksum'))).toEqual([]);
    } catch (error) {
      const warnings = server.log.filter((line) => !line.includes('"level":30'));
      process.stderr.write(`${life.done.join('; ')}\n${warnings.join('\n')}\n`);
      throw error;
    }
  });
}

/** A client pushes in one of its ways. */
async function push(): Promise<void> {
  const { port } = backup.site;
  const how = random.pick(['user', 'user', 'all', 'rolling', 'mailbox', 'killed', 'not at all']);
  life.done.push(`push ${how}`);
  if (how === 'user') await cyrus.sync(['-u', random.pick(life.users)], { port });
  if (how === 'all') await cyrus.sync(['-A'], { port });
  if (how === 'mailbox') await cyrus.sync(['-m', `user/${random.pick(life.users)}`], { port });
  if (how === 'rolling') {
    const client = cyrus.rolling({ port });
    await pause(random.int(1500, 4000));
    await client.stop();
  }
  if (how === 'killed') {
    // One that has lost its server may try for long.
    const run = cyrus.tool(
      'sync_client',
      cyrus.clientConf({ port }),
      ['-n', 'backup', '-v', '-o', '-A'],
      5000,
    );
    await pause(random.int(5, 400));
    await server.kill();
    await run;
    server = await backup.site.start();
  }
}

async function maintain(): Promise<void> {
  const what = random.pick(['compact', 'compact', 'reindex', 'verify', 'restart', 'nothing', 'nothing']);
  life.done.push(what);
  if (what === 'compact') {
    if (RETENTION_SECONDS < 10) await pause(random.int(0, 1000 * RETENTION_SECONDS));
    const said = await backup.cliOk(['compact', '-A', '--json', '--force', '--wait']);
    for (const line of said.toString().trim().split('\n')) {
      const report = JSON.parse(line) as { type: string };
      if (report.type === 'backup') expect(report).toMatchObject({ keptAll: null, damagedPath: null });
    }
  }
  if (what === 'reindex') await backup.cliOk(['reindex', '-A', '--wait']);
  if (what === 'verify') await backup.cliOk(['verify', '-A', '--wait']);
  if (what === 'restart') {
    expect(await server.stop()).toBe(0);
    server = await backup.site.start();
  }
}

/** After a run over all, a second one finds nothing to send; what is here is what the mail server shows, and showed. */
async function expectAllIsHere(): Promise<void> {
  await cyrus.sync(['-A'], { port: backup.site.port });
  proxy.clear();
  await cyrus.sync(['-A'], { port: proxy.port });
  // The quota of a user who has another name now is never taken away.
  expect(proxy.applies.filter((command) => !command.startsWith('UNQUOTA'))).toEqual([]);
  await backup.cliOk(['verify', '-A', '--wait']);

  const time = Math.floor(Date.now() / 1000);
  const files = new Map((await backup.listed()).map(({ userid, path }) => [userid, path]));
  for (const user of life.users) {
    const dataPath = files.get(user)!;
    const view = await viewOf(cyrus, user);
    expect(await stored(dataPath, { kind: 'latest' }), user).toEqual(view);
    const moments = past.get(user) ?? [];
    for (const moment of moments) {
      expect(
        await stored(dataPath, { kind: 'time', time: moment.time }),
        `${user} at ${moment.time}`,
      ).toEqual(moment.view);
    }
    if (RETENTION_SECONDS >= 3600) past.set(user, [...moments.slice(-4), { time, view }]);
  }
  while (Math.floor(Date.now() / 1000) === time) await pause(20);
}

function stored(dataPath: string, moment: Moment): Promise<View> {
  const config = loadConfig({ file: backup.site.configFile });
  return withSource(dataPath, { config, moment, remark: () => {} }, viewOfSource);
}
