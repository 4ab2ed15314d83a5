import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { selfSigned } from '../support/certificate.ts';
import { HttpCollector } from '../support/http-collector.ts';
import { BackupStore } from './backup-store.ts';
import { run } from './run.ts';

let gateway: HttpCollector;

beforeAll(async () => {
  gateway = await HttpCollector.start();
});

beforeEach(() => {
  gateway.requests.length = 0;
  gateway.answers = [202];
});

afterAll(() => gateway.stop());

/** Names and values of what was pushed, without the prefix. */
function pushed(body: string): Record<string, number> {
  const lines = body.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return Object.fromEntries(
    lines.map((line) => {
      const [name, value] = line.split(' ');
      return [name!.replace('csync_backup_command_', ''), Number(value)];
    }),
  );
}

test('a command that goes well says so, under job, instance and task', async () => {
  using store = new BackupStore().enter();
  const before = Date.now() / 1000;
  const { status, stderr } = await run([
    ...['verify', '-A', '-C', store.configFile],
    ...['--push-gateway', gateway.url('/gw/', 'anne:secret@')],
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const [request, ...more] = gateway.requests;
  expect(more).toEqual([]);
  expect(request).toMatchObject({
    method: 'POST',
    path: `/gw/metrics/job/csync-backup/instance/${os.hostname()}/task/verify`,
    headers: { authorization: `Basic ${Buffer.from('anne:secret').toString('base64')}` },
  });
  const { duration_seconds, end_timestamp_seconds, last_success_timestamp_seconds, ...rest } = pushed(
    request!.body,
  );
  expect(rest).toEqual({
    exit_status: 0,
    backups: 2,
    backups_ok: 2,
    backups_faulty: 0,
    backups_not_verified: 0,
    faults: 0,
    notices: 0,
  });
  expect(end_timestamp_seconds).toBeGreaterThanOrEqual(before);
  expect(last_success_timestamp_seconds).toBe(end_timestamp_seconds);
  expect(duration_seconds).toBeLessThan(60);
});

test('one that finds damage pushes its status, and leaves the last success as it is', async () => {
  using store = new BackupStore().enter();
  fs.truncateSync(store.carol, fs.statSync(store.carol).size - 20);
  const args = ['verify', '-A', '--dry-run', '-C', store.configFile, '--push-gateway', gateway.url()];
  expect((await run(args)).status).toBe(65);
  const values = pushed(gateway.requests[0]!.body);
  expect(values).toMatchObject({ exit_status: 65, backups_ok: 1, backups_faulty: 1 });
  expect(values).not.toHaveProperty('last_success_timestamp_seconds');
});

test('one that fails before it begins pushes too, when it has said why', async () => {
  using store = new BackupStore().enter();
  const { status, stderr } = await run([
    ...['compact', '-u', 'nobody', '-C', store.configFile],
    ...['--push-gateway', gateway.url('/metrics/job/nightly/instance/backup1')],
  ]);
  expect(status).toBe(65);
  expect(stderr).toMatch(/^csync-backup: NOT_FOUND: [^\n]*\n$/);
  expect(gateway.requests[0]!.path).toBe('/metrics/job/nightly/instance/backup1');
  expect(pushed(gateway.requests[0]!.body)).toMatchObject({ exit_status: 65 });
});

const SOME = expect.any(Number) as unknown as number;

test.each<[string, string[], Record<string, number>]>([
  ['compact', ['-A'], { backups: 2, backups_done: 2, failed: 0, freed_bytes: SOME }],
  ['drill', ['--scratch', os.tmpdir()], { backups_done: 2, drill_failures: 0, messages: SOME }],
  ['stat', ['-A'], { backups: 2, failed: 0, stored_bytes: SOME }],
  ['reconstruct', [], { catalog_entries: 2, catalog_entries_missing: 0, files_unreadable: 0 }],
  ['restore', ['-u', 'erik', '--to', 'tar:/dev/null', '--yes'], { messages_damaged: 0, mailboxes: SOME }],
])('%s has figures of its own', async (command, args, figures) => {
  using store = new BackupStore().enter();
  const result = await run([command, ...args, '-C', store.configFile, '--push-gateway', gateway.url()]);
  expect(result).toMatchObject({ status: 0, stderr: expect.not.stringMatching(/UNAVAILABLE|INTERNAL/) });
  expect(pushed(gateway.requests[0]!.body)).toMatchObject({ exit_status: 0, ...figures });
});

test('doctor and pull push what they can', async () => {
  using store = new BackupStore().enter();
  const of = ['-C', store.configFile, '--push-gateway', gateway.url()];
  const doctor = await run(['doctor', ...of]);
  const pull = await run(['pull', '-u', 'carol', ...of]);
  expect([doctor.status, pull.status]).toEqual([expect.any(Number), 64]);
  const [ofDoctor, ofPull] = gateway.requests.map(({ body }) => pushed(body));
  expect(ofDoctor).toMatchObject({ exit_status: doctor.status });
  expect(ofDoctor!.checks).toBeGreaterThan(5);
  expect(ofPull).toMatchObject({ exit_status: 64 });
});

test('the URL may come from the environment; a dry run of what changes something pushes nothing', async () => {
  using store = new BackupStore().enter();
  process.env.CSYNC_BACKUP_PUSH_GATEWAY = gateway.url();
  try {
    expect((await run(['compact', '-A', '--dry-run', '-C', store.configFile])).status).toBe(0);
    expect(gateway.requests).toEqual([]);
    expect((await run(['verify', '-A', '--dry-run', '-C', store.configFile])).status).toBe(0);
    expect(gateway.requests).toHaveLength(1);
  } finally {
    delete process.env.CSYNC_BACKUP_PUSH_GATEWAY;
  }
});

test('a gateway that refuses changes nothing of the result, and its password is not shown', async () => {
  using store = new BackupStore().enter();
  gateway.answers = [400];
  const args = ['verify', '-A', '-C', store.configFile];
  const result = await run([...args, '--push-gateway', gateway.url('', 'anne:secret@')]);
  expect(result).toEqual({
    status: 0,
    stdout: 'verify carol: ok\nverify erik: ok\n2 backups: 2 ok, 0 faulty; 0 faults, 0 notices\n',
    stderr: `csync-backup: UNAVAILABLE: cannot push metrics to ${gateway.url()}: it answered 400: it is not to be. What the command did stands; see that the Pushgateway runs and takes this URL\n`,
  });
  const none = await run([...args, '--push-gateway', 'http://127.0.0.1:1']);
  expect(none).toMatchObject({ status: 0, stdout: result.stdout });
  expect(none.stderr).toMatch(/^csync-backup: UNAVAILABLE: cannot push metrics to http:\/\/127\.0\.0\.1:1: /);
});

test('over TLS with the authorities of tls_server_ca_file', async () => {
  using store = new BackupStore().enter();
  const certificate = selfSigned(store.folder);
  const secure = await HttpCollector.start(certificate);
  const args = ['verify', '-u', 'erik', '-C', store.configFile, '--push-gateway', secure.url()];
  try {
    expect(await run(args)).toMatchObject({ status: 0, stderr: expect.stringMatching(/self-signed/) });
    fs.appendFileSync(store.configFile, `tls_server_ca_file: ${path.resolve(certificate.tls_server_cert)}\n`);
    expect(await run(args)).toMatchObject({ status: 0, stderr: '' });
    expect(secure.requests).toHaveLength(1);
  } finally {
    await secure.stop();
  }
});

test.each(['gateway:9091', 'ftp://gateway', 'http://'])('%s is no URL of a gateway', async (url) => {
  const { status, stderr } = await run(['verify', '-A', '--push-gateway', url]);
  expect(status).toBe(64);
  expect(stderr).toMatch(/It is no URL that begins with http/);
});
