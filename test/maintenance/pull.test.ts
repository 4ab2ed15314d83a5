import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type PullServer, parsePullServer, pullServers } from '../../src/config/pull-values.ts';
import { Puller, type PullerOptions, readPasswordFile, serversOf } from '../../src/maintenance/pull.ts';
import { selfSigned } from '../support/certificate.ts';
import { FakeImap, type FakeImapOptions } from '../support/fake-imap.ts';

const rules = {
  defaultDomain: 'internal',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
} as const;

let folder: string;
let cert: { cert: string; key: string };
const opened: FakeImap[] = [];
const pullers: Puller[] = [];

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-pull-'));
  const { tls_server_cert, tls_server_key } = selfSigned(folder);
  cert = { cert: tls_server_cert, key: tls_server_key };
});

afterEach(async () => {
  for (const puller of pullers.splice(0)) await puller.close();
  for (const imap of opened.splice(0)) await imap.close();
  fs.rmSync(folder, { recursive: true });
});

async function imap(o: FakeImapOptions = {}): Promise<FakeImap> {
  const pushed = { lines: ['OK USER anne', '5 EXISTS'], tagged: 'OK Completed' };
  const one = await FakeImap.start({ xbackup: () => pushed, ...o });
  opened.push(one);
  return one;
}

function puller(servers: (string | PullServer)[], o: Partial<PullerOptions> = {}): Puller {
  const one = new Puller({
    servers: servers.map((server) => (typeof server === 'string' ? parsePullServer(server) : server)),
    authname: 'admin',
    password: 'secret',
    channel: '',
    rules,
    ...o,
  });
  pullers.push(one);
  return one;
}

describe('one server', () => {
  test('is asked by the name that an admin sees, and what it says is passed on', async () => {
    const server = await imap();
    const lines: string[] = [];
    const one = puller([`127.0.0.1:${server.port}/insecure`], { channel: 'backup' });
    expect(await one.pull('dora.m', '', (_server, line) => lines.push(line))).toEqual({
      ok: true,
      server: `127.0.0.1:${server.port}/insecure`,
      lines: ['OK USER anne'],
    });
    expect(lines).toEqual(['OK USER anne']);
    expect(server.received.at(-1)).toMatch(/^P\d XBACKUP "user\/dora\.m" backup$/);
    await one.pull('anne', '');
    expect(server.connections).toBe(1);
  });

  test('with STARTTLS, and with TLS from the first byte, by its certificate', async () => {
    const starttls = await imap({ tls: cert });
    const implicit = await imap({ tls: cert, implicit: true });
    for (const server of [`localhost:${starttls.port}`, `localhost:${implicit.port}/tls`]) {
      const one = puller([server], { caFile: cert.cert });
      expect(await one.pull('anne', '')).toMatchObject({ ok: true });
      const stranger = await puller([server]).pull('anne', '');
      expect(stranger).toMatchObject({ ok: false, code: 'UNAVAILABLE' });
      expect(stranger.text).toContain('self-signed certificate');
    }
    const byAddress = await puller([`127.0.0.1:${starttls.port}`], { caFile: cert.cert }).pull('anne', '');
    expect(byAddress.text).toMatch(/no TLS with it: .*127\.0\.0\.1/);
    expect(starttls.received.filter((line) => /AUTHENTICATE/.test(line))).toHaveLength(1);
  });

  test('that cannot do STARTTLS is not told the password', async () => {
    const server = await imap();
    const result = await puller([`127.0.0.1:${server.port}`]).pull('anne', '');
    expect(result).toMatchObject({ ok: false, code: 'UNAVAILABLE' });
    expect(result.text).toContain('it offers no STARTTLS');
    expect(server.received).toEqual(['P1 STARTTLS']);
  });

  test('cannot be spoken for by somebody in the clear stream', async () => {
    const server = await imap({ tls: cert, injected: 'P2 OK in\r\n* OK USER anne\r\nP3 OK Completed\r\n' });
    const one = puller([`localhost:${server.port}`], { caFile: cert.cert, password: 'wrong' });
    expect(await one.pull('anne', '')).toMatchObject({
      ok: false,
      code: 'UNAVAILABLE',
      text: expect.stringContaining('it sent text in clear before the TLS handshake'),
    });
    expect(server.received.filter((line) => /AUTHENTICATE/.test(line))).toEqual([]);
  });

  test.each([
    ['NO Mailbox does not exist', [], 'NOT_FOUND'],
    ['NO Permission denied', [], 'PERMISSION_DENIED'],
    ['BAD Unrecognized command', [], 'BAD_COMMAND'],
    ['NO Communications error', [], 'UNAVAILABLE'],
    ['OK Completed', ['NO USER anne (Mailbox is locked)'], 'UNAVAILABLE'],
  ])('that answers "%s" with %j', async (tagged, lines, code) => {
    const server = await imap({ xbackup: () => ({ lines, tagged }) });
    const result = await puller([`127.0.0.1:${server.port}/insecure`]).pull('anne', '');
    expect(result).toMatchObject({ ok: false, code, lines });
  });

  test('that goes away is asked anew when it is back, but not at once', async () => {
    const server = await imap();
    const one = puller([`127.0.0.1:${server.port}/insecure`]);
    await server.close();
    expect(await one.pull('anne', '')).toMatchObject({ code: 'UNAVAILABLE' });
    const again = performance.now();
    expect(await one.pull('bob', '')).toMatchObject({ code: 'UNAVAILABLE' });
    expect(performance.now() - again).toBeLessThan(20);
    opened.length = 0;
  });

  test('that sends a line without end, or no IMAP, is given up', async () => {
    for (const [answer, text] of [
      [{ lines: ['x'.repeat(100_000)], tagged: 'OK' }, 'a line without end'],
      [{ lines: [], tagged: 'what?' }, 'its answer is none of IMAP'],
    ] as const) {
      const server = await imap({ xbackup: () => ({ ...answer, lines: [...answer.lines] }) });
      const result = await puller([`127.0.0.1:${server.port}/insecure`]).pull('anne', '');
      expect(result).toMatchObject({ code: 'UNAVAILABLE', text: expect.stringContaining(text) });
    }
  });
});

