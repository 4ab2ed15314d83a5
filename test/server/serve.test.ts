/** `csync-backup serve` as a process: signals, systemd, first start. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { BackupServer, BackupSite, ROOT } from '../support/backup-server.ts';
import { DatagramSocket } from '../support/datagram-socket.ts';
import { HAS_FFI } from '../support/ffi.ts';
import { CsyncWire } from '../support/wire.ts';
import { eventually, TLS_FIXTURES } from './harness.ts';

const LAUNCH = path.join(ROOT, 'src', 'cli', 'launch.cjs');
let site: BackupSite | undefined;
afterEach(() => site?.remove());

function logged(server: BackupServer, msg: string): Record<string, unknown> | undefined {
  const line = server.log.find((text) => text.includes(`"msg":"${msg}"`));
  return line === undefined ? undefined : (JSON.parse(line) as Record<string, unknown>);
}

test.runIf(HAS_FFI)('is told by signals to reload and to stop, and tells systemd', async () => {
  site = await BackupSite.create();
  const certificate = {
    tls_server_cert: path.join(site.dir, 'cert.pem'),
    tls_server_key: path.join(site.dir, 'key.pem'),
  };
  copyFileSync(path.join(TLS_FIXTURES, 'cert.pem'), certificate.tls_server_cert);
  copyFileSync(path.join(TLS_FIXTURES, 'key.pem'), certificate.tls_server_key);
  const notify = path.join(site.dir, 'notify');
  using systemd = new DatagramSocket(notify);
  const server = await site.start({ NOTIFY_SOCKET: notify });
  expect(logged(server, 'ready')).toMatchObject({ addresses: [`127.0.0.1:${site.port}`] });
  await eventually(() => systemd.receive()).toMatch(/^READY=1\nSTATUS=Accepting connections on 127/);

  const wire = await server.connect();
  expect(wire.greeting.lines).not.toContain('* STARTTLS');
  site.configure({ ...certificate, admins: 'nobody', backup_shards: '9' });
  server.child.kill('SIGHUP');
  await eventually(() => systemd.receive()).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);
  await eventually(() => systemd.receive()).toBe('READY=1');
  const again = await CsyncWire.connect(site.port);
  expect(again.greeting.lines).toContain('* STARTTLS');
  await again.login();
  expect((await again.command('RESTART')).final).toBe('NO IMAP_PERMISSION_DENIED Permission denied');
  await eventually(() =>
    logged(server, 'configuration, certificates and credentials reloaded'),
  ).toMatchObject({
    changed: ['admins', 'tls_server_cert', 'tls_server_key'],
    needsRestart: ['backup_shards'],
  });

  site.configure({ servername: 'changed', backup_nonsense: 'yes' });
  server.child.kill('SIGHUP');
  await eventually(() => logged(server, 'reload failed, the configuration stays as it was')).toBeDefined();
  expect((await CsyncWire.connect(site.port)).greeting.final).toContain(' backup.test ');

  server.child.kill('SIGTERM');
  expect((await wire.read()).final).toBe('* BYE csync-backup is shutting down');
  expect((await server.exited).status).toBe(0);
  const told: string[] = [];
  for (let state = systemd.receive(); state !== undefined; state = systemd.receive()) told.push(state);
  expect(told.at(-1)).toBe('STOPPING=1');
  expect(logged(server, 'stopped')).toBeDefined();
});

test('serves on sockets that systemd hands over', async () => {
  site = await BackupSite.create();
  const listening = net.createServer();
  await new Promise<void>((resolve) => listening.listen(0, '127.0.0.1', resolve));
  const { port } = listening.address() as net.AddressInfo;
  const { fd } = (listening as unknown as { _handle: { fd: number } })._handle;
  const child = spawn(
    '/bin/sh',
    [
      '-c',
      'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"',
      'sh',
      process.execPath,
      LAUNCH,
      'serve',
      '-C',
      site.configFile,
    ],
    { stdio: ['ignore', 'pipe', 'pipe', fd] },
  );
  const server = new BackupServer(site, child);
  await server.ready();
  listening.close();
  const wire = await CsyncWire.connect(port);
  expect(wire.greeting.final).toContain('backup.test');
  await expect(CsyncWire.connect(site.port)).rejects.toThrow('ECONNREFUSED');
  wire.destroy();
  expect(await server.stop()).toBe(0);
});

test('says what is wrong and exits when it cannot serve', async () => {
  site = await BackupSite.create();
  const taken = net.createServer();
  await new Promise<void>((resolve) => taken.listen(site!.port, '127.0.0.1', resolve));
  const { status, stderr } = await site.cli(['serve']);
  expect(status).toBe(69);
  expect(stderr).toContain('EADDRINUSE');
  taken.close();
});

test('without a configuration makes one user and shows the password once', async () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'csync-backup-first-'));
  try {
    // Where the ports of the embedded configuration are taken it ends by itself, after that.
    let started: string[] = [];
    const serve = async () => {
      const child = spawn(process.execPath, [LAUNCH, 'serve'], {
        cwd: dir,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let shown = '';
      child.stdout.on('data', (bytes: Buffer) => (shown += bytes.toString()));
      child.stderr.on('data', (bytes: Buffer) => {
        if (!bytes.includes('"msg":"ready"')) return;
        started = readFileSync(`/proc/${child.pid}/cmdline`, 'latin1').split('\0');
        child.kill('SIGTERM');
      });
      await once(child, 'close');
      return shown;
    };
    expect(await serve()).toMatch(/sync_authname: backup\n {2}sync_password: \S{24}\n/);
    expect(await serve()).toBe('');
    expect(started, 'begins anew, with less memory for what is new').toContain('--max-semi-space-size=1');
    expect(readdirSync(path.join(dir, 'var', 'csync-backup', 'conf'))).toContain('csync-backup.passwd');
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
