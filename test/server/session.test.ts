import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CsyncWire } from '../support/wire.ts';
import { eventually, Harness } from './harness.ts';

let harness: Harness;
let wire: CsyncWire;

beforeEach(async () => {
  harness = await new Harness().listen();
  wire = await harness.connect();
});
afterEach(async () => {
  const unexpected = await harness.unexpectedRefusals();
  await harness.close();
  expect(unexpected).toEqual([]);
});

function sha1(text: string | Buffer): string {
  return createHash('sha1').update(text).digest('hex');
}

/** The dlist of a message. */
function file(content: string): string {
  return `%{default ${sha1(content)} ${content.length}}\r\n${content}`;
}

async function final(command: string): Promise<string> {
  return (await wire.command(command)).final;
}

describe('before the login', () => {
  test('greets with its capabilities', () => {
    expect(wire.greeting.lines).toEqual(['* SASL SCRAM-SHA-256 SCRAM-SHA-1 PLAIN', '* COMPRESS DEFLATE']);
    expect(wire.greeting.final).toBe('* OK backup.test csync-backup 0.0.0 backup server');
  });

  test('refuses what needs a login, and knows what does not', async () => {
    expect(await final('GET USER alice')).toBe('NO Please authenticate first');
    expect(await final('APPLY SUB %(USERID x MBOXNAME y)')).toBe('NO Please authenticate first');
    expect(await final(`APPLY MESSAGE (${file('x'.repeat(100_000))})`)).toBe('NO Please authenticate first');
    expect(await final('COMPRESS DEFLATE')).toBe('NO Please authenticate first');
    expect(await final('NOSUCH')).toBe('BAD IMAP_PROTOCOL_ERROR Unrecognized command');
    expect(await final('STARTTLS')).toBe('BAD IMAP_PROTOCOL_ERROR Unrecognized command');
    expect(await final('NOOP')).toBe('OK Noop completed');
    expect(await final('RESTART')).toBe('OK Restarting');
    expect(harness.shards.requests).toEqual([]);
  });

  test('answers AUTHENTICATE as backupd does', async () => {
    expect(await final('AUTHENTICATE')).toBe('BAD Missing required argument to Authenticate');
    expect(await final('AUTHENTICATE PLAIN x y')).toBe('BAD Unexpected extra arguments to Authenticate');
    expect(await final('AUTHENTICATE PLAIN AGJhY2t1cAB3cm9uZw==')).toBe('NO authentication failure');
    expect(await final('AUTHENTICATE NOSUCH')).toBe('NO no mechanism available');
    expect(await final('AUTHENTICATE PLAIN not*base64')).toBe('BAD Invalid base64 in the response');
    wire.send('AUTHENTICATE PLAIN\r\n');
    expect((await wire.read()).final).toBe('+ ');
    expect(await final('*')).toBe('BAD Client canceled authentication');
    wire.send('authenticate plain\r\n');
    expect((await wire.read()).final).toBe('+ ');
    expect(await final('AGJhY2t1cABzZWNyZXQ=')).toBe('OK Success (no protection)');
    expect(await final('AUTHENTICATE PLAIN AGJhY2t1cABzZWNyZXQ=')).toBe('BAD Already authenticated');
  });

  test('hangs up on somebody who guesses passwords', async () => {
    for (let i = 0; i < 5; i++)
      expect(await final('AUTHENTICATE PLAIN AGEAYg==')).toBe('NO authentication failure');
    expect((await wire.read()).final).toBe('* BYE Too many failed logins');
    await wire.closed();
  });

  test('answers an IMAP probe with its tag', async () => {
    expect(await final('C01 CAPABILITY')).toBe('C01 BAD IMAP_PROTOCOL_ERROR Unrecognized command');
    expect(await final('Q01 LOGOUT')).toBe('* BYE This is no IMAP server');
    expect((await wire.read()).final).toBe('Q01 OK Completed');
    await wire.closed();
  });

  test('lets nobody in who is no admin', async () => {
    await wire.login('alice');
    expect(await final('GET USER alice')).toBe('NO IMAP_PERMISSION_DENIED Permission denied');
    expect(await final('APPLY UNUSER bob')).toBe('NO IMAP_PERMISSION_DENIED Permission denied');
    expect(await final('RESTART')).toBe('NO IMAP_PERMISSION_DENIED Permission denied');
    expect(await final('EXIT')).toBe('OK Finished');
    expect(harness.shards.requests).toEqual([]);
  });
});