describe('several servers', () => {
  test('the first that has the user is enough', async () => {
    const first = await imap({ xbackup: () => ({ lines: [], tagged: 'NO Mailbox does not exist' }) });
    const second = await imap();
    const third = await imap();
    const names = [first, second, third].map(({ port }) => `127.0.0.1:${port}/insecure`);
    expect(await puller(names).pull('anne', '')).toMatchObject({ ok: true, server: names[1] });
    expect(third.connections).toBe(0);
  });

  test('one that is down is named rather than those that do not have the user', async () => {
    const other = await imap({ xbackup: () => ({ lines: [], tagged: 'NO Mailbox does not exist' }) });
    const down = await imap();
    await down.close();
    opened.pop();
    const result = await puller([`127.0.0.1:${other.port}/insecure`, `127.0.0.1:${down.port}/insecure`]).pull(
      'anne',
      '',
    );
    expect(result).toMatchObject({
      ok: false,
      code: 'UNAVAILABLE',
      server: expect.stringContaining(`${down.port}`),
    });
  });

  test('who lives where is said by patterns', () => {
    const servers = pullServers.parse('one=a*,*@example.org two:993/tls=b.b three');
    const hosts = (userid: string) => serversOf(userid, servers).map(({ host }) => host);
    expect(hosts('anne')).toEqual(['one', 'three']);
    expect(hosts('zoe@example.org')).toEqual(['one', 'three']);
    expect(hosts('b.b')).toEqual(['two', 'three']);
    expect(hosts('bxb')).toEqual(['three']);
    expect(pullServers.print(servers)).toBe('one:143=a*,*@example.org two:993/tls=b.b three:143');
  });

  test('none for a user is an error that says what to do', async () => {
    await expect(puller(['localhost=b*']).pull('anne', '')).rejects.toThrow(/no IMAP server is named/);
  });
});

test('a password file that others may read is refused', () => {
  const file = path.join(folder, 'password');
  fs.writeFileSync(file, 'secret\nmore\n', { mode: 0o640 });
  expect(readPasswordFile(file)).toBe('secret');
  for (const mode of [0o644, 0o660]) {
    fs.chmodSync(file, mode);
    expect(() => readPasswordFile(file)).toThrow(/Set its mode/);
  }
  fs.writeFileSync(file, '\n');
  fs.chmodSync(file, 0o600);
  expect(() => readPasswordFile(file)).toThrow(/its first line is empty/);
});

test('a channel that would end the command is refused', () => {
  expect(() => puller(['localhost'], { channel: 'x LOGOUT' })).toThrow(/other characters/);
});

test.each(['', 'host:0', 'host:99999', '[1.2.3.4]:5', 'a/b', 'host=', 'host=a,,b', 'a:b:c'])(
  'backup_pull_servers: "%s" is refused',
  (text) => {
    expect(() => parsePullServer(text)).toThrow(/has (?:no|an empty)/);
  },
);
