import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BackupServer, BackupSite, freePort, run } from '../support/backup-server.ts';
import { CsyncWire } from '../support/wire.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { seedUser } from './harness/mail.ts';
import { RecordingProxy } from './harness/proxy.ts';

describe('how Debian’s sync_client connects', () => {
  let cyrus: CyrusSite;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source']);
    await seedUser(cyrus, 'alice');
  });

  afterAll(() => cyrus?.close());

  async function serving(
    config: Record<string, string>,
    use: (server: BackupServer, proxy: RecordingProxy) => Promise<void>,
  ): Promise<void> {
    const site = await BackupSite.create(config);
    const server = await site.start();
    const proxy = await RecordingProxy.start(site.port, { keepCompress: true });
    try {
      await use(server, proxy);
    } finally {
      await proxy.close();
      await server.kill();
      site.remove();
    }
  }

  /** A certificate for localhost, signed by itself. */
  async function certificate(): Promise<Record<string, string>> {
    const [cert, key] = [path.join(cyrus.dir, 'tls.crt'), path.join(cyrus.dir, 'tls.key')];
    const made = await run('openssl', [
      ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '30', '-subj', '/CN=localhost'],
      ...['-keyout', key, '-out', cert],
    ]);
    if (made.status !== 0) throw new Error(made.stderr);
    return { tls_server_cert: cert, tls_server_key: key };
  }

  test('by itself it takes SCRAM-SHA-256 and COMPRESS', () =>
    serving({}, async (server, proxy) => {
      await cyrus.sync(['-u', 'alice'], { port: proxy.port });
      expect(proxy.commands[0]!.command).toMatch(/^AUTHENTICATE SCRAM-SHA-256 /);
      expect(proxy.commands[3]).toMatchObject({ command: 'COMPRESS DEFLATE', kind: 'OK' });
      proxy.clear();
      await cyrus.sync(['-u', 'alice'], { port: proxy.port });
      const wire = await CsyncWire.connect(server.site.port);
      await wire.login();
      expect((await wire.ok('GET USER alice')).lines.filter((l) => l.startsWith('* MAILBOX'))).toHaveLength(
        6,
      );
      wire.destroy();
    }));

  for (const mechanism of ['PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256']) {
    test(`logs in by ${mechanism} where that is forced`, () =>
      serving({}, async (_, proxy) => {
        await cyrus.sync(['-u', 'alice'], { port: proxy.port, mechanism });
        expect(proxy.commands[0]!.command).toMatch(new RegExp(`^AUTHENTICATE ${mechanism}( |$)`));
      }));
  }

  test('a wrong password is refused, again and again', () =>
    serving({ failedloginpause: '1s' }, async (server, proxy) => {
      // sync_client never gives up; it is ended by the time-out.
      const conf = cyrus.clientConf({ port: proxy.port, options: { backup_sync_password: 'wrong' } });
      const done = await cyrus.tool('sync_client', conf, ['-n', 'backup', '-v', '-o', '-u', 'alice'], 6000);
      expect(done.signal).toBe('SIGKILL');
      expect(proxy.commands.some((c) => c.kind === 'NO')).toBe(true);
      expect(proxy.commands.filter((c) => /^(GET|APPLY)/.test(c.command))).toEqual([]);
      const { stdout } = await server.site.cli(['list', '--json']);
      expect(stdout.toString()).toBe('');
    }));

  test('an account that is no admin may do nothing', () =>
    serving({ admins: 'somebody' }, async (_, proxy) => {
      const done = await cyrus.sync(['-u', 'alice'], { port: proxy.port }, 1);
      expect(`${done.stdout}${done.stderr}`).not.toContain('MAILBOX user.alice');
    }));

  test('TLS is enforced by what is offered before it', async () => {
    const tls = await certificate();
    await serving({ ...tls, backup_tls_required: 'yes' }, async (server, proxy) => {
      const wire = await CsyncWire.connect(server.site.port);
      expect(wire.greeting.lines).toContain('* STARTTLS');
      expect(wire.greeting.lines.join()).not.toContain('SASL');
      wire.destroy();
      await cyrus.sync(['-u', 'alice'], { port: proxy.port });
      expect(proxy.commands[0]!.command).toBe('STARTTLS');
      expect(proxy.fromServer(0).includes('SASL')).toBe(false);
      const check = await CsyncWire.connect(server.site.port);
      await check.startTls();
      await check.login();
      expect((await check.ok('GET USER alice')).lines.filter((l) => l.startsWith('* MAILBOX'))).toHaveLength(
        6,
      );
      check.destroy();
    });
  });

  test('TLS from the first byte, with COMPRESS inside it', async () => {
    const [plainPort, tlsPort] = [await freePort(), await freePort()];
    const listen = `127.0.0.1:${plainPort} 127.0.0.1:${tlsPort}/tls`;
    const site = await BackupSite.create({ ...(await certificate()), backup_listen: listen });
    const server = await site.start();
    try {
      const options = { backup_sync_host: `127.0.0.1:${tlsPort}/tls` };
      await cyrus.sync(['-u', 'alice'], { port: tlsPort, options });
      const began = performance.now();
      await cyrus.sync(['-u', 'alice'], { port: tlsPort, options });
      // It first tries IMAP, which must not cost it the ten seconds that it would wait for an answer.
      expect(performance.now() - began).toBeLessThan(9000);
      const check = await CsyncWire.connect(tlsPort, { tls: true });
      await check.login();
      const { lines } = await check.ok('GET USER alice');
      expect(lines.filter((line) => line.startsWith('* MAILBOX'))).toHaveLength(6);
      check.destroy();
      const ended = server.log.filter((line) => line.includes('"session ended"'));
      expect(ended.map((line) => JSON.parse(line)).slice(0, 2)).toMatchObject([
        { tls: true, compressed: true },
        { tls: true, compressed: true },
      ]);
    } finally {
      await server.kill();
      site.remove();
    }
  });

  test('a client that tries IMAP first loses no ten seconds', () =>
    serving({}, async (_, proxy) => {
      const options = { backup_sync_try_imap: '1' };
      await cyrus.sync(['-u', 'alice'], { port: proxy.port, options });
      expect(proxy.commands[0]).toMatchObject({ command: 'C01 CAPABILITY', kind: 'BAD' });
      expect(proxy.commands.at(-1)!.command).not.toBe('C01 CAPABILITY');
    }));
});
