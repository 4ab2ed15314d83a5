/** What options of the configuration make of a server that really runs, where no other test needs them. */
import { copyFileSync, readdirSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterEach, expect, test } from 'vitest';
import { hashFolder } from '../../src/store/partition.ts';
import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import { allFaults, dataPathOf } from '../support/admin.ts';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { selfSigned } from '../support/certificate.ts';
import { CsyncWire } from '../support/wire.ts';
import { eventually } from './harness.ts';

const TLS_FIXTURES = path.join(import.meta.dirname, '..', 'fixtures', 'tls');

let site: BackupSite | undefined;
let server: BackupServer | undefined;
afterEach(async () => {
  await server?.kill();
  site?.remove();
  server = site = undefined;
});

async function serve(options: Record<string, string>): Promise<BackupServer> {
  site = await BackupSite.create(options);
  server = await site.start();
  return server;
}

/** One mailbox with one message more than before; what comes after the MAILBOX is up to the caller. */
async function push(wire: CsyncWire, user: string, contents: string[]): Promise<void> {
  await wire.ok(`GET USER ${user}`);
  await wire.ok(`APPLY MESSAGE ${messageValue(contents.slice(-1)).value}`);
  await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, contents)}`);
}

/** Of one series, with all its labels. */
async function series(name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${site!.metricsPort}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`csync_backup_${name} `));
  return Number(line?.split(' ').at(-1));
}

async function syncs(): Promise<number> {
  return await server!.metric('csync_backup_store_syncs_total');
}

test.each([
  ['ack', 'before the OK to the change', 1, 1],
  ['restart', 'before the OK to RESTART', 0, 1],
  ['none', 'never', 0, 0],
] as const)(
  'backup_durability: %s, data is synced %s',
  async (durability, _when, afterMailbox, afterRestart) => {
    await serve({ backup_durability: durability, backup_shards: '1' });
    const wire = await server!.connect();
    await push(wire, 'anne', ['one\r\n']);
    await wire.ok('RESTART');
    await wire.ok('GET USER anne');
    // A chunk begins with a sync, or nobody could tell after a power failure that the index was being changed.
    await push(wire, 'anne', ['one\r\n', 'two\r\n']);
    const before = await syncs();
    await push(wire, 'anne', ['one\r\n', 'two\r\n', 'three\r\n']);
    expect((await syncs()) - before).toBe(afterMailbox);
    await wire.ok('RESTART');
    expect((await syncs()) - before).toBeGreaterThanOrEqual(afterRestart);
    await wire.ok('EXIT');
    if (durability === 'none') expect(await syncs()).toBe(0);
    expect(await server!.stop()).toBe(0);
    expect(await allFaults(site!)).toEqual([]);
  },
);

test('backup_deflate_engine, fulldirhash, maxword, maxquoted, maxliteral', async () => {
  await serve({
    backup_deflate_engine: 'zlib',
    fulldirhash: 'yes',
    maxword: '1K',
    maxquoted: '2K',
    maxliteral: '4K',
  });
  const wire = await server!.connect();
  await push(wire, 'carol', ['x'.repeat(200_000)]);
  await wire.ok('RESTART');
  expect(await series('deflate_engine_info{engine="zlib"}')).toBe(1);
  expect(path.dirname(dataPathOf(site!, 'carol'))).toBe(
    path.join(site!.partition, hashFolder('carol', true)),
  );

  await wire.ok('GET USER anne');
  const of = (value: string) => `APPLY SUB %(USERID anne MBOXNAME ${value})`;
  await wire.ok(of(`user.anne.${'x'.repeat(900)}`));
  for (const value of [
    `user.anne.${'x'.repeat(1100)}`,
    `"user.anne.${'x'.repeat(2100)}"`,
    `{4097+}\r\n${'x'.repeat(4097)}`,
  ]) {
    expect((await wire.command(of(value))).final).toMatch(/^NO IMAP_MAILBOX_LOCKED Over a limit/);
  }
  await wire.ok('APPLY SUB %(USERID anne MBOXNAME user.anne)');
});

test('reading about users who have no backup makes nothing', async () => {
  await serve({});
  const wire = await server!.connect();
  const gone = 'IMAP_MAILBOX_NONEXISTENT';
  const reads: [string, string][] = [
    ['GET USER nobody', 'OK'],
    ['GET META nobody', 'OK'],
    ['GET MAILBOXES (user.nobody user.nobody.Sent shared)', 'OK'],
    ['GET FULLMAILBOX user.nobody', `NO ${gone}`],
    ['GET UNIQUEIDS (abc)', 'OK'],
    ['GET QUOTA user.nobody', 'OK'],
    ['GET ANNOTATION user.nobody', 'OK'],
    [
      `GET FETCH %(MBOXNAME user.nobody PARTITION default UNIQUEID x GUID ${'a'.repeat(40)} UID 1)`,
      `NO ${gone}`,
    ],
    ['GET FETCH_SIEVE %(USERID nobody FILENAME x)', `NO ${gone}`],
  ];
  for (const [command, kind] of reads)
    expect([command, (await wire.command(command)).kind]).toEqual([command, kind]);
  await wire.ok('EXIT');
  expect(await server!.stop()).toBe(0);
  const made = readdirSync(site!.partition, { recursive: true }).filter(
    (name) => !/^\.(freeze|staging)$/.test(String(name)),
  );
  expect(made).toEqual([]);
  expect((await site!.cli(['list'])).stdout.toString()).toBe('');
});

test('a certificate that does not fit its key is refused at a reload, which says so, and the old one stays', async () => {
  site = await BackupSite.create();
  const files = selfSigned(site.dir);
  site.configure(files);
  server = await site.start();
  const reloads = (result: string) => series(`config_reloads_total{result="${result}"}`);
  const subject = async (): Promise<unknown> => {
    const wire = await CsyncWire.connect(site!.port);
    await wire.startTls();
    const { CN } = (wire.socket as TLSSocket).getPeerCertificate().subject;
    wire.destroy();
    return CN;
  };
  expect(await reloads('failed')).toBe(0);
  copyFileSync(path.join(TLS_FIXTURES, 'key.pem'), files.tls_server_key);
  server.child.kill('SIGHUP');
  await eventually(() => reloads('failed')).toBe(1);
  const said = server.log.filter((line) => line.includes('reload failed'));
  expect(said).toEqual([expect.stringMatching(/"CONFIG_INVALID".*tls\.crt/)]);
  expect(await subject()).toBe('localhost');
  copyFileSync(path.join(TLS_FIXTURES, 'cert.pem'), files.tls_server_cert);
  server.child.kill('SIGHUP');
  await eventually(() => reloads('ok')).toBe(1);
  expect(await subject()).toBe('backup.test');
});

test('PLAIN against saslauthd, for who is not in the credential file; without it a client is told to come again', async () => {
  const asked: string[][] = [];
  const daemon = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (bytes) => {
      const strings: string[] = [];
      for (let at = 0; at + 2 <= bytes.length; at += 2 + bytes.readUInt16BE(at))
        strings.push(bytes.subarray(at + 2, at + 2 + bytes.readUInt16BE(at)).toString());
      asked.push(strings);
      const answer = strings[1] === 'right' ? 'OK' : 'NO';
      socket.end(Buffer.concat([Buffer.from([0, 2]), Buffer.from(answer)]));
    });
  });
  site = await BackupSite.create();
  const socketPath = path.join(site.dir, 'mux');
  site.configure({
    sasl_pwcheck_method: 'saslauthd',
    sasl_saslauthd_path: socketPath,
    admins: 'mailserver',
    failedloginpause: '0s',
  });
  await new Promise<void>((resolve) => daemon.listen(socketPath, resolve));
  server = await site.start();
  const wire = await CsyncWire.connect(site.port);
  await expect(wire.login('mailserver', 'wrong')).rejects.toThrow('NO authentication failure');
  await wire.login('mailserver', 'right');
  await push(wire, 'anne', ['one\r\n']);
  await wire.ok('EXIT');
  expect(asked.map(([user, password]) => [user, password])).toEqual([
    ['mailserver', 'wrong'],
    ['mailserver', 'right'],
  ]);
  await new Promise((resolve) => daemon.close(resolve));
  const later = await CsyncWire.connect(site.port);
  await expect(later.login('mailserver', 'right')).rejects.toThrow('NO Temporary authentication failure');
  expect(await series('logins_total{mechanism="PLAIN",result="unavailable"}')).toBe(1);
  later.destroy();
});
