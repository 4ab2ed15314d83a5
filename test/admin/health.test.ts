import { readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { mailboxValue } from '../store/support/store-rig.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';

let site: BackupSite;
let server: BackupServer;

beforeAll(async () => {
  site = await BackupSite.create();
  server = await site.start();
  for (const user of ['anne', 'bob']) await push(user);
  // The first look comes with the start; the next would be a minute later.
  await server.stop();
  server = await site.start();
}, 60_000);

afterAll(async () => {
  await server.kill();
  site.remove();
});

async function push(user: string): Promise<void> {
  const wire = await server.connect();
  await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, [])}`);
  await wire.ok('EXIT');
  wire.destroy();
}

const get = async (what: string) => await (await fetch(`http://127.0.0.1:${site.metricsPort}${what}`)).text();

async function metric(series: string): Promise<number | undefined> {
  const line = (await get('/metrics')).split('\n').find((one) => one.startsWith(`csync_backup_${series} `));
  return line === undefined ? undefined : Number(line.split(' ')[1]);
}

function storedBytes(): number {
  const files = readdirSync(site.partition, { recursive: true, encoding: 'utf8' });
  const data = files.filter((file) => /\/[ab][^/]*_[^./]+$/.test(file));
  expect(data).toHaveLength(2);
  return data.reduce((sum, file) => sum + statSync(path.join(site.partition, file)).size, 0);
}

test('the health of the backups and the room of the partitions are in the metrics', async () => {
  await expect.poll(() => metric('backups{state="live"}'), { timeout: 20_000, interval: 100 }).toBe(2);
  expect(await metric('backups{state="unsurveyed"}')).toBe(0);
  expect(await metric('backup_age_seconds_bucket{le="600"}')).toBe(2);
  expect(await metric('backup_age_seconds_count')).toBe(2);
  expect(await metric('stale_backups{older_than="1d"}')).toBe(0);
  expect(await metric('partition_backups{partition="default"}')).toBe(2);
  expect(await metric('partition_stored_bytes{partition="default"}')).toBe(storedBytes());
  expect(await metric('partition_content_bytes{partition="default"}')).toBeGreaterThan(storedBytes() / 2);
  expect(await metric('partition_readable{partition="default"}')).toBe(1);
  const size = await metric('partition_size_bytes{partition="default"}');
  expect(await metric('partition_free_bytes{partition="default"}')).toBeLessThan(size!);
});

test('threads, their waiting times and the heap are in the metrics', async () => {
  await push('anne');
  for (const thread of ['main', 'store0', 'deflate0', 'health']) {
    const of = `{thread="${thread}"`;
    expect(await metric(`thread_active_seconds_total${of}}`), thread).toBeGreaterThan(0);
    expect(await metric(`thread_cpu_seconds_total${of}}`), thread).toBeGreaterThan(0);
    expect(await metric(`heap_bytes${of},area="used"}`), thread).toBeGreaterThan(1e6);
    // A thread looks once a second.
    await expect
      .poll(() => metric(`event_loop_delay_seconds_count${of}}`), { timeout: 20_000, interval: 100 })
      .toBeGreaterThan(0);
    expect(await metric(`gc_seconds_count${of},kind="major"}`), thread).toBeGreaterThanOrEqual(0);
  }
  expect(await metric('store_request_wait_seconds_count')).toBeGreaterThan(0);
  const within = await metric('event_loop_delay_seconds_bucket{le="0.02",thread="store0"}');
  expect(within).toBeLessThanOrEqual((await metric('event_loop_delay_seconds_count{thread="store0"}'))!);
});

test('/worst names backups, with what was stored and asked since', async () => {
  const before = Date.now();
  await push('anne');
  await get('/metrics'); // has the store threads tell
  const worst = JSON.parse(await get('/worst?n=1'));
  expect(Object.keys(worst)).toEqual(['time', 'stale', 'faulty', 'unverified', 'largest']);
  expect(worst.stale).toMatchObject([{ userid: 'bob', contactedAt: null, verifiedAt: null, faults: 0 }]);
  const all = JSON.parse(await get('/worst'));
  expect(all.stale.map(({ userid }: { userid: string }) => userid)).toEqual(['bob', 'anne']);
  expect(Date.parse(all.stale[1].contactedAt)).toBeGreaterThanOrEqual(before - 1);
  expect(all.stale[1].sizeBytes).toBe(statSync(all.stale[1].path).size);
  expect(readFileSync(all.stale[1].path).length).toBe(all.stale[1].sizeBytes);
  for (const n of ['0', '1001', 'x', '-1']) expect(await get(`/worst?n=${n}`)).toMatch(/^n has to be/);
});

test('what a kill takes of it is found again at the next start', async () => {
  await push('anne');
  const wire = await server.connect();
  await wire.ok(`APPLY MAILBOX ${mailboxValue('user.anne.New', [])}`);
  await wire.ok('RESTART');
  wire.destroy();
  await server.kill();
  server = await site.start();
  await expect.poll(() => metric('backups{state="live"}'), { timeout: 20_000, interval: 100 }).toBe(2);
  expect(await metric('partition_stored_bytes{partition="default"}')).toBe(storedBytes());
  const { stale } = JSON.parse(await get('/worst'));
  const anne = stale.find(({ userid }: { userid: string }) => userid === 'anne');
  expect(anne.sizeBytes).toBe(statSync(anne.path).size);
});
