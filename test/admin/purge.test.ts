/** The server removes deleted backups whose retention is over, also when its process for that is killed in the middle. */
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { Catalog } from '../../src/store/catalog.ts';
import { formerKey } from '../../src/store/former-users.ts';
import { ask, verified } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { pushInbox } from '../support/push.ts';

const DAY = 86_400;
let site: BackupSite;
let server: BackupServer;
let keys: string[];
let paths: string[];

async function prepare(point: string): Promise<string> {
  site = await BackupSite.create({ backup_retention: '7d', backup_verify_every: 'off' });
  const flag = path.join(site.dir, 'crash');
  fs.writeFileSync(flag, '');
  server = await site.start({ CSYNC_BACKUP_CRASH_AT: point, CSYNC_BACKUP_CRASH_WHEN: flag });
  const wire = await server.connect();
  for (const user of ['old', 'young']) {
    await pushInbox(wire, user, [user]);
  }
  await wire.ok('EXIT');
  wire.destroy();
  const now = Math.floor(Date.now() / 1000);
  keys = [formerKey('old', now - 8 * DAY), formerKey('young', now - 6 * DAY)];
  const catalog = openCatalog();
  catalog.rename('old', keys[0]!);
  catalog.rename('young', keys[1]!);
  paths = keys.map((key) => catalog.get(key)!);
  catalog.close();
  return flag;
}

afterEach(async () => {
  await server.kill();
  site.remove();
});

function openCatalog(): Catalog {
  return new Catalog(path.join(site.dir, 'conf', 'backups.db'));
}

function entries(): Record<string, string> {
  const catalog = openCatalog();
  try {
    return Object.fromEntries(catalog.entries());
  } finally {
    catalog.close();
  }
}

/** All files of the partition that belong to backups. */
function files(): string[] {
  return fs
    .readdirSync(site.partition, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== '.freeze')
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

async function jobs(result: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${site.metricsPort}/metrics`)).text();
  const pattern = `csync_backup_maintenance_jobs_total\\{task="compact",result="${result}"\\} (\\d+)`;
  return Number(new RegExp(pattern).exec(text)?.[1] ?? 0);
}

const eventually = <T>(poll: () => T) => expect.poll(poll, { timeout: 20_000, interval: 30 });

// The command's own tests have the other steps.
test.each(['delete-staged', 'delete-catalog'])('killed at %s', async (point) => {
  const flag = await prepare(point);
  await ask(site, 'run-maintenance', { kind: 'compact' });
  await eventually(() => jobs('failed')).toBe(1);
  await eventually(() => jobs('unneeded')).toBe(1); // the younger one has its turn all the same
  fs.rmSync(flag);
  const young = [paths[1]!, `${paths[1]}.index`];
  if (point === 'delete-staged') {
    expect(Object.keys(entries()).sort()).toEqual([...keys].sort());
    await ask(site, 'run-maintenance', { kind: 'compact', userids: [keys[0]!] });
    await eventually(() => jobs('removed')).toBe(1);
    expect(files()).toEqual(young);
  } else {
    expect(files().length).toBeGreaterThan(young.length);
    expect(await server.stop()).toBe(0);
    server = await site.start();
  }
  expect(entries()).toEqual({ [keys[1]!]: paths[1] });
  expect(files()).toEqual(young);
  expect(await verified(site, keys[1]!)).toBe('0 faults, 0 notices');
});
