import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, readdirSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LAUNCHER } from '../cli/run.ts';
import { type Finished, freePort } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';
import { dataFilesOf, SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { type FullView, fullView } from './harness/full-view.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';

const USERS = ['alice', 'bob', 'carol', 'dora', 'erik', 'frank', 'grace', 'heidi'];

describe('restore over csync into Cyrus', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  const before = new Map<string, FullView>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'peer', 'target']);
    backup = await SharedBackup.create(cyrus);
    const server = await backup.site.start();
    for (const user of USERS) {
      // frank comes in several parts for each mailbox.
      await seedUser(cyrus, user, { messages: user === 'frank' ? 900 : 30 });
      for (const what of ['new', 'flags', 'expunge', 'copy', 'create', 'rename', 'acl'] as const) {
        if (what !== 'acl' || user !== 'bob') await change(cyrus, user, what);
      }
    }
    await change(cyrus, 'erik', 'delete');
    await seedShared(cyrus, ['alice', 'bob']);
    await cyrus.sync(['-A'], { port: backup.site.port });
    await cyrus.sync(['-u', 'dora'], { port: cyrus.ports('peer').csync });
    for (const user of USERS) before.set(user, await fullView(cyrus, user, 'source'));
    expect(await server.stop()).toBe(0);
  }, 120_000);

  afterAll(async () => {
    await cyrus?.close();
    backup?.site.remove();
  });

  const at = (service: 'csync' | 'imap' = 'csync'): string =>
    `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target')[service]}`;
  const restore = (...args: string[]): Promise<Finished> =>
    backup.site.cli(['restore', '--to', at(), ...args]);
  const asTheyWere = ['--in-place', '--identity'];

  test('shared mailboxes, then two users, as they were: nobody can tell the servers apart', async () => {
    for (const user of ['%SHARED', 'alice']) {
      const done = await restore('-u', user, ...asTheyWere);
      expect(done).toMatchObject({ status: 0, stderr: '' });
    }
    const done = await backup.site.cli(['restore', '--to', at('imap'), '-u', 'bob', ...asTheyWere]);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    for (const user of ['alice', 'bob'])
      expect(await fullView(cyrus, user, 'target')).toEqual(before.get(user));
  });

  test('again, without a change', async () => {
    const done = await restore('-u', 'alice', ...asTheyWere);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    expect(done.stdout.toString()).toMatch(
      /: 0 messages \(0 bytes\) in 7 mailboxes, \d+ were there already\n$/,
    );
    expect(await fullView(cyrus, 'alice', 'target')).toEqual(before.get('alice'));
  });

  test('from a store of Cyrus’s backupd, which keeps neither quota nor the active script', async () => {
    const file = dataFilesOf(path.join(cyrus.dir, 'peer', 'backup')).get('dora')!;
    const done = await restore('-f', file, ...asTheyWere);
    expect(done).toMatchObject({ status: 0, stderr: '' });
    const { quota, scripts, ...after } = await fullView(cyrus, 'dora', 'target');
    const { quota: _, scripts: theirs, ...rest } = before.get('dora')!;
    expect(after).toEqual(rest);
    expect(scripts).toEqual(theirs.map((script) => script.replace(' ACTIVE', '')));
    expect(quota).toEqual(['* QUOTAROOT INBOX']);
  });

  test('newer mail at the target is never taken away, and what was deleted there comes back', async () => {
    const imap = await cyrus.imap('alice', 'target');
    await imap.append('INBOX', Buffer.from('Subject: newer\r\n\r\nonly here\r\n'));
    await imap.command('SELECT INBOX');
    await imap.command('STORE 1 +FLAGS (\\Deleted)');
    await imap.command('EXPUNGE');
    await imap.command('UNSELECT');
    const there = await imap.messages('INBOX');
    const refused = await restore('-u', 'alice', ...asTheyWere);
    expect(refused.status).toBe(64);
    expect(refused.stderr).toMatch(
      /user\/alice is there already: newer mail has come there; nothing is taken from it/,
    );
    expect(await imap.messages('INBOX')).toEqual(there);

    const done = await restore('-u', 'alice', ...asTheyWere, '--yes');
    expect(done).toMatchObject({ status: 0 });
    expect(done.stdout.toString()).toMatch(/: 1 messages \(\d+ bytes\) in 7 mailboxes/);
    const after = await imap.messages('INBOX');
    expect(after.slice(0, there.length)).toEqual(there);
    const gone = before.get('alice')!.messages.INBOX![0]!;
    expect(after).toHaveLength(there.length + 1);
    expect(gone).toContain(createHash('sha1').update(after.at(-1)!.body).digest('hex'));
    const again = await restore('-u', 'alice', ...asTheyWere, '--yes');
    expect(again.stdout.toString()).toMatch(/: 0 messages/);
    await imap.logout();
  });

  /** Without what is new in a mailbox that is made anew. */
  const asMail = ({ messages }: FullView, folder: string): string[] =>
    messages[folder]!.map((line) => line.replace(/UID \d+ /, '').replace(/MODSEQ \(\d+\) /, ''));

  test('into a new folder, with new UIDs, and no message twice', async () => {
    const unknown = await restore('-u', 'carol');
    expect(unknown.status).toBe(65);
    expect(unknown.stderr).toMatch(
      /NOT_FOUND: .*no such user. Create user\/carol there, or give --in-place --identity/,
    );
    const admin = await cyrus.imap(undefined, 'target');
    await admin.command('CREATE "user/carol"');
    await admin.logout();
    const done = await restore('-u', 'carol', '--into', 'Found again');
    expect(done.status).toBe(0);
    expect(done.stderr).toContain('were made with APPLY MAILBOX');
    const was = before.get('carol')!;
    const is = await fullView(cyrus, 'carol', 'target');
    for (const folder of Object.keys(was.messages)) {
      if (folder.startsWith('Shared Folders')) continue;
      const name = folder === 'INBOX' ? 'Found again' : `Found again/${folder}`;
      expect(asMail(is, name), folder).toEqual(asMail(was, folder));
      const mailbox = (view: FullView, at: string): string[] =>
        view.folders[at]!.filter((line) => /ACL|comment/.test(line)).map((line) =>
          line.replace(/^\* ACL (?:"[^"]*"|\S+)/, ''),
        );
      expect(mailbox(is, name)).toEqual(mailbox(was, folder));
    }
    expect(is.messages.INBOX).toEqual([]);
    const again = await restore('-u', 'carol', '--into', 'Found again', '--yes');
    expect(again.stdout.toString()).toMatch(
      /: 0 messages \(0 bytes\) in 7 mailboxes, \d+ were there already/,
    );
    expect((await fullView(cyrus, 'carol', 'target')).messages).toEqual(is.messages);
  });

  test('in place, as new mail, with settings; deleted mailboxes back in the deleted namespace', async () => {
    const done = await restore('-u', 'carol', '--in-place', '--yes');
    expect(done.status).toBe(0);
    const was = before.get('carol')!;
    const is = await fullView(cyrus, 'carol', 'target');
    for (const folder of Object.keys(was.messages))
      expect(asMail(is, folder), folder).toEqual(asMail(was, folder));
    for (const what of ['subscriptions', 'quota', 'scripts'] as const) {
      // What is used counts the folder of the last test too.
      const limits = (lines: string[]): string[] => lines.map((line) => line.replace(/\(STORAGE \d+ /, '('));
      expect(limits(is[what])).toEqual(limits(was[what]));
    }
    const deleted = await restore('-u', 'erik', ...asTheyWere, '--deleted');
    expect(deleted).toMatchObject({ status: 0, stderr: '' });
    const admin = await cyrus.imap(undefined, 'target');
    const names = (await admin.command('LIST "" "DELETED/user/erik/*"')).map(String).join();
    expect(names).toMatch(/DELETED\/user\/erik\/Drafts\/[0-9A-F]{8}/);
    await admin.logout();
    const { messages } = await fullView(cyrus, 'erik', 'target');
    expect(messages).toEqual(before.get('erik')!.messages);
  });

  test('interrupted at random and run again: complete, nothing twice', async () => {
    const random = new Random('kill');
    let kills = 0;
    for (let round = 0; round < 12; round++) {
      // Of some 4 MB that there are to send, over four connections.
      const relay = await Relay.start(cyrus.ports('target').csync, random.int(20_000, 600_000));
      const to = `csync://${ADMIN.user}@127.0.0.1:${relay.port}`;
      const args = ['restore', '--to', to, '-u', 'frank', ...asTheyWere, '-C', backup.site.configFile];
      const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: 'ignore' });
      relay.onLimit = () => child.kill('SIGKILL');
      const status = await new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
      await relay.close();
      if (status === 0) break;
      expect(relay.reached).toBe(true);
      kills++;
    }
    expect(kills).toBeGreaterThan(3);
    const args = ['restore', '--to', at(), '-u', 'frank', ...asTheyWere];
    const last = await backup.site.cli(args);
    expect(last).toMatchObject({ status: 0, stderr: '' });
    expect(await fullView(cyrus, 'frank', 'target')).toEqual(before.get('frank'));
  });

  test('what the target does not take is said, with what to do', async () => {
    const wrong = path.join(cyrus.dir, 'wrong');
    writeFileSync(wrong, 'wrong\n', { mode: 0o600 });
    const cases: [args: string[], status: number, said: RegExp][] = [
      [['-u', 'nobody'], 65, /NOT_FOUND: .*nobody/],
      [['-u', 'bob', '--password-file', wrong], 77, /CREDENTIALS_INVALID: .*Check/],
      [
        ['-u', 'bob', '--to', `csync://${ADMIN.user}@127.0.0.1:${await freePort()}`],
        69,
        /UNAVAILABLE: .*Check the port, and that the server runs/,
      ],
      [
        ['-u', 'bob', '--to', `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target').sieve}`],
        69,
        /UNAVAILABLE/,
      ],
      [
        ['-u', 'bob', '--into', 'x', '--partition', 'nowhere'],
        69,
        /no partition "nowhere" \(--partition NAME/,
      ],
      // Where messages come first Cyrus dies.
      [
        ['-u', 'heidi', '--in-place', '--identity', '--partition', 'nowhere'],
        69,
        /the server died: .*--partition NAME/,
      ],
    ];
    for (const [args, status, said] of cases) {
      const done = await restore(...args);
      expect(done.stderr).toMatch(said);
      expect(done.status).toBe(status);
    }
  });

  test('a target whose disk cannot be written', async () => {
    const admin = await cyrus.imap(undefined, 'target');
    await admin.command('CREATE "user/grace"');
    await admin.logout();
    // All but the mailboxes that are there: where one can be made but not filled, Cyrus leaves behind what it cannot open.
    const spool = path.join(cyrus.dir, 'target', 'spool');
    const folders = readdirSync(spool, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => path.join(entry.parentPath, entry.name))
      .filter((folder) => !existsSync(path.join(folder, 'cyrus.header')));
    for (const folder of [...folders, spool]) chmodSync(folder, 0o500);
    try {
      const done = await restore('-u', 'grace', '--into', 'x');
      expect(done.status).toBe(69);
      expect(done.stderr).toMatch(/not taken: mailbox user\.grace\.x.*its disk may be full or read-only/);
    } finally {
      for (const folder of [...folders, spool]) chmodSync(folder, 0o700);
    }
    const again = await restore('-u', 'grace', '--into', 'x', '--yes');
    expect({ status: again.status, stderr: again.stderr }).toMatchObject({ status: 0 });
    expect(asMail(await fullView(cyrus, 'grace', 'target'), 'x')).toEqual(
      asMail(before.get('grace')!, 'INBOX'),
    );
  });

  test('a target that is over quota takes it, and says so', async () => {
    const admin = await cyrus.imap(undefined, 'target');
    await admin.command('CREATE "user/heidi"');
    await admin.command('SETQUOTA "user/heidi" (STORAGE 10)');
    await admin.logout();
    const done = await restore('-u', 'heidi', '--into', 'x');
    expect(done.status).toBe(0);
    expect(done.stderr).toMatch(/quota user\/heidi.*10 kB.*raise it/s);
  });

  test('the whole server, several users at a time', async () => {
    const done = await restore('--all-users', ...asTheyWere, '--yes');
    // The quota that the last test has set stays as it is.
    expect({ status: done.status, stderr: done.stderr }).toMatchObject({ status: 69 });
    expect(done.stderr).toMatch(/quota user\.heidi.*STORAGE 10, which stays/);
    for (const user of ['grace', 'heidi']) {
      const { messages } = await fullView(cyrus, user, 'target');
      expect(
        Object.fromEntries(Object.entries(messages).filter(([name]) => !/^x(?:$|\/)/.test(name))),
      ).toEqual(before.get(user)!.messages);
    }
  });
});

/** Passes bytes on to the server, and says so when a client has sent that many. */
class Relay {
  readonly port: number;
  onLimit: () => void = () => {};
  reached = false;
  readonly #server: net.Server;
  readonly #sockets: net.Socket[] = [];

  private constructor(server: net.Server, target: number, limitBytes: number) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    let left = limitBytes;
    server.on('connection', (client) => {
      const socket = net.connect(target, '127.0.0.1');
      this.#sockets.push(client, socket);
      for (const one of [client, socket]) one.setNoDelay(true).on('error', () => {});
      socket.pipe(client);
      client.on('close', () => socket.destroy());
      client.on('data', (bytes) => {
        socket.write(bytes.subarray(0, Math.max(left, 0)));
        left -= bytes.length;
        if (left > 0 || this.reached) return;
        this.reached = true;
        this.onLimit();
      });
    });
  }

  static async start(target: number, limitBytes: number): Promise<Relay> {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Relay(server, target, limitBytes);
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
