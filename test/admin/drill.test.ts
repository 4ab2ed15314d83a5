import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mailboxValue } from '../store/support/store-rig.ts';
import { ask, dataPathOf } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create({ backup_drill_every: '1d', backup_verify_every: 'off' });
  server = await site.start();
}, 60_000);

afterAll(async () => {
  await server.kill();
  site.remove();
});

async function push(user: string): Promise<void> {
  const content = Buffer.from(`Subject: of ${user}\r\n\r\n${'text '.repeat(500)}`);
  const guid = createHash('sha1').update(content).digest('hex');
  const wire = await server.connect();
  await wire.ok(`GET USER ${user}`);
  await wire.ok(`APPLY MESSAGE (%{default ${guid} ${content.length}}\r\n`, content, ')');
  const record = `%(UID 1 MODSEQ 2 LAST_UPDATED 1700000000 FLAGS (\\Seen) INTERNALDATE 1700000000 SIZE ${content.length} GUID ${guid})`;
  const value = mailboxValue(`user.${user}`, []).replace('RECORD ()', `RECORD (${record})`);
  await wire.ok(`APPLY MAILBOX ${value.replace('LAST_UID 0', 'LAST_UID 1')}`);
  await wire.ok('EXIT');
  wire.destroy();
}

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${site.metricsPort}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`csync_backup_${name} `));
  return Number(line?.split(' ')[1] ?? 0);
}

const eventually = <T>(poll: () => T) => expect.poll(poll, { timeout: 20_000, interval: 50 });
const LAST_SUCCESS = 'maintenance_last_success_timestamp_seconds{task="drill"}';

test('a drill of the server: one that shows nothing, one that succeeds, one that finds damage', async () => {
  // It was due at once, and there was nothing to compare.
  await eventually(() => metric('drill_runs_total{result="incomplete"}')).toBe(1);
  expect(await metric(LAST_SUCCESS)).toBe(0);

  for (const user of ['anne', 'bob']) await push(user);
  await ask(site, 'run-maintenance', { kind: 'drill' });
  await eventually(() => metric('drill_runs_total{result="ok"}')).toBe(1);
  expect(await metric('drill_messages_total')).toBe(2);
  expect(await metric('drill_failures_total')).toBe(0);
  const success = await metric(LAST_SUCCESS);
  expect(Math.abs(success - Date.now() / 1000)).toBeLessThan(30);
  const { runs } = (await ask(site, 'maintenance')) as unknown as { runs: { kind: string; next: string }[] };
  const next = Date.parse(runs.find(({ kind }) => kind === 'drill')!.next);
  expect(Math.abs(next - Date.now() - 86_400_000)).toBeLessThan(60_000);

  // What restore can go around is no failure, but it is said.
  const bobs = dataPathOf(site, 'bob');
  const state = new Database(`${bobs}.index`);
  const committed = state.prepare("SELECT value FROM cb_state WHERE name = 'committed_end'").pluck().get();
  state.prepare("UPDATE cb_state SET value = value + 1000000 WHERE name = 'committed_end'").run();
  await ask(site, 'run-maintenance', { kind: 'drill', userids: ['bob'] });
  await eventually(() => metric('drill_messages_total')).toBe(3);
  await eventually(() => server.log.some((one) => one.includes('in a roundabout way'))).toBe(true);
  state.prepare("UPDATE cb_state SET value = ? WHERE name = 'committed_end'").run(committed);
  state.close();

  const dataPath = dataPathOf(site, 'anne');
  const bytes = fs.readFileSync(dataPath);
  bytes.fill(0xff, 60, 90);
  fs.writeFileSync(dataPath, bytes);
  await ask(site, 'run-maintenance', { kind: 'drill' });
  await eventually(() => metric('drill_runs_total{result="faulty"}')).toBe(1);
  expect(await metric('drill_failures_total')).toBe(1);
  expect(await metric(LAST_SUCCESS)).toBe(success);
  const line = server.log.find((one) => one.includes('a restore drill did not get everything back'));
  expect(JSON.parse(line!)).toMatchObject({
    level: 50,
    kind: 'drill',
    userid: 'anne',
    faults: 1,
    code: 'missing',
  });
  const staging = path.join(site.dir, 'staging');
  expect(
    fs.existsSync(staging) ? fs.readdirSync(staging).filter((name) => name.startsWith('drill-')) : [],
  ).toEqual([]);
}, 60_000);
