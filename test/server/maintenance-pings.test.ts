import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createMetrics } from '../../src/metrics/registry.ts';
import { MaintenancePings } from '../../src/server/admin/maintenance-pings.ts';
import { HttpCollector } from '../support/http-collector.ts';

let server: HttpCollector;
let metrics: ReturnType<typeof createMetrics>;
let lines: Record<string, unknown>[];
let pingUrl: string | undefined;

beforeAll(async () => {
  server = await HttpCollector.start();
});

beforeEach(() => {
  server.requests.length = 0;
  server.answers = [200];
  metrics = createMetrics();
  lines = [];
  pingUrl = server.url('/KEY/backup-{task}?rid=1');
});

afterAll(() => server.stop());

function pings(retriesMs: number[] = [10, 20], timeoutMs = 5000): MaintenancePings {
  const log = pino({ level: 'debug' }, { write: (line: string) => lines.push(JSON.parse(line)) });
  return new MaintenancePings({ config: () => ({ pingUrl }), metrics, log, retriesMs, timeoutMs });
}

async function counted(): Promise<Record<string, number>> {
  const { values } = await metrics.maintenancePings.get();
  return Object.fromEntries(values.map(({ labels, value }) => [`${labels.task} ${labels.result}`, value]));
}

const soon = <T>(poll: () => T) => expect.poll(poll, { timeout: 10_000, interval: 10 });

test('a success is told, under the name of the task', async () => {
  pings().succeeded('compact');
  await soon(counted).toEqual({ 'compact ok': 1 });
  expect(server.requests).toMatchObject([{ method: 'GET', path: '/KEY/backup-compact?rid=1', body: '' }]);
});

test('without backup_ping_url nobody is told', async () => {
  pingUrl = undefined;
  const some = pings();
  some.succeeded('compact');
  some.verified(0);
  expect(await counted()).toEqual({});
});

test('it is tried again, and then told once', async () => {
  server.answers = [500, 'cut', 200];
  pings().succeeded('drill');
  await soon(counted).toEqual({ 'drill ok': 1 });
  expect(server.requests).toHaveLength(3);
});

test.each([
  ['refuses', 404, 'UNAVAILABLE'],
  ['hangs', 'hang', 'TIMED_OUT'],
] as const)('one that %s is given up, which the log and a metric say', async (_, answer, code) => {
  server.answers = [answer];
  // The server of the test runs in this very thread: on a busy machine it takes a while to see a request.
  pings([5, 5], answer === 'hang' ? 500 : 5000).succeeded('compact');
  await soon(counted).toEqual({ 'compact failed': 1 });
  expect(server.requests).toHaveLength(3);
  expect(lines).toMatchObject([{ level: 40, task: 'compact', tries: 3, code }]);
  expect(JSON.stringify(lines)).not.toContain('KEY');
});

test('nobody there', async () => {
  pingUrl = 'http://127.0.0.1:1/';
  pings().succeeded('pull');
  await soon(counted).toEqual({ 'pull failed': 1 });
});

test('a newer success takes the place of one that could not be told; the end is the end', async () => {
  server.answers = [500];
  const some = pings([60_000]);
  some.succeeded('compact');
  await soon(() => server.requests.length).toBe(1);
  server.answers = [200];
  some.succeeded('compact');
  await soon(counted).toEqual({ 'compact ok': 1 });
  expect(server.requests).toHaveLength(2);
  server.answers = [500];
  some.succeeded('drill');
  await soon(() => server.requests.length).toBe(3);
  some.stop();
  expect(lines.filter(({ level }) => Number(level) >= 40)).toEqual([]);
});

test('verification is told once an hour, and not while a backup is known to be damaged', async () => {
  const hour = 3600_000;
  const some = pings();
  for (const ms of [0, 1000, hour - 1]) some.verified(ms);
  await soon(counted).toEqual({ 'verify ok': 1 });
  some.faulty = 1;
  some.verified(hour);
  some.faulty = 0;
  some.verified(hour + 1);
  some.verified(hour + 2);
  await soon(counted).toEqual({ 'verify ok': 2 });
  expect(server.requests).toHaveLength(2);
});
