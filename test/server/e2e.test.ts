/** The whole server with its threads and real files. */
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { Writable } from 'node:stream';
import type { Worker } from 'node:worker_threads';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Config } from '../../src/config/config.ts';
import { loadConfig } from '../../src/config/load.ts';
import { NO_FFI_VARIABLE } from '../../src/platform/ffi.ts';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CsyncServer } from '../../src/server/server.ts';
import { CsyncWire } from '../support/wire.ts';
import { eventually, TLS_FIXTURES, testConfig } from './harness.ts';

const logLines: Record<string, unknown>[] = [];
const log = pino(
  { level: 'info' },
  new Writable({
    write(chunk: Buffer, _encoding, done) {
      logLines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  }),
);

/** Threads that Piscina has started. */
const threads: Worker[] = [];
process.on('worker', (worker) => threads.push(worker));

interface Place {
  dir: string;
  file: string;
  server: CsyncServer;
  port: number;
  tlsPort: number;
  metrics: string;
}

async function startServer(options: Record<string, string> = {}): Promise<Place> {
  const { dir, file, config } = testConfig({
    backup_listen: '127.0.0.1:0 127.0.0.1:0/tls',
    tls_server_cert: path.join(TLS_FIXTURES, 'cert.pem'),
    tls_server_key: path.join(TLS_FIXTURES, 'key.pem'),
    backup_shards: '1',
    backup_workers: '1',
    ...options,
  });
  const keys = await makeKeys('secret');
  await updateCredentials(config.passwdFile, ({ users }) => users.set('backup', keys));
  const server = new CsyncServer({ config, log, version: '0.0.0', engine: 'zlib' });
  const { metricsAddress } = await server.start();
  const [port, tlsPort] = server.addresses.map((address) => Number(/:(\d+)/.exec(address)![1]));
  return {
    dir,
    file,
    server,
    port: port!,
    tlsPort: tlsPort!,
    metrics: `http://127.0.0.1:${metricsAddress!.port}`,
  };
}

async function stopServer({ server, dir }: Place): Promise<void> {
  await server.stop();
  rmSync(dir, { recursive: true, force: true });
}

function sha1(bytes: Uint8Array | string): string {
  return createHash('sha1').update(bytes).digest('hex');
}

/** APPLY MAILBOX with one record a message. */
function mailbox(mboxname: string, uniqueid: string, contents: (string | Buffer)[]): string {
  const records = contents.map(
    (content, i) =>
      `%(UID ${i + 1} MODSEQ ${i + 2} LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 SIZE ${content.length} GUID ${sha1(content)})`,
  );
  return (
    `APPLY MAILBOX %(UNIQUEID ${uniqueid} MBOXNAME ${mboxname} SYNC_CRC 0 SYNC_CRC_ANNOT 12345678 ` +
    `LAST_UID ${contents.length} HIGHESTMODSEQ ${contents.length + 1} RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 ` +
    'POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 1700000000 PARTITION default ACL "anne\tlrswipkxtecdan\t" ' +
    `OPTIONS P RECORD (${records.join(' ')}))`
  );
}

async function pushMailbox(wire: CsyncWire, user: string, contents: (string | Buffer)[]): Promise<void> {
  await wire.ok(`GET USER ${user}`);
  const files = contents.flatMap((content, i) => [
    `${i > 0 ? ' ' : ''}%{default ${sha1(content)} ${content.length}}\r\n`,
    content,
  ]);
  await wire.ok('APPLY MESSAGE (', ...files, ')');
  await wire.ok(mailbox(`user.${user}`, `uid-${user}`, contents));
}

/** In the first message of the user's backup. */
function flipBit({ dir }: Place, user: string): void {
  const name = readdirSync(dir, { recursive: true, encoding: 'utf8' }).find((one) =>
    new RegExp(`/${user}_[^/.]{6}$`).test(one),
  );
  const fd = openSync(path.join(dir, name!), 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, 250);
  byte[0]! ^= 0x10;
  writeSync(fd, byte, 0, 1, 250);
  closeSync(fd);
}

async function metric(place: Place, name: string): Promise<number> {
  const text = await (await fetch(`${place.metrics}/metrics`)).text();
  let sum = 0;
  for (const match of text.matchAll(/^(\w+)(?:\{[^}]*\})? (\S+)$/gm))
    if (match[1] === `csync_backup_${name}`) sum += Number(match[2]);
  return sum;
}

