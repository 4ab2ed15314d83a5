import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ask } from '../support/admin.ts';
import { type BackupServer, type Finished, freePort, run } from '../support/backup-server.ts';
import { selfSigned } from '../support/certificate.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { expectSameMail } from './harness/expect.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

let folder: string;
let certificate: { tls_server_cert: string; tls_server_key: string };
let cyrus: CyrusSite;
let backup: SharedBackup;
let server: BackupServer;
let proxy: RecordingProxy;

beforeAll(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'csync-admin-'));
  certificate = selfSigned(folder);
  await run('chown', ['-R', 'cyrus', folder]);
  const port = await freePort();
  cyrus = await CyrusSite.start(['source'], port, certificate);
  const password = path.join(folder, 'password');
  writeFileSync(password, `${ADMIN.password}\n`, { mode: 0o600 });
  backup = await SharedBackup.create(cyrus, {
    backup_listen: `127.0.0.1:${port}`,
    backup_idle_release: '1s',
    backup_pull_servers: `localhost:${cyrus.ports('source').imap}`,
    backup_pull_channel: 'backup',
    backup_pull_authname: ADMIN.user,
    backup_pull_password_file: password,
    tls_server_ca_file: certificate.tls_server_cert,
  });
  server = await backup.site.start();
  proxy = await RecordingProxy.start(port);
  for (const user of ['alice', 'dora.m']) await seedUser(cyrus, user);
  await seedShared(cyrus, ['alice']);
  await cyrus.sync(['-A'], { port });
});

afterAll(async () => {
  await proxy?.close();
  await server?.kill();
  backup?.site.remove();
  await cyrus?.close();
  rmSync(folder, { recursive: true, force: true });
});

const imapPort = (): number => cyrus.ports('source').imap;
const csyncPort = (): number => Number(server.log.join('\n').match(/"addresses":\["127\.0\.0\.1:(\d+)"/)![1]);
const pull = (...args: string[]): Promise<Finished> => backup.site.cli(['pull', ...args]);

describe('pull', () => {
  test('what is old, through a real imapd with STARTTLS, shows each answer', async () => {
    await change(cyrus, 'alice', 'new');
    await sleep(1100);
    const { status, stdout, stderr } = await pull('--older-than', '1s');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const lines = stdout.toString().trim().split('\n');
    expect(lines).toEqual([
      `localhost:${imapPort()}: OK MAILBOX shared`,
      `localhost:${imapPort()}: OK MAILBOX shared/announce`,
      `localhost:${imapPort()}: OK USER alice`,
      `localhost:${imapPort()}: OK USER dora.m`,
      '3 backups: 3 pulled, 0 failed',
    ]);
    await expectSameMail(cyrus, csyncPort(), ['alice', 'dora.m']);
  });

  test('nothing that is fresh, and nothing in a dry run', async () => {
    await change(cyrus, 'alice', 'new');
    expect((await pull()).stdout.toString()).toBe('0 backups: 0 pulled, 0 failed\n');
    const dry = await pull('-u', 'alice', '--dry-run', '--json');
    expect(dry.stdout.toString()).toMatch(/^\{"type":"stale","userid":"alice","updatedAt":"\d{4}-/);
    const done = await pull('-u', 'alice', '--json');
    const lines = done.stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      { type: 'answer', userid: 'alice', line: 'OK USER alice' },
      { type: 'pulled', userid: 'alice', server: `localhost:${imapPort()}` },
      { type: 'summary', backups: 1, pulled: 1, failed: 0 },
    ]);
    await expectSameMail(cyrus, csyncPort(), ['alice']);
  });

  test('says what is wrong', async () => {
    const wrong = path.join(folder, 'wrong');
    writeFileSync(wrong, 'no\n', { mode: 0o600 });
    const cases: [string[], string][] = [
      [['--password-file', wrong], 'CREDENTIALS_INVALID: alice'],
      [['--server', `127.0.0.1:${imapPort()}`], 'no TLS with it'],
      [['--server', `localhost:${await freePort()}`], 'ECONNREFUSED'],
      [['--channel', 'nowhere'], 'UNAVAILABLE: alice'],
    ];
    for (const [args, text] of cases) {
      const { status, stderr } = await pull('-u', 'alice', ...args);
      expect([status, stderr]).toEqual([69, expect.stringContaining(text)]);
    }
    const admin = await cyrus.imap();
    await admin.command('SETACL "user/dora.m" backup lrswipkxtecda');
    await admin.command('RENAME "user/dora.m" "user/doris"');
    await admin.logout();
    const gone = await pull('-u', 'dora.m');
    expect([gone.status, gone.stderr]).toEqual([69, expect.stringContaining('NOT_FOUND: dora.m')]);
  });

  test('by the server', async () => {
    await change(cyrus, 'alice', 'new');
    await backup.cliOk(['maintenance', 'run', 'pull', '-u', 'alice']);
    await until('the server has pulled', async () => {
      const text = await (await fetch(`http://127.0.0.1:${backup.site.metricsPort}/metrics`)).text();
      return text.includes('csync_backup_maintenance_jobs_total{task="pull",result="ok"} 1');
    });
    await expectSameMail(cyrus, csyncPort(), ['alice']);
  });
});

describe('freeze, with real clients', () => {
  test('a sync_client that comes meanwhile waits, and succeeds', async () => {
    await change(cyrus, 'alice', 'new');
    await ask(backup.site, 'freeze', { forSeconds: 60 });
    let isDone = false;
    const synced = cyrus.sync(['-u', 'alice'], { port: csyncPort() }).then(() => {
      isDone = true;
    });
    await sleep(3000);
    expect(isDone).toBe(false);
    await backup.cliOk(['verify', '-A']);
    await ask(backup.site, 'thaw');
    await synced;
    await expectSameMail(cyrus, csyncPort(), ['alice']);
  });

  test('a rolling one goes on with the same connection', async () => {
    const client = cyrus.rolling({ port: proxy.port });
    try {
      await until('it is connected', () => proxy.commands.length > 0);
      await change(cyrus, 'alice', 'flags');
      await until('it pushes', () => proxy.applies.some((c) => c.startsWith('MAILBOX')));
      await ask(backup.site, 'freeze', { forSeconds: 60 });
      proxy.clear();
      await change(cyrus, 'alice', 'new');
      await sleep(4000);
      expect(
        proxy.commands.filter(({ kind, command }) => kind !== '' && /^(APPLY|GET)/.test(command)),
      ).toEqual([]);
      await ask(backup.site, 'thaw');
      await until('it pushes again', () => proxy.applies.some((c) => c.startsWith('MAILBOX')));
      await until('all is answered', () => proxy.commands.every(({ kind }) => kind !== ''));
      expect(proxy.commands.filter(({ kind }) => /^(NO|BAD)/.test(kind))).toEqual([]);
      expect(proxy.connections).toBe(1);
    } finally {
      await client.stop();
    }
  });
});
