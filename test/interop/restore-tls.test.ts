/** Restores to servers elsewhere: TLS with certificates that are checked, COMPRESS, an administrator for everybody. */
import { createHash } from 'node:crypto';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { Dovecot } from './harness/dovecot.ts';
import { type FullView, fullView } from './harness/full-view.ts';
import type { ImapClient } from './harness/imap.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';
import { Certificates, NOT_LOOPBACK as HOST } from './harness/tls.ts';

const USERS = ['alice', 'carol', 'dora'];

describe('restoring over TLS', () => {
  let certificates: Certificates;
  let cyrus: CyrusSite;
  let dovecot: Dovecot;
  let backup: SharedBackup;
  const before = new Map<string, FullView>();

  beforeAll(async () => {
    certificates = await Certificates.make();
    const { cert, key } = certificates;
    const ofTarget = { tls_server_cert: cert, tls_server_key: key };
    cyrus = await CyrusSite.start(['source', 'target'], undefined, {}, ofTarget);
    dovecot = await Dovecot.start({ tls: { cert, key } });
    backup = await SharedBackup.create(cyrus);
    const server = await backup.site.start();
    for (const user of USERS) await seedUser(cyrus, user);
    const alice = await cyrus.imap('alice');
    await alice.command('SETMETADATA "Sent" (/private/specialuse "\\\\Sent")');
    await alice.command('SETMETADATA "Archive" (/shared/vendor/example/kind "odd \\"one\\"")');
    await alice.logout();
    await seedShared(cyrus, []);
    await cyrus.sync(['-A'], { port: backup.site.port });
    for (const what of ['expunge', 'delete', 'rename'] as const) await change(cyrus, 'alice', what);
    await cyrus.sync(['-A'], { port: backup.site.port });
    for (const user of USERS) before.set(user, await fullView(cyrus, user, 'source'));
    expect(await server.stop()).toBe(0);
    const admin = await cyrus.imap(undefined, 'target');
    await admin.command('CREATE "user/alice"');
    await admin.logout();
  }, 120_000);

  afterAll(async () => {
    await dovecot?.close();
    await cyrus?.close();
    backup?.site.remove();
    certificates?.[Symbol.dispose]();
  });

  const restore = (to: string, ...args: string[]) => {
    const password = path.join(backup.site.dir, 'password');
    writeFileSync(password, `${ADMIN.password}\n`, { mode: 0o600 });
    return backup.site.cli(['restore', '--to', to, '--password-file', password, ...args]);
  };
  const at = (scheme: string, port: number, host: string = HOST) =>
    `${scheme}://${ADMIN.user}@${host}:${port}`;

  test('a certificate that cannot be believed is said to be one, and what to type', async () => {
    const { csync, imap, imaps } = cyrus.ports('target');
    const unknown =
      /no TLS with it: nobody who is known here vouches for its certificate .*give --ca-file FILE/;
    const insecure = /--ca-file FILE .*\/insecure behind the address/;
    const cases: [to: string, args: string[], said: RegExp][] = [
      [at('csync', csync), ['--identity'], insecure],
      [`${at('csync', imaps)}/tls`, ['--ca-file', certificates.stranger], insecure],
      [at('imap', imap), ['--as', 'carol'], unknown],
      [at('imaps', dovecot.imapsPort), ['--ca-file', certificates.stranger], unknown],
      [
        at('imaps', imaps, '127.0.0.1'),
        ['--ca-file', certificates.authority],
        /its certificate is for DNS:localhost, IP Address:0\.0\.0\.0, and not for 127\.0\.0\.1\. Name the server/,
      ],
      [at('imaps', imap, 'localhost'), [], /it speaks no TLS there from the first byte\. Check the port/],
    ];
    for (const [to, args, said] of cases) {
      const done = await restore(to, '-u', 'carol', '--in-place', ...args);
      expect(done.stderr).toMatch(said);
      expect(done.status).toBe(69);
    }
  });

  test('into Cyrus by replication, to sync_server by STARTTLS and to imapd from the first byte', async () => {
    const { csync, imaps } = cyrus.ports('target');
    const args = ['--in-place', '--identity', '--ca-file', certificates.authority];
    for (const [user, to] of [
      ['carol', at('csync', csync)],
      ['dora', `${at('csync', imaps, 'localhost')}/tls`],
    ] as const) {
      expect(await restore(to, '-u', user, ...args)).toMatchObject({ status: 0, stderr: '' });
      expect(own(await fullView(cyrus, user, 'target'))).toEqual(own(before.get(user)!));
    }
  });

  /** Without what is new in a mailbox that is made anew. */
  const asMail = (view: FullView): Record<string, string[]> =>
    Object.fromEntries(
      Object.entries(own(view).messages).map(([folder, lines]) => [
        folder,
        lines.map((line) => line.replace(/UID \d+ /, '').replace(/MODSEQ \(\d+\) /, '')),
      ]),
    );

  test('everybody into Cyrus by IMAP, compressed, by an administrator', async () => {
    const { imap, sieve } = cyrus.ports('target');
    await using relay = await CountingRelay.start(imap);
    const args = ['--all-users', '--in-place', '--as', '{user}', '--yes', '--json', '--sieve', `:${sieve}`];
    const done = await restore(at('imap', relay.port), ...args, '--ca-file', certificates.authority);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    const lines = done.stdout.toString().trim().split('\n');
    const summary = JSON.parse(lines.at(-1)!) as { bytes: number };
    expect(summary).toMatchObject({ users: 4, complete: 4, failed: 0, refused: 0 });
    // alice and the shared mailboxes; the others have everything by now.
    expect(summary.bytes).toBeGreaterThan(50_000);
    expect(relay.bytes).toBeLessThan(summary.bytes);
    const remarks = lines
      .map((line) => JSON.parse(line) as { type: string; userid: string; text: string })
      .filter(({ type }) => type === 'remark');
    expect(remarks.map(({ userid, text }) => `${userid}: ${text}`)).toEqual(
      ['Archive/2024', 'Drafts'].map(
        (name) => `alice: no subscription to ${name}: there is no such mailbox, and none in the backup`,
      ),
    );

    const was = before.get('alice')!;
    const is = await fullView(cyrus, 'alice', 'target');
    expect(asMail(is)).toEqual(asMail(was));
    expect(is.scripts).toEqual(was.scripts);
    expect(is.quota).toEqual(was.quota);

    const mine = await cyrus.imap('alice', 'target');
    expect(String(await mine.command('GETMETADATA "Archive" /shared/vendor/example/kind'))).toContain(
      'odd "one"',
    );
    expect(String(await mine.command('GETMETADATA INBOX (/shared/comment /private/comment)'))).toMatch(
      /"inbox of alice".*"mine"/,
    );
    expect(String(await mine.command('LIST (SPECIAL-USE) "" "*"'))).toMatch(/\\Sent\) "\/" Sent/);
    await mine.logout();

    // The administrator had given himself rights.
    const [source, target] = [await cyrus.imap(), await cyrus.imap(undefined, 'target')];
    for (const name of ['shared', 'shared/announce']) {
      expect(bodies(await target.messages(name))).toEqual(bodies(await source.messages(name)));
      expect(String(await target.command(`GETACL "${name}"`))).not.toContain(ADMIN.user);
    }
    for (const client of [source, target]) await client.logout();
  });

  test('everybody into Dovecot by IMAP, TLS from the first byte', async () => {
    const args = ['--all-users', '--in-place', '--as', '{user}', '--no-settings', '--json'];
    const done = await restore(at('imaps', dovecot.imapsPort), ...args, '--ca-file', certificates.authority);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout.toString()).toMatch(
      /"userid":"%SHARED","text":"the server has no namespace for shared mailboxes: they go into the own account"/,
    );
    const [source, target] = [await cyrus.imap('alice'), await dovecot.imap('alice')];
    for (const folder of ['INBOX', 'Archive/Old years', 'Sent']) {
      expect(bodies(await target.messages(folder))).toEqual(bodies(await source.messages(folder)));
    }
    for (const client of [source, target]) await client.logout();
  });

  test('what a real client has stored, expunged, renamed and deleted is found, restored and stands a drill', async () => {
    const { site } = backup;
    const found = await site.cli(['search', 'alice', '--deleted', '--text', 'e', '--json']);
    expect(found).toMatchObject({ status: 0, stderr: '' });
    const rows = found.stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; guid: string; mailbox: string });
    const messages = rows.filter(({ type }) => type === 'message');
    const mailboxes = new Set(messages.map(({ mailbox }) => mailbox));
    expect([...mailboxes].join('\n')).toMatch(/user\/alice\/Archive\/Old years/);
    expect([...mailboxes].join('\n')).toMatch(/DELETED\/user\/alice\/Drafts\/[0-9A-F]{8}/);
    // Live ones, two that were expunged in the INBOX, and the deleted folder's.
    const live = Object.values(asMail(before.get('alice')!)).flat();
    expect(messages.length).toBeGreaterThanOrEqual(live.length + 3);

    const out = path.join(site.dir, 'found');
    const args = ['restore', '-u', 'alice', '--from-file', '-', '--to', `eml:${out}`, '--in-place'];
    const restored = await site.cli(args, found.stdout.toString());
    expect(restored.status).toBe(0);
    expect(restored.stderr).toMatch(
      /user\/alice\/Drafts was deleted at .*: it comes back as INBOX\/Drafts-DELETED-/,
    );
    const guids = globSync('**/*.eml', { cwd: out }).map((name) =>
      createHash('sha1')
        .update(readFileSync(path.join(out, name)))
        .digest('hex'),
    );
    expect(guids.sort()).toEqual(messages.map(({ guid }) => guid).sort());

    const drill = await site.cli(['drill', '--json']);
    expect(drill).toMatchObject({ status: 0, stderr: '' });
    const summary = JSON.parse(drill.stdout.toString().trim().split('\n').at(-1)!) as object;
    expect(summary).toMatchObject({ type: 'summary', backups: 4, failures: 0 });
  });
});

/** Less what is shared. */
function own(view: FullView): FullView {
  const less = <T>(of: Record<string, T>) =>
    Object.fromEntries(Object.entries(of).filter(([folder]) => !folder.startsWith('Shared Folders')));
  return { ...view, folders: less(view.folders), messages: less(view.messages) };
}

function bodies(messages: Awaited<ReturnType<ImapClient['messages']>>): string[] {
  return messages.map(({ body }) => createHash('sha1').update(body).digest('hex'));
}

/** Counts what clients send. */
class CountingRelay implements AsyncDisposable {
  bytes = 0;
  readonly port: number;
  readonly #server: net.Server;
  readonly #sockets: net.Socket[] = [];

  private constructor(server: net.Server, target: number) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    server.on('connection', (client) => {
      const upstream = net.connect(target, '127.0.0.1');
      this.#sockets.push(client, upstream);
      for (const socket of [client, upstream]) socket.setNoDelay(true).on('error', () => {});
      client.on('data', (bytes) => (this.bytes += bytes.length));
      client.pipe(upstream).pipe(client);
    });
  }

  static async start(target: number): Promise<CountingRelay> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new CountingRelay(server, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