describe('after the login', () => {
  beforeEach(async () => {
    await wire.login();
  });

  test('answers what it does not know, and lives on', async () => {
    expect(await final('nosuch')).toBe('BAD IMAP_PROTOCOL_ERROR Unrecognized command');
    expect(await final('')).toBe('BAD Null command');
    expect(await final('GET NOSUCH x')).toBe('NO IMAP_PROTOCOL_ERROR Protocol error');
    expect(await final('APPLY NOSUCH x')).toBe('NO IMAP_PROTOCOL_ERROR Protocol error');
    expect(await final('APPLY MAILBOX %(UNIQUEID a)')).toMatch(/^NO IMAP_PROTOCOL_ERROR MBOXNAME is missing/);
    expect(await final('APPLY MESSAGE ()')).toMatch(/^NO IMAP_PROTOCOL_ERROR /);
    expect(await final('APPLY MAILBOX %(MBOXNAME user.alice')).toMatch(/^BAD /);
    expect(await final('GET')).toMatch(/^BAD .*Missing required argument to Get/);
    expect(await final('RESTART x')).toBe('BAD Unexpected extra arguments to Restart');
    expect(await final('COMPRESS FOO')).toBe('NO Unknown compression algorithm: FOO');
    expect(await final('NOOP')).toBe('OK Noop completed');
    expect(harness.shards.stored).toEqual([]);
  });

  test('refuses users whose names would be paths or ours', async () => {
    for (const userid of ['../x', 'a/b', '"%SHARED"', '.', '"a\x01b"', 'x'.repeat(300), '""']) {
      expect(await final(`APPLY SUB %(USERID ${userid} MBOXNAME y)`)).toMatch(/^NO IMAP_PROTOCOL_ERROR /);
      expect(await final(`GET USER ${userid}`)).toMatch(/^NO IMAP_PROTOCOL_BAD_PARAMETERS /);
    }
    expect(await final('APPLY UNMAILBOX "user.%SHARED"')).toMatch(/^NO IMAP_PROTOCOL_ERROR /);
    expect(harness.shards.requests).toEqual([]);
  });

  test('stores each command with the user that it names', async () => {
    const commands: [string, string][] = [
      ['MAILBOX %(UNIQUEID u MBOXNAME user.alice.Sent RECORD ())', 'alice'],
      ['LOCAL_MAILBOX %(UNIQUEID u MBOXNAME example.com!user.alice)', 'alice@example.com'],
      ['UNMAILBOX DELETED.user.bob.x.5F3A1B2C', 'bob'],
      ['MAILBOX %(UNIQUEID u MBOXNAME shared.announce)', '%SHARED'],
      ['EXPUNGE %(MBOXNAME user.bob UNIQUEID u UID (1 2))', 'bob'],
      ['RENAME %(OLDMBOXNAME user.bob.a NEWMBOXNAME user.bob.b PARTITION p UIDVALIDITY 1)', 'bob'],
      ['SUB %(USERID carol MBOXNAME user.alice)', 'carol'],
      ['UNSUB %(USERID carol MBOXNAME user.alice)', 'carol'],
      ['SEEN %(USERID carol UNIQUEID u LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS "1:5")', 'carol'],
      ['SIEVE %(USERID carol FILENAME f LAST_UPDATE 1 CONTENT {3+}\r\nabc)', 'carol'],
      ['UNSIEVE %(USERID carol FILENAME f)', 'carol'],
      ['ACTIVATE_SIEVE %(USERID carol FILENAME f.bc)', 'carol'],
      ['UNACTIVATE_SIEVE %(USERID carol)', 'carol'],
      ['QUOTA %(ROOT user.dora LIMIT 1)', 'dora'],
      ['UNQUOTA user.dora', 'dora'],
      ['ANNOTATION %(MBOXNAME "" ENTRY /x USERID "" VALUE y)', '%SHARED'],
      ['ANNOTATION %(MBOXNAME user.dora ENTRY /x USERID "" VALUE y)', 'dora'],
      ['UNANNOTATION %(MBOXNAME "" ENTRY /x USERID "")', '%SHARED'],
      ['UNUSER dora', 'dora'],
      ['LOCAL_UNUSER "eve"', 'eve'],
    ];
    for (const [command, userid] of commands) {
      expect(await final(`APPLY ${command}`), command).toBe('OK Success');
      const stored = harness.shards.stored.at(-1)!;
      expect(stored.userid).toBe(userid);
      expect(stored.text.toString('latin1')).toBe(
        `${command.replace('LOCAL_', '').replace('{3+}', '{3}')}\r\n`,
      );
      expect(stored.text.toString('latin1').split(' ')[0]).toBe(stored.verb);
    }
    expect(harness.shards.stored).toHaveLength(commands.length);
  });

  test('passes on what the store answers', async () => {
    harness.shards.script = (request) =>
      request.op === 'piece' ? { code: 'IMAP_MAILBOX_LOCKED', text: 'the disk is\r\nfull' } : undefined;
    expect(await final('APPLY UNUSER dora')).toBe('NO IMAP_MAILBOX_LOCKED the disk is full');
    harness.shards.script = (request) =>
      request.op === 'piece' ? { code: 'IMAP_SYNC_CHECKSUM', text: '' } : undefined;
    expect(await final('APPLY UNUSER dora')).toBe('NO IMAP_SYNC_CHECKSUM Checksum failure');
  });

  test('a failure that nobody thought of is a temporary one', async () => {
    harness.shards.script = () => {
      throw new Error('oops');
    };
    expect(await final('GET USER alice')).toBe('NO IMAP_MAILBOX_LOCKED Internal error, try again later');
    harness.shards.script = () => undefined;
    expect(await final('GET USER alice')).toBe('OK Success');
    expect(harness.logLines.some((line) => line.code === 'INTERNAL')).toBe(true);
  });

  test('FORCE and CAPABILITIES change nothing', async () => {
    expect(await final('APPLY FORCE %()')).toBe('OK Success');
    const answer = await wire.command('APPLY CAPABILITIES (SIEVE-MAILBOX)');
    expect(answer).toMatchObject({ lines: ['* ENABLED ()'], final: 'OK Success' });
    expect(harness.shards.requests).toEqual([]);
  });

  test('gives a synchronising literal its go-ahead', async () => {
    wire.send('APPLY SIEVE %(USERID carol FILENAME f CONTENT {3}\r\n');
    expect((await wire.read()).final).toBe('+ go ahead');
    expect(await final('abc)')).toBe('OK Success');
    expect(harness.shards.texts('carol')).toEqual([
      'SIEVE %(USERID carol FILENAME f CONTENT {3}\r\nabc)\r\n',
    ]);
  });

  test('carries out commands that are sent ahead one after the other', async () => {
    wire.send('APPLY UNUSER a\r\nAPPLY UNUSER b\r\nNOOP\r\nGET USER c\r\nRESTART\r\nEXIT\r\n');
    const answers = [];
    for (let i = 0; i < 6; i++) answers.push((await wire.read()).final);
    expect(answers).toEqual([
      'OK Success',
      'OK Success',
      'OK Noop completed',
      'OK Success',
      'OK Restarting',
      'OK Finished',
    ]);
    await wire.closed();
    expect(harness.shards.requests.filter(({ op }) => op !== 'release').map(({ op }) => op)).toEqual([
      'piece',
      'piece',
      'read',
    ]);
  });

  test('any split of the stream stores the same', async () => {
    const content = 'Subject: x\r\n\r\n)%{default 0 1}\r\n';
    const stream = Buffer.from(
      `GET USER anne\r\nAPPLY MESSAGE (${file(content)} ${file('two')})\r\n` +
        'APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD (%(UID 1)))\r\nRESTART\r\n',
      'latin1',
    );
    for (let at = 1; at < stream.length; at++) {
      const before = harness.shards.stored.length;
      wire.send(stream.subarray(0, at));
      await new Promise((resolve) => setImmediate(resolve));
      wire.send(stream.subarray(at));
      for (const expected of ['OK Success', 'OK Success', 'OK Success', 'OK Restarting'])
        expect((await wire.read()).final).toBe(expected);
      const [message, mailbox] = harness.shards.stored.slice(before);
      expect(message!.text.toString('latin1')).toBe(`MESSAGE (${file(content)} ${file('two')})\r\n`);
      for (const { guid, offset, size } of message!.messages!)
        expect(sha1(message!.text.subarray(offset, offset + size))).toBe(guid);
      expect(mailbox!.userid).toBe('anne');
    }
  });

  test('a client that leaves in a command leaves nothing behind', async () => {
    wire.send('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD (', 'x'.repeat(70_000));
    await eventually(() => harness.slabs.freeCount).toBe(harness.slabs.count - 1);
    wire.destroy();
    await harness.sessions[0]!.ended;
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
    expect(harness.shards.stored).toEqual([]);
    const end = harness.logLines.find((line) => line.msg === 'session ended')!;
    expect(end).toMatchObject({ login: 'backup', tls: false, compressed: false, messages: 0 });
  });

  test('says in its log what a session has done', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('abc')} ${file('defg')})`);
    await wire.ok('EXIT');
    await harness.sessions[0]!.ended;
    expect(harness.logLines.find((line) => line.msg === 'session ended')).toMatchObject({
      login: 'backup',
      users: ['anne'],
      userCount: 1,
      messages: 2,
      messageBytes: 7,
      commands: 4,
      reason: 'EXIT',
    });
  });

  test('a message that is not what its GUID says is refused', async () => {
    await wire.ok('GET USER anne');
    const wrong = `%{default ${'0'.repeat(40)} 3}\r\nabc`;
    expect(await final(`APPLY MESSAGE (${file('fine')} ${wrong})`)).toMatch(
      /^NO IMAP_PROTOCOL_ERROR .*SHA-1/,
    );
    expect(harness.shards.stored).toEqual([]);
    expect(await final(`APPLY MESSAGE (${file('fine')})`)).toBe('OK Success');
  });

  test('limits are no reason to start anew', async () => {
    const atom = 'x'.repeat(131_073);
    expect(await final(`APPLY SUB %(USERID anne MBOXNAME ${atom})`)).toMatch(
      /^NO IMAP_MAILBOX_LOCKED Over a limit/,
    );
    expect(await final('NOOP')).toBe('OK Noop completed');
  });
});

test('what a client sends ahead is kept, whatever other clients send meanwhile', async () => {
  await wire.login();
  const other = await harness.connect();
  await other.login();
  let open: () => void = () => {};
  harness.shards.gate = new Promise((resolve) => {
    open = resolve;
  });
  wire.send('GET USER anne\r\n');
  await eventually(() => expect(harness.shards.requests).toHaveLength(1));
  const names = Array.from({ length: 200 }, (_, i) => `user.anne.folder${i}`);
  for (const name of names) wire.send(`APPLY SUB %(USERID anne MBOXNAME ${name})\r\n`);
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (let i = 0; i < 20; i++) await other.command(`NOOP ${'x'.repeat(2000)}`);
  harness.shards.gate = undefined;
  open();
  for (let i = 0; i <= names.length; i++) expect((await wire.read()).final).toBe('OK Success');
  const texts = harness.shards.texts('anne');
  expect(texts).toEqual(names.map((name) => `SUB %(USERID anne MBOXNAME ${name})\r\n`));
});
