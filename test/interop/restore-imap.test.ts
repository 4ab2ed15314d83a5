import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ManageSieveClient } from '../../src/imap/managesieve.ts';
import { chooseMechanism } from '../../src/restore/csync-login.ts';
import { LAUNCHER } from '../cli/run.ts';
import { mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { type BackupServer, BackupSite, freePort } from '../support/backup-server.ts';
import { message, Random } from '../support/random.ts';
import { SmallStore } from '../support/small-store.ts';
import { SharedBackup } from './harness/backup.ts';
import { CyrusSite } from './harness/cyrus.ts';
import { ADMIN } from './harness/cyrus-conf.ts';
import { Dovecot } from './harness/dovecot.ts';
import type { ImapClient } from './harness/imap.ts';
import { seedUser } from './harness/mail.ts';
import { manageSieve, putScript } from './harness/sieve.ts';

const MB = 1_000_000;

/** Messages of each folder as flags, internal date and SHA-1, in the order of the folder. */
type View = Map<string, string[]>;

async function view(imap: ImapClient, below = ''): Promise<View> {
  const found: View = new Map();
  for (const folder of await imap.folders()) {
    if (/^(Shared Folders|Other Users)(\/|$)/.test(folder) || !folder.startsWith(below)) continue;
    const messages = await imap.messages(folder);
    const lines = messages.map(({ flags, date, body }) => {
      const kept = flags.filter((flag) => flag !== '\\Recent').sort();
      return `${kept.join(' ')} ${date} ${createHash('sha1').update(body).digest('hex')}`;
    });
    found.set(folder.slice(below.length), lines);
  }
  await imap.logout();
  return new Map([...found].sort(([a], [b]) => (a < b ? -1 : 1)));
}

interface Settings {
  subscribed: string[];
  quota: string;
  metadata: string[];
  acl: string[];
  scripts: [name: string, isActive: boolean, text: string][];
}

/** Without rights that only one of the servers knows, and those that stand for several. */
function rightsIn(line: string): string[] {
  const words = line.trim().replaceAll('"', '').split(' ').slice(3);
  return Array.from({ length: words.length / 2 }, (_, i) => {
    const rights = [...words[2 * i + 1]!].filter((right) => !'cdnx'.includes(right));
    return `${words[2 * i]} ${rights.sort().join('')}`;
  }).sort();
}

/** Of a user, as mail programs see them. */
async function settings(imap: ImapClient, sievePort: number, user: string): Promise<Settings> {
  const lines = async (command: string) => (await imap.command(command)).map(String);
  const list = await lines('LSUB "" "*"');
  const metadata: string[] = [];
  for (const entry of ['/private/comment', '/shared/comment']) {
    for (const folder of ['INBOX', 'Sent', 'Drafts']) {
      const [line = ''] = await lines(`GETMETADATA "${folder}" ${entry}`);
      // One server quotes names and writes literals where another does not.
      metadata.push(line.replaceAll(/\{\d+\}\r\n|["\r\n\\]/g, ''));
    }
  }
  const [acl = ''] = await lines('GETACL "Sent"');
  const quota = (await lines('GETQUOTAROOT INBOX')).find((line) => line.startsWith('* QUOTA ')) ?? '';
  await imap.logout();
  const sieve = await ManageSieveClient.connect({
    host: '127.0.0.1',
    port: sievePort,
    tried: 'test',
    name: 'sieve',
  });
  const account = { user: ADMIN.user, password: ADMIN.password, actAs: user };
  expect(await sieve.authenticate(chooseMechanism(['PLAIN'], account, true))).toMatchObject({ status: 'OK' });
  const scripts: Settings['scripts'] = [];
  for (const { name, isActive } of await sieve.scripts())
    scripts.push([name, isActive, String(await sieve.script(name))]);
  await sieve.logout();
  return {
    subscribed: list.map((line) => line.replace(/^\* LSUB \([^)]*\) "." "?(.*?)"?\r\n$/, '$1')).sort(),
    quota: quota.replace(/STORAGE \d+ /, '').replaceAll('"', ''),
    metadata,
    acl: rightsIn(acl),
    scripts: scripts.sort(),
  };
}

describe('from a Cyrus server through the backup into another mail server', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  let dovecot: Dovecot;
  let password: string;

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'target']);
    backup = await SharedBackup.create(cyrus);
    server = await backup.site.start();
    dovecot = await Dovecot.start();
    await seedUser(cyrus, 'alice', { messages: 60 });
    await seedUser(cyrus, 'sally', { messages: 4 });
    const sally = await cyrus.imap('sally');
    await sally.command('SETACL "Sent" bob lrs');
    await sally.command('SETMETADATA "Drafts" (/private/comment "a \\"draft\\"")');
    await sally.logout();
    for (const user of ['alice', 'sally']) await cyrus.sync(['-u', user], { port: backup.site.port });
    const admin = await cyrus.imap(undefined, 'target');
    for (const user of ['alice', 'poor', 'sally']) await admin.command(`CREATE "user/${user}"`);
    await admin.command('SETQUOTA "user/poor" (STORAGE 20)');
    await admin.logout();
    password = path.join(backup.site.dir, 'password');
    writeFileSync(password, `${ADMIN.password}\n`, { mode: 0o600 });
  });

  afterAll(async () => {
    await dovecot?.close();
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const restore = (user: string, port: number, ...args: string[]) =>
    backup.site.cli([
      ...[
        'restore',
        '-u',
        user,
        '--to',
        `imap://${ADMIN.user}@127.0.0.1:${port}`,
        '--password-file',
        password,
      ],
      ...args,
    ]);

  test.each(['Cyrus', 'Dovecot'])(
    '%s: mailboxes, bytes, flags and dates, and nothing twice',
    async (kind) => {
      const port = kind === 'Cyrus' ? cyrus.ports('target').imap : dovecot.port;
      const login = () => (kind === 'Cyrus' ? cyrus.imap('alice', 'target') : dovecot.imap('alice'));
      const args = ['--as', 'alice', '--in-place', '--no-settings'];
      const first = await restore('alice', port, ...args);
      const remark = 'csync-backup: the server keeps no annotations of messages: they are left out\n';
      expect(first).toMatchObject({ status: 0, stderr: kind === 'Cyrus' ? '' : remark });
      const source = await view(await cyrus.imap('alice'));
      expect([...source.values()].flat().length).toBeGreaterThan(50);
      expect(await view(await login())).toEqual(source);
      const again = await restore('alice', port, ...args);
      expect(again).toMatchObject({ status: 64 });
      expect(again.stderr).toMatch(/INBOX \(\d+ messages\) is there already: .*EXISTS: .*Give --yes/s);
      const confirmed = await restore('alice', port, ...args, '--yes');
      expect(confirmed.stdout.toString()).toMatch(
        /: 0 messages \(0 bytes\) in 6 mailboxes, 60 were there already\n$/,
      );
      expect(await view(await login())).toEqual(source);
      // A new tree beside it, which mail clients show.
      expect(await restore('alice', port, '--as', 'alice', '--into', 'Back')).toMatchObject({ status: 0 });
      expect((await view(await login(), 'Back/')).get('Archive/2024')).toEqual(source.get('Archive/2024'));
      const imap = await login();
      expect(String(await imap.command('LSUB "" "Back*"'))).toContain('Back/Sent');
      await imap.logout();
    },
  );

  test.each(['Cyrus', 'Dovecot'])('%s: settings, all of them that it has commands for', async (kind) => {
    const isCyrus = kind === 'Cyrus';
    const port = isCyrus ? cyrus.ports('target').imap : dovecot.port;
    const sieve = isCyrus ? cyrus.ports('target').sieve : dovecot.sievePort;
    const login = () => (isCyrus ? cyrus.imap('sally', 'target') : dovecot.imap('sally'));
    const args = ['--as', 'sally', '--in-place', '--acls', '--sieve', `:${sieve}`];
    const first = await restore('sally', port, ...args);
    const source = await settings(await cyrus.imap('sally'), cyrus.ports('source').sieve, 'sally');
    expect(source.subscribed).toHaveLength(5);
    expect(source.acl).toHaveLength(2);
    expect(source.scripts.map(([name, isActive]) => [name, isActive])).toEqual([
      ['holiday', false],
      ['main', true],
    ]);
    const target = await settings(await login(), sieve, 'sally');
    if (isCyrus) {
      expect(first).toMatchObject({ status: 0, stderr: '' });
      expect(target).toEqual(source);
    } else {
      // It has no message annotations, sets no quota by IMAP, and gives special uses by its configuration.
      const lines = first.stderr
        .split('\n')
        .filter((line) => line !== '' && !/annotations of messages|no access rights of the kind/.test(line));
      expect(lines).toEqual([expect.stringMatching(/not taken: quota user\.sally: the server says: /)]);
      expect(first.status).toBe(69);
      expect({ ...target, quota: source.quota }).toEqual(source);
    }
    // Again: nothing to do. Then what the owner has changed since stays.
    expect((await restore('sally', port, ...args, '--yes')).status).toBe(first.status);
    await manageSieve(sieve, 'sally', [putScript('main', 'keep;\r\n'), 'SETACTIVE "holiday"']);
    const imap = await login();
    await imap.command('SETMETADATA INBOX (/shared/comment "another")');
    await imap.logout();
    const third = await restore('sally', port, ...args, '--yes');
    expect(third.status).toBe(69);
    expect(third.stderr).toMatch(/Sieve script main: the target has another text under this name/);
    expect(third.stderr).toMatch(/active Sieve script main: at the target holiday is active, and stays so/);
    expect(third.stderr).toMatch(
      /annotation \/comment of user\.sally: the target has "another", which stays/,
    );
  });

  test('scripts where there is no ManageSieve', async () => {
    const done = await restore(
      'sally',
      dovecot.port,
      '--as',
      'sally',
      '--in-place',
      '--yes',
      '--sieve',
      ':1',
    );
    expect(done.stderr).toMatch(
      /not taken: Sieve script main: no way in by ManageSieve at 127\.0\.0\.1:1 \(.*--sieve HOST:PORT/,
    );
  });

  test('a quota that is full', async () => {
    const done = await restore('alice', cyrus.ports('target').imap, '--as', 'poor', '--in-place');
    expect(done).toMatchObject({ status: 75 });
    expect(done.stderr).toMatch(/NO_SPACE: .*the quota is full .* did not fit into .*Raise the quota/s);
  });

  test('a wrong password, and a user that is not there', async () => {
    const wrong = path.join(backup.site.dir, 'wrong');
    writeFileSync(wrong, 'wrong\n', { mode: 0o600 });
    for (const port of [cyrus.ports('target').imap, dovecot.port]) {
      const done = await restore('alice', port, '--password-file', wrong, '--in-place');
      expect(done).toMatchObject({ status: 77 });
      expect(done.stderr).toMatch(/CREDENTIALS_INVALID: .*Check the user and the password/s);
    }
    const nobody = await restore('alice', cyrus.ports('target').imap, '--as', 'nobody', '--in-place');
    expect(nobody).toMatchObject({ status: 65 });
    expect(nobody.stderr).toMatch(/NOT_FOUND: .*has no mailboxes of its own for nobody.*make the account/);
  });
});

describe.each(['Cyrus', 'Dovecot'])('restoring into %s', (kind) => {
  let dovecot: Dovecot | undefined;
  let cyrus: CyrusSite | undefined;
  let store: SmallStore;
  let port: number;
  let password: string;

  beforeAll(async () => {
    if (kind === 'Dovecot') dovecot = await Dovecot.start({ separator: '/' });
    else {
      cyrus = await CyrusSite.start(['target']);
      const admin = await cyrus.imap(undefined, 'target');
      await admin.command('CREATE "user/anne"');
      await admin.logout();
    }
    port = dovecot?.port ?? cyrus!.ports('target').imap;
    store = new SmallStore();
    password = path.join(store.folder, 'password');
    writeFileSync(password, `${ADMIN.password}\n`, { mode: 0o600 });
  });

  afterAll(async () => {
    store?.[Symbol.dispose]();
    await dovecot?.close();
    await cyrus?.close();
  });

  const login = () => dovecot?.imap('anne') ?? cyrus!.imap('anne', 'target');
  const args = (to: number, into: string) => [
    ...['restore', '-u', 'anne', '--to', `imap://${ADMIN.user}@127.0.0.1:${to}`, '--as', 'anne'],
    ...['--password-file', password, '--into', into, '--yes', 'Big'],
  ];

  test('killed at random and run again: complete, nothing twice', async () => {
    const random = new Random(`killed/${kind}`);
    const contents = Array.from({ length: 1200 }, () => message(random, random.int(300, 6000)));
    // Some stand twice in the mailbox, and twice they have to come back.
    const records = [...contents, ...contents.slice(0, 40), ...contents.slice(0, 10)].map((content, i) => ({
      uid: i + 1,
      content,
      flags: i % 3 === 0 ? '\\Seen $Forwarded' : '',
    }));
    store.add('anne', { lines: [messageLine(contents), mailboxLine('user.anne.Big', records)] });
    const wanted = records.map(({ content, flags }) => {
      const sorted = flags === '' ? '' : '$Forwarded \\Seen';
      return `${sorted} ${createHash('sha1').update(content).digest('hex')}`;
    });
    const total = contents.reduce((sum, content) => sum + content.length, 0);
    let kills = 0;
    for (let i = 0; i < 6; i++) kills += (await killedAfter(random.int(1000, total / 4))) ? 1 : 0;
    const done = store.run(args(port, 'Back'));
    expect(done).toMatchObject({ status: 0 });
    expect(kills).toBeGreaterThan(2);
    expect(done.stdout).toMatch(/, \d+ were there already\n$/);
    const found = (await view(await login(), 'Back/')).get('Big')!;
    const flagsAndBytes = found.map((line) => line.replace(/\S+ \S+ \S+ (\S+)$/, '$1').trimStart());
    expect(flagsAndBytes.sort()).toEqual(wanted.map((line) => line.trimStart()).sort());
  });

  /** Runs it through a proxy and kills it when so many bytes have come; @returns whether it was killed. */
  async function killedAfter(bytes: number): Promise<boolean> {
    const proxyPort = await freePort();
    let passed = 0;
    const proxy = net.createServer((client) => {
      const upstream = net.connect(port, '127.0.0.1');
      for (const socket of [client, upstream]) socket.on('error', () => {});
      upstream.pipe(client);
      client.on('data', (piece) => {
        passed += piece.length;
        if (passed > bytes) child.kill('SIGKILL');
        upstream.write(piece);
      });
      client.on('close', () => upstream.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(proxyPort, '127.0.0.1', resolve));
    const child = spawn(process.execPath, [LAUNCHER, ...args(proxyPort, 'Back'), '-C', store.configFile], {
      stdio: 'ignore',
    });
    const signal = await new Promise<string | null>((resolve) =>
      child.on('exit', (status, name) => resolve(status === 137 ? 'SIGKILL' : name)),
    );
    proxy.close();
    return signal === 'SIGKILL';
  }
});

describe('a message of 2 GB', () => {
  test('goes through without being held in memory', async () => {
    const site = await BackupSite.create({ backup_max_message_size: '2000000000' });
    const server = await site.start();
    const dovecot = await Dovecot.start();
    try {
      // A message as servers take it: text in lines, hardly to be compressed.
      const lines = randomBytes(750_000)
        .toString('base64')
        .replaceAll(/.{78}/g, '$&\r\n')
        .slice(0, MB - 2);
      const block = Buffer.from(`${lines}\r\n`);
      const head = Buffer.from('Subject: large\r\n\r\n');
      const blockOf = (i: number): Buffer => {
        const copy = Buffer.from(block);
        copy.write(String(i).padStart(6, '0'), 0);
        if (i === 0) head.copy(copy);
        return copy;
      };
      const hash = createHash('sha1');
      for (let i = 0; i < 2000; i++) hash.update(blockOf(i));
      const guid = hash.digest('hex');
      const wire = await server.connect();
      await wire.ok('GET USER anne');
      wire.send(`APPLY MESSAGE (%{default ${guid} ${2000 * MB}}\r\n`);
      for (let i = 0; i < 2000; i++) if (!wire.socket.write(blockOf(i))) await once(wire.socket, 'drain');
      expect((await wire.command(')')).kind).toBe('OK');
      await wire.ok(
        `APPLY MAILBOX %(UNIQUEID id-anne MBOXNAME user.anne SYNC_CRC 0 SYNC_CRC_ANNOT 0 LAST_UID 1 HIGHESTMODSEQ 2 ` +
          `RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 5 PARTITION default ` +
          `ACL "" OPTIONS P RECORD (%(UID 1 MODSEQ 2 LAST_UPDATED 1 FLAGS () INTERNALDATE 1 SIZE ${2000 * MB} GUID ${guid})))`,
      );
      await wire.ok('RESTART');
      wire.destroy();
      expect(await server.stop()).toBe(0);

      const password = path.join(site.dir, 'password');
      writeFileSync(password, `${ADMIN.password}\n`, { mode: 0o600 });
      const to = `imap://${ADMIN.user}@127.0.0.1:${dovecot.port}`;
      const args = [
        'restore',
        '-u',
        'anne',
        '--to',
        to,
        '--as',
        'anne',
        '--in-place',
        '--password-file',
        password,
      ];
      const child = spawn(process.execPath, [LAUNCHER, ...args, '-C', site.configFile], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      let peak = 0;
      const timer = setInterval(() => (peak = Math.max(peak, residentBytes(child.pid!))), 50);
      let stderr = '';
      child.stderr!.on('data', (bytes) => (stderr += String(bytes)));
      const [status] = await once(child, 'close');
      clearInterval(timer);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      console.log(`peak memory of the restore: ${(peak / MB).toFixed(0)} MB`);
      expect(peak / MB).toBeLessThan(400);

      // By IMAP each piece would cost Dovecot a reading from the beginning. In its Maildir lines end with LF.
      const maildir = path.join(dovecot.dir, 'mail/anne/Maildir');
      const files = ['new', 'cur'].flatMap((sub) =>
        readdirSync(path.join(maildir, sub)).map((name) => path.join(sub, name)),
      );
      expect(files).toHaveLength(1);
      const found = createHash('sha1');
      for await (const piece of createReadStream(path.join(maildir, files[0]!), { highWaterMark: MB })) {
        found.update(Buffer.from((piece as Buffer).toString('latin1').replaceAll('\n', '\r\n'), 'latin1'));
      }
      expect(found.digest('hex')).toBe(guid);
    } finally {
      await dovecot.close();
      await server.kill();
      site.remove();
    }
  }, 300_000);
});

/** Of a process and its children. */
function residentBytes(pid: number): number {
  try {
    const own = Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
      .split(' ')
      .filter((id) => id !== '');
    return own + children.reduce((sum, id) => sum + residentBytes(Number(id)), 0);
  } catch {
    return 0; // It has just ended.
  }
}
