import { createHash } from 'node:crypto';
import net from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { message, Random } from '../support/random.ts';
import { type Answer, CsyncWire } from '../support/wire.ts';

const MEMORY_LIMIT_MB = 128;
/** What the process may ever hold: the limit for clients' data, and Node with its threads. */
const CEILING_BYTES = 320 * 1024 * 1024;

const MAILBOX = (name: string, records: string, id = name): string =>
  `APPLY MAILBOX %(UNIQUEID id-${id} MBOXNAME ${name} SYNC_CRC 0 SYNC_CRC_ANNOT 0 LAST_UID 100000 HIGHESTMODSEQ 9 ` +
  'RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 5 PARTITION default ' +
  `ACL "" OPTIONS P RECORD (${records}))`;

const RECORD = (uid: number, guid: string, size: number): string =>
  `%(UID ${uid} MODSEQ 2 LAST_UPDATED 1 FLAGS () INTERNALDATE 1 SIZE ${size} GUID ${guid})`;

describe('clients that do not behave', () => {
  let site: BackupSite;
  let server: BackupServer;
  let honest: CsyncWire;
  let updates = 0;
  const open: CsyncWire[] = [];

  beforeAll(async () => {
    site = await BackupSite.create({
      backup_shards: '2',
      backup_memory_limit: `${MEMORY_LIMIT_MB}M`,
      backup_max_message_size: '64M',
      failedloginpause: '0s',
    });
    server = await site.start();
    honest = await server.connect();
  });

  /** After each attack another client's update goes through, and memory is bounded. */
  afterEach(async () => {
    for (const wire of open.splice(0)) wire.destroy();
    expect(server.alive).toBe(true);
    await update();
    expect(server.peakMemoryBytes()).toBeLessThan(CEILING_BYTES);
  });

  afterAll(async () => {
    honest?.destroy();
    const { stdout } = await site.cli(['list', '--json']);
    const userids = stdout
      .toString()
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { userid: string }).userid);
    // Of the liar it is kept that his mailbox is to be sent again.
    expect(userids.sort()).toEqual(['honest', 'liar', 'reader']);
    expect((await site.cli(['verify', '-A'])).status).toBe(0);
    expect(await server.stop()).toBe(0);
    site.remove();
  });

  /** A small honest update by the other client, read back. */
  async function update(): Promise<void> {
    const bytes = message(new Random(`update ${++updates}`), 2000);
    const guid = createHash('sha1').update(bytes).digest('hex');
    await honest.ok(`APPLY MESSAGE (%{default ${guid} ${bytes.length}}\r\n`, bytes, ')');
    const name = `user.honest.f${updates}`;
    await honest.ok(MAILBOX(name, RECORD(1, guid, bytes.length)));
    const { lines } = await honest.ok(`GET FULLMAILBOX ${name}`);
    expect(lines.join()).toContain(guid);
    await honest.ok('RESTART');
  }

  async function attacker(): Promise<CsyncWire> {
    const wire = await server.connect();
    open.push(wire);
    return wire;
  }

  const refused = (answer: Answer): void =>
    expect(answer.kind, answer.final).toMatch(/^(NO IMAP_PROTOCOL|NO IMAP_MAILBOX_LOCKED|BAD)/);

  /** Writes until the server stops the connection or `bytes` are sent; heeds the socket's back-pressure. */
  async function flood(wire: CsyncWire, block: Buffer, bytes: number): Promise<'sent' | 'closed'> {
    const { socket } = wire;
    for (let sent = 0; sent < bytes; sent += block.length) {
      if (socket.destroyed || socket.writableEnded) return 'closed';
      if (socket.write(block)) continue;
      await new Promise<void>((resolve) => {
        const go = (): void => {
          socket.off('drain', go).off('close', go);
          resolve();
        };
        socket.on('drain', go).on('close', go);
      });
    }
    return 'sent';
  }

  test('half commands leave nothing behind', async () => {
    const halves = [
      'APPLY',
      'APPLY MAILBOX %(UNIQUEID x MBOXNAME user.half',
      `APPLY MESSAGE (%{default ${'a'.repeat(40)} 1000}\r\nonly this`,
      'GET USER ha',
      'APPLY SIEVE %(USERID half FILENAME f LAST_UPDATE 1 CONTENT {100+}\r\nx',
      MAILBOX('user.half', '').slice(0, -1),
    ];
    for (const half of halves) {
      const wire = await attacker();
      wire.send(half);
      await new Promise((resolve) => setTimeout(resolve, 20));
      wire.destroy();
    }
  });

  test('a half message that was streaming leaves nothing behind', async () => {
    const wire = await attacker();
    wire.send(`APPLY MESSAGE (%{default ${'b'.repeat(40)} 20000000}\r\n`);
    await flood(wire, Buffer.alloc(65_536, 'm'), 8_000_000);
    wire.destroy();
  });

  test('a GUID that is not the message’s', async () => {
    const wire = await attacker();
    refused(await wire.command(`APPLY MESSAGE (%{default ${'0'.repeat(40)} 3}\r\nabc)`));
    refused(
      await wire.command(
        `APPLY MESSAGE (%{default ${'c'.repeat(40)} 2000000}\r\n`,
        Buffer.alloc(2_000_000),
        ')',
      ),
    );
    await wire.ok('NOOP');
  });

  test('sizes that are not the message’s', async () => {
    const guid = createHash('sha1').update('abc').digest('hex');
    const [short, long] = [await attacker(), await attacker()];
    refused(await short.command(`APPLY MESSAGE (%{default ${guid} 2}\r\nabc)`));
    await short.ok('NOOP');
    // A size too large swallows the end of the command: the server waits for the rest, as it must.
    long.send(`APPLY MESSAGE (%{default ${guid} 9}\r\nabc)\r\n`);
    long.send('xx)\r\n');
    refused(await long.read());
    await long.ok('NOOP');
  });

  test('a record whose size is not the message’s, or whose message nobody sent', async () => {
    const wire = await attacker();
    const answer = await wire.command(MAILBOX('user.liar', RECORD(1, 'd'.repeat(40), 10)));
    expect(answer.kind).toBe('NO IMAP_SYNC_CHECKSUM');
  });

  for (const [what, value] of [
    ['no number', 'UID x'],
    ['a negative number', 'UID -1'],
    ['a number of 30 digits', `UID ${'9'.repeat(30)}`],
    ['a list for a number', 'UID (1)'],
    ['a missing field', ''],
    ['a GUID that is none', 'UID 1 GUID zz'],
  ] as const) {
    test(`a MAILBOX with ${what}`, async () => {
      const wire = await attacker();
      refused(
        await wire.command(
          MAILBOX('user.bad', `%(${value} MODSEQ 1 LAST_UPDATED 1 FLAGS () INTERNALDATE 1 SIZE 1)`),
        ),
      );
      refused(await wire.command('APPLY MAILBOX %(UNIQUEID a)'));
      await wire.ok('NOOP');
    });
  }

  test('names that would leave the partition', async () => {
    const wire = await attacker();
    for (const user of ['../../evil', '..', '.', '/etc/passwd', 'a/../../b', '', 'x'.repeat(5000)]) {
      const answer = await wire.command(`APPLY SUB %(USERID "${user}" MBOXNAME "user.${user}")`);
      expect(answer.kind, user.slice(0, 30)).toMatch(/^(NO|BAD)/);
    }
  });

  test('an endless line', async () => {
    for (const start of [
      '',
      'APPLY MAILBOX %(UNIQUEID ',
      'GET USER ',
      'APPLY SUB %(USERID "',
      'AUTHENTICATE ',
    ]) {
      const wire = await attacker();
      wire.send(start);
      await flood(wire, Buffer.alloc(65_536, 'a'), 24 << 20);
      if (wire.socket.destroyed) continue;
      wire.send('\r\n');
      refused(await wire.read());
    }
  });

  test('an endless line before login', async () => {
    const wire = await CsyncWire.connect(site.port);
    open.push(wire);
    if ((await flood(wire, Buffer.alloc(65_536, 'a'), 24 << 20)) === 'closed') return;
    wire.send('\r\n');
    refused(await wire.read());
  });

  test('a message before login is not taken', async () => {
    const wire = await CsyncWire.connect(site.port);
    open.push(wire);
    wire.send(`APPLY MESSAGE (%{default ${'e'.repeat(40)} 60000000}\r\n`);
    await flood(wire, Buffer.alloc(65_536, 'm'), 60_000_000);
    if (!wire.socket.destroyed) {
      wire.send(')\r\n');
      expect((await wire.read()).kind).toMatch(/^(NO|BAD)/);
    }
  });

  test('literals over the limit', async () => {
    for (const literal of [
      'APPLY SIEVE %(USERID half FILENAME f LAST_UPDATE 1 CONTENT {99999999999+}\r\n',
      'APPLY SIEVE %(USERID half FILENAME f LAST_UPDATE 1 CONTENT {4294967296}\r\n',
      `APPLY MESSAGE (%{default ${'f'.repeat(40)} 99999999999}\r\n`,
      `APPLY MESSAGE (%{default ${'f'.repeat(40)} 67108865}\r\n`,
      `APPLY MESSAGE (%{default ${'f'.repeat(40)} 18446744073709551616}\r\n`,
    ]) {
      const wire = await attacker();
      wire.send(literal);
      refused(await wire.read());
    }
  });

  test('a message as long as is allowed, which is none', async () => {
    const wire = await attacker();
    wire.send(`APPLY MESSAGE (%{default ${'f'.repeat(40)} 67108864}\r\n`);
    await flood(wire, Buffer.alloc(65_536, 'm'), 67_108_864);
    wire.send(')\r\n');
    refused(await wire.read());
    await wire.ok('NOOP');
  });

  test('parentheses without end', async () => {
    for (const [start, block] of [
      ['APPLY MAILBOX ', '('],
      ['APPLY MAILBOX ', '%(A '],
      ['GET MAILBOXES ', '('],
      ['APPLY RESERVE ', '%('],
    ] as const) {
      const wire = await attacker();
      wire.send(start);
      await flood(wire, Buffer.from(block.repeat(16_384)), 8 << 20);
      if (wire.socket.destroyed) continue;
      wire.send('\r\n');
      refused(await wire.read());
      await wire.ok('NOOP');
    }
  });

  test('a list without end', async () => {
    const wire = await attacker();
    wire.send('GET MAILBOXES (');
    await flood(wire, Buffer.from('user.a '.repeat(8192)), 32 << 20);
    if (!wire.socket.destroyed) {
      wire.send(')\r\n');
      refused(await wire.read());
    }
  });

  test('noise', async () => {
    const random = new Random('noise');
    for (let i = 0; i < 20; i++) {
      const wire = await attacker();
      wire.send(random.bytes(random.int(1, 5000)), '\r\n', random.bytes(200));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });

  test('clients that send a byte at a time hold nobody up', async () => {
    const wire = await attacker();
    const text = `${MAILBOX('user.slow', '')}\r\n`;
    for (const [i, byte] of [...text.slice(0, 60)].entries()) {
      wire.send(byte);
      if (i % 20 === 0) await update();
    }
  });

  test('many messages begun at once and never ended wait for memory, and others get through', async () => {
    for (let i = 0; i < 100; i++) {
      const wire = await attacker();
      wire.send(`APPLY MESSAGE (%{default ${'a'.repeat(40)} 60000000}\r\n`);
      wire.socket.write(Buffer.alloc(4 << 20, 'm'));
    }
    await update();
  });

  test('slow readers are not written for beyond measure', async () => {
    const reader = await attacker();
    const bytes = message(new Random('reader'), 500);
    const guid = createHash('sha1').update(bytes).digest('hex');
    await reader.ok(`APPLY MESSAGE (%{default ${guid} ${bytes.length}}\r\n`, bytes, ')');
    const records = Array.from({ length: 20_000 }, (_, i) => RECORD(i + 1, guid, bytes.length)).join(' ');
    // One message under 20,000 UIDs: no more work than as many messages.
    await reader.ok(MAILBOX('user.reader', records));
    await reader.ok('RESTART');
    for (let i = 0; i < 8; i++) {
      const wire = await attacker();
      wire.socket.pause();
      for (let n = 0; n < 30; n++) wire.send('GET FULLMAILBOX user.reader\r\n');
    }
    await update();
  });

  test('2,000 idle connections', async () => {
    const sockets: net.Socket[] = [];
    let greeted = 0;
    await new Promise<void>((resolve, reject) => {
      for (let i = 0; i < 2000; i++) {
        const socket = net.connect(site.port, '127.0.0.1');
        socket.on('error', reject);
        socket.once('data', () => {
          if (++greeted === 2000) resolve();
        });
        sockets.push(socket);
      }
    });
    await update();
    for (const socket of sockets) socket.destroy();
    await update();
  });
});
