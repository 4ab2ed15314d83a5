import os from 'node:os';
import { Gauge, Registry } from 'prom-client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MetricsEndpoint } from '../../src/metrics/endpoint.ts';

let endpoint: MetricsEndpoint;
let url: string;
let problem: string | undefined;
let collects: number;

beforeEach(async () => {
  const registry = new Registry();
  const gauge = new Gauge({ name: 'csync_backup_x', help: 'X.', registers: [registry] });
  problem = undefined;
  collects = 0;
  endpoint = new MetricsEndpoint({
    registry,
    collect: async () => gauge.set(++collects),
    health: () => problem,
    worst: async (limit) => (problem === undefined ? { limit } : undefined),
  });
  const { port } = await endpoint.listen({ host: '127.0.0.1', port: 0 });
  url = `http://127.0.0.1:${port}`;
});
afterEach(() => endpoint.stop());

test('brings the metrics up to date at each scrape', async () => {
  const answer = await fetch(`${url}/metrics`);
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0.0.4/);
  expect(await answer.text()).toContain('csync_backup_x 1');
  expect(await (await fetch(`${url}/metrics?a=b`)).text()).toContain('csync_backup_x 2');
});

test('says whether all is well', async () => {
  const well = await fetch(`${url}/healthz`);
  expect([well.status, await well.text()]).toEqual([200, 'ok\n']);
  problem = 'stopping';
  const ill = await fetch(`${url}/healthz`);
  expect([ill.status, await ill.text()]).toEqual([503, 'stopping\n']);
});

test('offers nothing else', async () => {
  expect((await fetch(`${url}/`)).status).toBe(404);
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405);
  expect((await fetch(`${url}//evil`)).status).toBe(404);
  expect(collects).toBe(0);
});

test('a failing collection is an answer, and no crash', async () => {
  const failing = new MetricsEndpoint({
    registry: new Registry(),
    collect: () => Promise.reject(new Error('no figures')),
    health: () => undefined,
  });
  const { port } = await failing.listen({ host: '127.0.0.1', port: 0 });
  const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
  expect([answer.status, await answer.text()]).toEqual([500, 'no figures\n']);
  await failing.stop();
});

test('an address in use is an error', async () => {
  const other = new MetricsEndpoint({
    registry: new Registry(),
    collect: () => Promise.resolve(),
    health: () => undefined,
  });
  const port = Number(new URL(url).port);
  await expect(other.listen({ host: '127.0.0.1', port })).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test('the worst backups are for this machine only, and so many as asked for', async () => {
  expect(await (await fetch(`${url}/worst`)).json()).toEqual({ limit: 20 });
  expect(await (await fetch(`${url}/worst?n=3`)).json()).toEqual({ limit: 3 });
  expect((await fetch(`${url}/worst?n=0`)).status).toBe(400);
  problem = 'starting';
  expect((await fetch(`${url}/worst`)).status).toBe(503);
});

const outside = Object.values(os.networkInterfaces())
  .flat()
  .find((one) => one?.family === 'IPv4' && !one.internal)?.address;

test.skipIf(outside === undefined)('they are refused to whoever comes over the network', async () => {
  const open = new MetricsEndpoint({
    registry: new Registry(),
    collect: () => Promise.resolve(),
    health: () => undefined,
    worst: async () => ({ secret: 'anne' }),
  });
  const { port } = await open.listen({ host: '0.0.0.0', port: 0 });
  const answer = await fetch(`http://${outside}:${port}/worst`);
  expect(answer.status).toBe(403);
  expect(await answer.text()).not.toContain('anne');
  expect((await fetch(`http://${outside}:${port}/metrics`)).status).toBe(200);
  await open.stop();
});