describe('a server', () => {
  let place: Place;
  beforeAll(async () => {
    place = await startServer({ backup_shards: '2', backup_workers: '2' });
  });
  afterAll(() => stopServer(place));

  test('takes a push, in clear, compressed and in TLS, and tells it back', async () => {
    const contents = ['Subject: one\r\n\r\nhello\r\n', 'x'.repeat(3_000_000), 'Subject: three\r\n\r\n'];
    for (const [user, how] of [
      ['anne', 'clear'],
      ['bob', 'compressed'],
      ['carol', 'tls'],
      ['dora', 'starttls'],
    ] as const) {
      const isTls = how === 'tls';
      const wire = await CsyncWire.connect(isTls ? place.tlsPort : place.port, { tls: isTls });
      if (how === 'starttls') await wire.startTls();
      await wire.login();
      if (how === 'compressed') await wire.compress();
      await pushMailbox(wire, user, contents);
      await wire.ok(`APPLY SUB %(USERID ${user} MBOXNAME user.${user})`);
      await wire.ok('RESTART');
      const answer = await wire.ok(`GET USER ${user}`);
      expect(answer.lines.map((line) => line.split(' ')[1])).toEqual(['MAILBOX', 'LSUB']);
      const [full] = (await wire.ok(`GET FULLMAILBOX user.${user}`)).lines;
      for (const content of contents) expect(full).toContain(sha1(content));
      await wire.ok('EXIT');
      await wire.closed();
    }
    expect(readdirSync(path.join(place.dir, 'staging'))).toEqual([]);
  });

  test('gives a message that came too early to whoever needs it', async () => {
    const wire = await (await CsyncWire.connect(place.port)).login();
    const content = 'Subject: nobody knows yet\r\n\r\n';
    await wire.ok('GET MAILBOXES (user.eve user.fred)');
    await wire.ok(`APPLY MESSAGE (%{default ${sha1(content)} ${content.length}}\r\n`, content, ')');
    for (const user of ['eve', 'fred']) await wire.ok(mailbox(`user.${user}`, `uid-${user}`, [content]));
    await wire.ok('RESTART');
    const answer = await wire.ok('GET MAILBOXES (user.eve user.fred)');
    expect(answer.lines).toHaveLength(2);
    const get = `GET FETCH %(MBOXNAME user.fred PARTITION default UNIQUEID uid-fred GUID ${sha1(content)} UID 1)`;
    expect((await wire.ok(get)).lines[0]).toContain(content.trim());
    await wire.ok('EXIT');
    expect(readdirSync(path.join(place.dir, 'staging'))).toEqual([]);
  });

  test('gives a message that another backup has had for long to a mailbox that is new', async () => {
    const content = 'Subject: copied from the shared folder before that was ever pushed\r\n\r\n';
    const first = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(first, 'kate', [content]);
    await first.ok('EXIT');
    const wire = await (await CsyncWire.connect(place.port)).login();
    expect((await wire.ok('GET MAILBOXES (user.kate shared.news)')).lines).toHaveLength(1);
    // sync_client asks for what all mailboxes of the batch need, but names only those that the server has.
    const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (user.kate) GUID (${sha1(content)}))`;
    expect((await wire.ok(reserve)).lines).toEqual([]);
    await wire.ok(mailbox('shared.news', 'uid-news', [content]));
    const get = `GET FETCH %(MBOXNAME shared.news PARTITION default UNIQUEID uid-news GUID ${sha1(content)} UID 1)`;
    expect((await wire.ok(get)).lines[0]).toContain(content.trim());
    await wire.ok('EXIT');
  });

  test('goes on though the mail server cannot read messages, for which it sends NIL', async () => {
    const content = 'Subject: sound\r\n\r\n';
    const wire = await (await CsyncWire.connect(place.port)).login();
    await wire.ok('GET USER lea');
    await wire.ok('APPLY MESSAGE (NIL)');
    await wire.ok(`APPLY MESSAGE (NIL %{default ${sha1(content)} ${content.length}}\r\n`, content, ')');
    const inbox = ['lost one\r\n', content, 'lost two\r\n'];
    await wire.ok(mailbox('user.lea', 'uid-lea', inbox));
    const get = `GET FETCH %(MBOXNAME user.lea PARTITION default UNIQUEID uid-lea GUID ${sha1(content)} UID 2)`;
    expect((await wire.ok(get)).lines[0]).toContain(content.trim());
    // It cannot read one, and says nothing of the other: that it may have.
    await wire.ok('APPLY MESSAGE (NIL)');
    const more = mailbox('user.lea.more', 'uid-more', ['lost three\r\n', 'lost four\r\n']);
    expect((await wire.command(more)).final).toMatch(/^NO IMAP_SYNC_CHECKSUM /);
    await wire.ok('APPLY MESSAGE (NIL NIL)');
    await wire.ok(more);
    // What was said before another MAILBOX counts no more.
    const other = mailbox('user.lea.other', 'uid-other', ['lost five\r\n']);
    expect((await wire.command(other)).final).toMatch(/^NO IMAP_SYNC_CHECKSUM /);
    for (const nothing of ['()', 'text', '(text)', '%(A NIL)'])
      expect((await wire.command(`APPLY MESSAGE ${nothing}`)).final).toMatch(/^NO IMAP_PROTOCOL_ERROR /);
    await wire.ok('EXIT');
  });

  // What a client has sent, or was told that the server has, it does not send again in the same session, whatever it is answered.
  describe('does not lose what came before an answer that makes the client send the mailbox again:', () => {
    const mail = (what: string): string => `Subject: ${what}\r\n\r\n`;
    const send = async (wire: CsyncWire, ...messages: string[]): Promise<void> => {
      const files = messages.flatMap((one, i) => [
        `${i > 0 ? ' ' : ''}%{default ${sha1(one)} ${one.length}}\r\n`,
        one,
      ]);
      await wire.ok('APPLY MESSAGE (', ...files, ')');
    };
    const expectHas = async (wire: CsyncWire, user: string, ...messages: string[]): Promise<void> => {
      for (const message of messages) {
        const at = `MBOXNAME user.${user} PARTITION default UNIQUEID uid-${user}`;
        const { lines } = await wire.ok(`GET FETCH %(${at} GUID ${sha1(message)} UID 1)`);
        expect(lines[0]).toContain(message.trim());
      }
    };

    test('the mail server has lost one of the messages', async () => {
      const wire = await (await CsyncWire.connect(place.port)).login();
      const [lost, ...sound] = ['lost by the mail server', 'sound', 'sound, too'].map(mail) as [
        string,
        string,
      ];
      await wire.ok('GET USER lena');
      await send(wire, ...sound);
      const inbox = mailbox('user.lena', 'uid-lena', [lost, ...sound]);
      expect((await wire.command(inbox)).kind).toBe('NO IMAP_SYNC_CHECKSUM');
      expect((await wire.ok('GET MAILBOXES (user.lena)')).lines).toEqual([]);
      await wire.ok(inbox);
      await expectHas(wire, 'lena', ...sound);
      await wire.ok('EXIT');
    });

    test('the mail server was put back to an older state', async () => {
      const [one, two, next] = ['one', 'two', 'next'].map(mail) as [string, string, string];
      const first = await (await CsyncWire.connect(place.port)).login();
      await pushMailbox(first, 'mila', [one, two]);
      await first.ok('EXIT');
      const wire = await (await CsyncWire.connect(place.port)).login();
      expect((await wire.ok('GET USER mila')).lines).toHaveLength(1);
      // Its numbers have passed those of the backup, but for one.
      await send(wire, next);
      const now = mailbox('user.mila', 'uid-mila', [next]).replace('HIGHESTMODSEQ 2', 'HIGHESTMODSEQ 9');
      expect((await wire.command(now)).kind).toBe('NO IMAP_SYNC_CHECKSUM');
      await wire.ok(now);
      await expectHas(wire, 'mila', next);
      await wire.ok('EXIT');
    });

    test('what a RESERVE found in another backup cannot be read there', async () => {
      const message = mail(`cannot be read ${randomBytes(400).toString('hex')}`);
      const first = await (await CsyncWire.connect(place.port)).login();
      await pushMailbox(first, 'nils', [message]);
      await first.ok('EXIT');
      flipBit(place, 'nils');
      const wire = await (await CsyncWire.connect(place.port)).login();
      const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (user.nils) GUID (${sha1(message)}))`;
      const inbox = mailbox('user.otto', 'uid-otto', [message]);
      await wire.ok('GET MAILBOXES (user.nils user.otto)');
      expect((await wire.ok(reserve)).lines).toEqual([]);
      for (const _ of ['at once', 'with all of its records'])
        expect((await wire.command(inbox)).kind).toBe('NO IMAP_SYNC_CHECKSUM');
      await wire.ok('RESTART');
      await wire.ok('GET MAILBOXES (user.nils user.otto)');
      expect((await wire.ok(reserve)).lines).toEqual([`* MISSING (${sha1(message)})`]);
      await send(wire, message);
      await wire.ok(inbox);
      await expectHas(wire, 'otto', message);
      await wire.ok('EXIT');
    });

    test('what was damaged is in another backup, which is why it is not sent', async () => {
      const message = mail(`damaged in one of two ${randomBytes(400).toString('hex')}`);
      for (const user of ['paula', 'quinn']) {
        const wire = await (await CsyncWire.connect(place.port)).login();
        await pushMailbox(wire, user, [message]);
        await wire.ok('EXIT');
      }
      flipBit(place, 'paula');
      const wire = await (await CsyncWire.connect(place.port)).login();
      const get = `GET FETCH %(MBOXNAME user.paula PARTITION default UNIQUEID uid-paula GUID ${sha1(message)} UID 1)`;
      expect((await wire.command(get)).kind).toBe('NO IMAP_MAILBOX_NONEXISTENT');
      await wire.ok('RESTART');
      expect((await wire.ok('GET MAILBOXES (user.paula user.quinn)')).lines).toHaveLength(1);
      const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (user.quinn) GUID (${sha1(message)}))`;
      expect((await wire.ok(reserve)).lines).toEqual([]);
      await wire.ok(mailbox('user.paula', 'uid-paula', [message]));
      await expectHas(wire, 'paula', message);
      await wire.ok('EXIT');
    });
  });

  test('a renamed user takes the backup along', async () => {
    const wire = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(wire, 'grete', ['Subject: kept\r\n\r\n']);
    await wire.ok('RESTART');
    await wire.ok('GET MAILBOXES (user.grete user.hanna)');
    await wire.ok(
      'APPLY RENAME %(OLDMBOXNAME user.grete NEWMBOXNAME user.hanna PARTITION default UIDVALIDITY 1700000000)',
    );
    expect((await wire.ok('GET USER grete')).lines).toEqual([]);
    expect((await wire.ok('GET USER hanna')).lines[0]).toContain('MBOXNAME user.hanna ');
    await wire.ok('EXIT');
  });

  test('a message that the backup of a renamed user has goes to who needs it, under the new name too', async () => {
    const content = 'Subject: of who has another name by now\r\n\r\n';
    const pending = 'Subject: not yet in a mailbox\r\n\r\n';
    const first = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(first, 'mia', [content]);
    await first.ok('EXIT');
    const wire = await (await CsyncWire.connect(place.port)).login();
    await wire.ok('GET MAILBOXES (user.mia shared.minutes)');
    const guids = `${sha1(content)} ${sha1(pending)}`;
    const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (user.mia) GUID (${guids}))`;
    expect((await wire.ok(reserve)).lines).toEqual([`* MISSING (${sha1(pending)})`]);
    await wire.ok(`APPLY MESSAGE (%{default ${sha1(pending)} ${pending.length}}\r\n`, pending, ')');
    await wire.ok(
      'APPLY RENAME %(OLDMBOXNAME user.mia NEWMBOXNAME user.nora PARTITION default UIDVALIDITY 1700000000)',
    );
    // Somebody else has the old name by now.
    await wire.ok(mailbox('user.mia', 'uid-new-mia', []));
    await wire.ok(mailbox('shared.minutes', 'uid-minutes', [content, pending]));
    for (const [i, text] of [content, pending].entries()) {
      const of = `MBOXNAME shared.minutes PARTITION default UNIQUEID uid-minutes GUID ${sha1(text)} UID ${i + 1}`;
      expect((await wire.ok(`GET FETCH %(${of})`)).lines[0]).toContain(text.trim());
    }
    await wire.ok('EXIT');
  });

  test('somebody new with an old userid gets the messages that only the former owner’s backup has', async () => {
    const content = 'Subject: brought back by hand after the account was made anew\r\n\r\n';
    const later = 'Subject: in a folder that was deleted before\r\n\r\n';
    const trash = 'DELETED.user.olga.Old.5F3A1B2C';
    const first = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(first, 'olga', [content]);
    await first.ok(mailbox(trash, 'uid-old', []));
    await first.ok('APPLY UNUSER olga');
    await first.ok('EXIT');
    const wire = await (await CsyncWire.connect(place.port)).login();
    const answer = await wire.ok('GET USER olga');
    expect(answer.lines).toHaveLength(1);
    const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (${trash}) GUID (${sha1(content)} ${sha1(later)}))`;
    expect((await wire.ok(reserve)).lines).toEqual([`* MISSING (${sha1(later)})`]);
    await wire.ok(mailbox('user.olga', 'uid-new-olga', [content]));
    await wire.ok(`APPLY MESSAGE (%{default ${sha1(later)} ${later.length}}\r\n`, later, ')');
    // Of the folders that the mail server still has of the former owner the history is in the former backup.
    await wire.ok(mailbox(trash, 'uid-old', [later]));
    await wire.ok('RESTART');
    for (const [name, uniqueid, text] of [
      ['user.olga', 'uid-new-olga', content],
      [trash, 'uid-old', later],
    ] as const) {
      const of = `MBOXNAME ${name} PARTITION default UNIQUEID ${uniqueid} GUID ${sha1(text)} UID 1`;
      expect((await wire.ok(`GET FETCH %(${of})`)).lines[0]).toContain(text.trim());
    }
    await wire.ok('EXIT');
  });

  test('what was reserved for one of several users, and is another’s, stays in no file but that one’s', async () => {
    const content = 'Subject: a secret of quin\r\n\r\n';
    const first = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(first, 'pia', ['Subject: of pia\r\n\r\n']);
    await first.ok('EXIT');
    const wire = await (await CsyncWire.connect(place.port)).login();
    // A copy from one user's mailbox to another's is logged for both, and the client syncs them in one batch.
    expect((await wire.ok('GET MAILBOXES (user.pia user.quin)')).lines).toHaveLength(1);
    const reserve = `APPLY RESERVE %(PARTITION default MBOXNAME (user.pia) GUID (${sha1(content)}))`;
    expect((await wire.ok(reserve)).lines).toEqual([`* MISSING (${sha1(content)})`]);
    await wire.ok(`APPLY MESSAGE (%{default ${sha1(content)} ${content.length}}\r\n`, content, ')');
    await wire.ok(mailbox('user.quin', 'uid-quin', [content]));
    await wire.ok('RESTART');
    const ofPia = await wire.ok(
      `GET FETCH %(MBOXNAME user.quin UNIQUEID uid-quin GUID ${sha1(content)} UID 1)`,
    );
    expect(ofPia.lines[0]).toContain(content.trim());
    const has = async (user: string): Promise<boolean> => {
      const again = `APPLY RESERVE %(PARTITION default MBOXNAME (user.${user}) GUID (${sha1(content)}))`;
      return (await wire.ok(again)).lines.length === 0;
    };
    expect(await has('quin')).toBe(true);
    expect(await has('pia')).toBe(false);
    await wire.ok('EXIT');
  });

  test('a mailbox that stayed behind under the old name goes where the client sees it', async () => {
    const wire = await (await CsyncWire.connect(place.port)).login();
    // The mail server was put back to a state before it had `old`, and then renamed the user.
    await wire.ok(mailbox('user.ina', 'uid-ina', []));
    await wire.ok(mailbox('user.ina.old', 'uid-old', []));
    await wire.ok('RESTART');
    await wire.ok('GET MAILBOXES (user.ina user.jana)');
    await wire.ok(
      'APPLY RENAME %(OLDMBOXNAME user.ina NEWMBOXNAME user.jana PARTITION default UIDVALIDITY 1700000000)',
    );
    await wire.ok('RESTART');
    // Somebody else has the old name by now, and a mailbox of that name.
    await wire.ok(mailbox('user.ina', 'uid-new', []));
    await wire.ok(mailbox('user.ina.old', 'uid-new-old', []));
    await wire.ok('RESTART');
    const names = async (user: string): Promise<string[]> =>
      (await wire.ok(`GET USER ${user}`)).lines.flatMap((line) => /MBOXNAME (\S+)/.exec(line)?.[1] ?? []);
    expect(await names('jana')).toEqual(['user.jana', 'user.ina.old']);
    await wire.ok('APPLY UNMAILBOX user.ina.old');
    expect(await names('jana')).toEqual(['user.jana']);
    expect(await names('ina')).toEqual(['user.ina', 'user.ina.old']);
    // There it is that of whom the name says.
    await wire.ok('APPLY UNMAILBOX user.ina.old');
    expect(await names('ina')).toEqual(['user.ina']);
    await names('jana');
    await wire.ok('APPLY UNMAILBOX user.ina');
    expect(await names('ina')).toEqual([]);
    await wire.ok('EXIT');
  });

  test('a second connection to the same backup has to wait', async () => {
    const first = await (await CsyncWire.connect(place.port)).login();
    const second = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(first, 'ida', ['Subject: x\r\n\r\n']);
    expect((await second.command('GET USER ida')).kind).toBe('NO IMAP_MAILBOX_LOCKED');
    await first.ok('RESTART');
    expect((await second.command('GET USER ida')).kind).toBe('OK');
    first.destroy();
    second.destroy();
  });

  test('shows all of this in its metrics', async () => {
    expect(await metric(place, 'messages_received_total')).toBeGreaterThanOrEqual(12);
    expect(await metric(place, 'received_bytes_total')).toBeGreaterThan(9_000_000);
    expect(await metric(place, 'syncs_total')).toBeGreaterThan(4);
    expect(await metric(place, 'store_appends_total')).toBeGreaterThan(6);
    expect(await metric(place, 'store_cache_hits_total')).toBeGreaterThan(2);
    expect(await metric(place, 'store_cache_misses_total')).toBeGreaterThanOrEqual(6);
    const scrape = await (await fetch(`${place.metrics}/metrics`)).text();
    expect(scrape).toContain('commands_total{verb="APPLY MAILBOX",result="IMAP_MAILBOX_LOCKED"} 0\n');
    expect(await metric(place, 'deflate_wait_seconds_count')).toBeGreaterThan(4);
    expect(await metric(place, 'store_backups_created_total')).toBeGreaterThanOrEqual(6);
    expect(await metric(place, 'slabs_free')).toBe(place.server.slabs.count);
    expect(await metric(place, 'ack_seconds_count')).toBeGreaterThan(20);
    expect(await metric(place, 'deflate_seconds_count')).toBeGreaterThan(4);
    // Of each second that has passed.
    await expect
      .poll(() => metric(place, 'event_loop_delay_seconds_count'), { timeout: 10_000 })
      .toBeGreaterThan(0);
    expect(await (await fetch(`${place.metrics}/metrics`)).text()).toContain(
      '\ncsync_backup_receive_buffer_shared 1\n',
    );
    expect(await (await fetch(`${place.metrics}/healthz`)).text()).toBe('ok\n');
  });

  test('takes over certificates, admins and credentials while it runs', async () => {
    const before = await CsyncWire.connect(place.tlsPort, { tls: true });
    const subject = (wire: CsyncWire) =>
      (wire.socket as import('node:tls').TLSSocket).getPeerCertificate().subject.CN;
    expect(subject(before)).toBe('backup.test');
    const config = loadConfig({ file: place.file });
    const change = place.server.reload({
      ...config,
      tlsServerCert: path.join(TLS_FIXTURES, 'cert-2.pem'),
      tlsServerKey: path.join(TLS_FIXTURES, 'key-2.pem'),
      admins: ['backup', 'other'],
      shards: 7,
    });
    expect(change).toMatchObject({
      changed: ['admins', 'tls_server_cert', 'tls_server_key'],
      needsRestart: ['backup_shards'],
    });
    const after = await CsyncWire.connect(place.tlsPort, { tls: true });
    expect(subject(after)).toBe('backup-2.test');
    expect((await before.login()).greeting.kind).toBe('OK');
    expect(place.server.config.shards).toBe(2);
    writeFileSync(path.join(place.dir, 'broken.pem'), 'no certificate');
    expect(() =>
      place.server.reload({ ...config, tlsServerCert: path.join(place.dir, 'broken.pem') }),
    ).toThrow();
    expect(subject(await CsyncWire.connect(place.tlsPort, { tls: true }))).toBe('backup-2.test');
    before.destroy();
    after.destroy();
  });
});

describe('limits', () => {
  test('2,000 idle connections cost little, and one more than allowed is turned away', async () => {
    const place = await startServer({ backup_max_connections: '2001' });
    const sockets: net.Socket[] = [];
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 2000; i += 100) {
      const batch = Array.from({ length: 100 }, () => net.connect({ port: place.port, host: '127.0.0.1' }));
      sockets.push(...batch);
      await Promise.all(batch.map((socket) => new Promise((resolve) => socket.once('data', resolve))));
    }
    expect(place.server.sessionCount).toBe(2000);
    // Both ends of each connection are in this process.
    expect((process.memoryUsage().rss - before) / 2000).toBeLessThan(100_000);
    const wire = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(wire, 'anne', ['Subject: undisturbed\r\n\r\n']);
    const refused = await CsyncWire.connect(place.port);
    expect(refused.greeting.final).toBe('* BYE Too many connections');
    await refused.closed();
    expect(await metric(place, 'sessions')).toBe(2001);
    await wire.ok('EXIT');
    for (const socket of sockets) socket.destroy();
    await eventually(() => place.server.sessionCount).toBe(0);
    await stopServer(place);
  });
});

describe('the end', () => {
  test('a command that has begun is carried out, then everybody is told BYE', async () => {
    const place = await startServer();
    const idle = await CsyncWire.connect(place.port);
    const busy = await (await CsyncWire.connect(place.port)).login();
    const content = 'Subject: last\r\n\r\n';
    await busy.ok('GET USER anne');
    busy.send(`APPLY MESSAGE (%{default ${sha1(content)} ${content.length}}\r\n`);
    await eventually(async () => await metric(place, 'sessions')).toBe(2);
    await eventually(async () =>
      (await (await fetch(`${place.metrics}/metrics`)).text()).includes('sessions{state="receiving"} 1'),
    ).toBe(true);
    const stopped = place.server.stop();
    expect((await idle.read()).final).toBe('* BYE csync-backup is shutting down');
    await expect(CsyncWire.connect(place.port)).rejects.toThrow();
    busy.send(content, ')\r\n');
    expect((await busy.read()).final).toBe('OK Success');
    expect((await busy.read()).final).toBe('* BYE csync-backup is shutting down');
    await stopped;
    rmSync(place.dir, { recursive: true });
  });

  test('one that does not end in time is cut off', async () => {
    const place = await startServer();
    const wire = await (await CsyncWire.connect(place.port)).login();
    wire.send('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne ');
    await eventually(async () =>
      (await (await fetch(`${place.metrics}/metrics`)).text()).includes('sessions{state="receiving"} 1'),
    ).toBe(true);
    await place.server.stop(50);
    await wire.closed();
    expect(place.server.sessionCount).toBe(0);
    rmSync(place.dir, { recursive: true });
  });

  test('what was acknowledged is there after the next start', async () => {
    const place = await startServer();
    const wire = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(wire, 'anne', ['Subject: kept\r\n\r\n']);
    await place.server.stop();
    const config = loadConfig({ file: place.file });
    const again = new CsyncServer({ config, log, version: '0.0.0', engine: 'zlib' });
    await again.start();
    const port = Number(/:(\d+)/.exec(again.addresses[0]!)![1]);
    const reader = await (await CsyncWire.connect(port)).login();
    expect((await reader.ok('GET USER anne')).lines[0]).toContain('MBOXNAME user.anne ');
    await again.stop();
    rmSync(place.dir, { recursive: true });
  });
});

describe('threads', () => {
  test('a store thread that dies takes its sessions along, and another takes its place', async () => {
    threads.length = 0;
    const place = await startServer();
    const wire = await (await CsyncWire.connect(place.port)).login();
    const other = await (await CsyncWire.connect(place.port)).login();
    await pushMailbox(wire, 'anne', ['Subject: kept\r\n\r\n']);
    // The deflate pool is made first.
    await threads[1]!.terminate();
    expect((await wire.read()).final).toBe('* BYE The store was interrupted');
    await eventually(async () => (await other.command('GET USER anne')).kind).toBe('OK');
    expect((await other.command('GET USER anne')).lines[0]).toContain('MBOXNAME user.anne ');
    expect(await metric(place, 'thread_deaths_total')).toBe(1);
    expect(await (await fetch(`${place.metrics}/healthz`)).text()).toBe('ok\n');
    await stopServer(place);
  });

  test('a deflate thread that dies costs the commands in it, for now', async () => {
    threads.length = 0;
    const place = await startServer();
    const wire = await (await CsyncWire.connect(place.port)).login();
    await threads[0]!.terminate();
    await eventually(async () => {
      await wire.ok('GET USER anne');
      const content = 'y'.repeat(500_000);
      const file = `%{default ${sha1(content)} ${content.length}}\r\n${content}`;
      return (await wire.command(`APPLY MESSAGE (${file})`)).kind;
    }).toBe('OK');
    await stopServer(place);
  });

  test('a server whose store does not come up says why', async () => {
    const { dir, config } = testConfig();
    process.env[NO_FFI_VARIABLE] = '1';
    const unusable: Config = { ...config, deflateEngine: 'isal' };
    const server = new CsyncServer({ config: unusable, log, version: '0.0.0', engine: 'isal' });
    await expect(server.start()).rejects.toThrow(/cannot start store thread 0: .*libisal/);
    delete process.env[NO_FFI_VARIABLE];
    rmSync(dir, { recursive: true });
  });

  test('an address in use is an error, and nothing stays behind', async () => {
    const place = await startServer();
    const { dir, config } = testConfig({ backup_listen: `127.0.0.1:${place.port}` });
    const server = new CsyncServer({ config, log, version: '0.0.0', engine: 'zlib' });
    await expect(server.start()).rejects.toThrow(/EADDRINUSE/);
    rmSync(dir, { recursive: true });
    await stopServer(place);
  });
});
