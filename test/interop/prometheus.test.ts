/** Debian's promtool looks at what we say, and Debian's Pushgateway takes what commands push. */
import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BackupStore } from '../cli/backup-store.ts';
import { run } from '../cli/run.ts';
import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { ask } from '../support/admin.ts';
import { BackupSite, freePort } from '../support/backup-server.ts';
import { until } from './harness/cyrus.ts';

/** What `promtool check metrics` has to say; '' if nothing. */
async function promtool(text: string): Promise<{ status: number | null; said: string }> {
  const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (piece: string) => (said += piece));
  const status = new Promise<number | null>((resolve, reject) => {
    child.on('error', () => reject(new Error('promtool is missing: apt-get install prometheus')));
    child.on('close', resolve);
  });
  child.stdin.end(text);
  return { status: await status, said };
}

test('promtool takes no exception to the metrics of a server that has done something of everything', async () => {
  const site = await BackupSite.create({ backup_verify_every: 'off' });
  let server = await site.start();
  try {
    const wire = await server.connect();
    for (const user of ['anne', 'bob']) {
      await wire.ok(`GET USER ${user}`);
      await wire.ok(`APPLY MESSAGE ${messageValue([user]).value}`);
      await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, [user])}`);
    }
    await wire.command('APPLY NONSENSE %(A B)');
    await wire.ok('EXIT');
    wire.destroy();
    // The first look at the health of all comes with the start.
    await server.stop();
    server = await site.start();
    const get = async () => await (await fetch(`http://127.0.0.1:${site.metricsPort}/metrics`)).text();
    const appears = (series: string) =>
      expect.poll(async () => (await get()).includes(series), { timeout: 20_000, interval: 100 }).toBe(true);
    for (const kind of ['compact', 'drill']) {
      await ask(site, 'run-maintenance', { kind });
      await appears(`maintenance_runs_total{task="${kind}",result="ok"} 1`);
    }
    await ask(site, 'run-maintenance', { kind: 'verify', userids: ['anne'] });
    await appears('maintenance_jobs_total{task="verify",result="ok"} 1');
    await appears('csync_backup_partition_compression_ratio{partition="default"}');
    const text = await get();
    expect(text.split('\n').length).toBeGreaterThan(500);
    expect(await promtool(text)).toEqual({ status: 0, said: '' });
    // Nobody's name is in it.
    expect(text).not.toMatch(/anne|bob/);
  } finally {
    await server.stop();
    site.remove();
  }
}, 60_000);

test('promtool would have taken exception', async () => {
  const bad = '# HELP a_seconds_count .\n# TYPE a_seconds_count counter\na_seconds_count{le="1"} 1\n';
  expect((await promtool(bad)).status).not.toBe(0);
});

describe('a real Pushgateway', () => {
  let url: string;
  let gateway: ChildProcess;

  beforeAll(async () => {
    const port = await freePort();
    url = `http://127.0.0.1:${port}`;
    gateway = spawn('prometheus-pushgateway', [`--web.listen-address=127.0.0.1:${port}`], {
      stdio: 'ignore',
    });
    gateway.on('error', () => {});
    await until('the Pushgateway is ready', async () =>
      (await get('/-/ready').catch(() => '')).includes('OK'),
    );
  });

  afterAll(() => {
    gateway.kill();
  });

  const get = async (what: string) => await (await fetch(`${url}${what}`)).text();
  const series = (text: string, name: string) => {
    const labels = `instance="${os.hostname()}",job="csync-backup",task="verify"`;
    const line = text.split('\n').find((one) => one.startsWith(`csync_backup_command_${name}{${labels}} `));
    return line === undefined ? undefined : Number(line.split(' ')[1]);
  };

  test('keeps the last success through a run that finds damage, and Prometheus can read it', async () => {
    using store = new BackupStore().enter();
    const args = ['verify', '-A', '--dry-run', '-C', store.configFile, '--push-gateway', url];
    expect(await run(args)).toMatchObject({ status: 0, stderr: '' });
    const first = await get('/metrics');
    const success = series(first, 'last_success_timestamp_seconds');
    expect(success).toBeGreaterThan(Date.now() / 1000 - 60);
    expect(series(first, 'exit_status')).toBe(0);
    fs.truncateSync(store.carol, fs.statSync(store.carol).size - 20);
    expect(await run(args)).toMatchObject({ status: 65, stderr: '' });
    const second = await get('/metrics');
    expect(series(second, 'exit_status')).toBe(65);
    expect(series(second, 'backups_faulty')).toBe(1);
    expect(series(second, 'last_success_timestamp_seconds')).toBe(success);
    const ours = second.split('\n').filter((line) => /csync_backup_/.test(line));
    expect(await promtool(`${ours.join('\n')}\n`)).toEqual({ status: 0, said: '' });
  });
});
