import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { isListening } from '../../src/cli/compat/backupd.ts';
import { BackupSite, ROOT } from '../support/backup-server.ts';

const BACKUPD = path.join(ROOT, 'src/cli/compat/backupd.cjs');
const READY_MS = 20_000;

/** The descriptor of a listening socket, as a parent hands it to its children. */
function descriptorOf(server: net.Server): number {
  return (server as unknown as { _handle: { fd: number } })._handle.fd;
}

describe('backupd', () => {
  let child: ChildProcess | undefined;
  let server: net.Server | undefined;
  let site: BackupSite | undefined;
  afterEach(() => {
    child?.kill('SIGKILL');
    server?.close();
    site?.remove();
  });

  /** Starts it with a listening socket as one of its descriptors; resolves when it greets on that socket. */
  async function start(
    stdio: (listener: number) => StdioOptions,
    env: NodeJS.ProcessEnv,
    args: string[] = [],
  ): Promise<string> {
    site = await BackupSite.create({ backup_metrics_listen: 'off', allowplaintext: 'no' });
    server = net.createServer();
    await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as net.AddressInfo;
    child = spawn(process.execPath, [BACKUPD, '-C', site.configFile, ...args], {
      stdio: stdio(descriptorOf(server)),
      env: { ...process.env, ...env },
      detached: true,
    });
    // What the parent has open of it must not accept in the child's place.
    server.close();
    const greeting = await new Promise<string>((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1');
      let text = '';
      socket.setEncoding('latin1').on('data', (piece: string) => {
        text += piece;
        if (!/^\* OK .*\r\n/m.test(text)) return;
        socket.destroy();
        resolve(text);
      });
      socket.on('error', reject);
      setTimeout(() => reject(new Error('no greeting')), READY_MS).unref();
    });
    return greeting;
  }

  async function end(signal: NodeJS.Signals): Promise<{ status: number | null; log: string }> {
    let log = '';
    child!.stderr?.setEncoding('utf8').on('data', (text: string) => (log += text));
    const ended = new Promise<number | null>((resolve) => child!.on('close', resolve));
    // To the whole group, as a terminal and Cyrus's master do.
    process.kill(-child!.pid!, signal);
    return { status: await ended, log };
  }

  test('serves on descriptor 4, where Cyrus’s master puts its socket, and ends on its SIGHUP', async () => {
    const greeting = await start((fd) => ['ignore', 'pipe', 'pipe', 'ignore', fd], {
      CYRUS_SERVICE: 'backupd',
      CYRUS_ID: '1',
    });
    expect(greeting).not.toContain('PLAIN');
    expect(await end('SIGHUP')).toMatchObject({ status: 0, log: expect.stringContaining('"msg":"stopped"') });
  });

  test('serves on descriptor 0 if that listens; -p 2 makes PLAIN safe', async () => {
    const greeting = await start((fd) => [fd, 'pipe', 'pipe'], {}, ['-U', '250', '-T', '60', '-p', '2']);
    expect(greeting).toContain('PLAIN');
    expect(await end('SIGTERM')).toMatchObject({
      status: 0,
      log: expect.stringContaining('"msg":"stopped"'),
    });
  });
});

test('a listening socket is told from other descriptors', async () => {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect(port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  const connected = (socket as unknown as { _handle: { fd: number } })._handle.fd;
  expect(isListening(descriptorOf(server))).toBe(true);
  expect(isListening(connected)).toBe(false);
  expect(isListening(9999)).toBe(false);
  socket.destroy();
  server.close();
});
