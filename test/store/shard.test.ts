import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { StoredVerb } from '../../src/pipeline/messages.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { guidOf, mailboxValue, messageValue, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;

beforeEach(() => {
  rig = new StoreRig();
});

afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

function content(userid: string): string {
  return gunzipSync(fs.readFileSync(rig.dataPath(userid))).toString('latin1');
}

describe('a first push', () => {
  test('is in the data file, the index and the catalog after release', async () => {
    expect(await rig.read(1, 'anne', { what: 'USER' })).toBe('');
    expect(await rig.message(1, 'anne', 'first\r\n', 'second\r\n')).toMatchObject({ code: 'OK' });
    expect(rig.catalog.get('anne')).toBeUndefined();
    expect(await rig.mailbox(1, 'anne', 'user.anne', ['first\r\n', 'second\r\n'])).toMatchObject({
      code: 'OK',
    });
    expect(rig.catalog.get('anne')).toBeDefined();
    await rig.release(1);
    const text = content('anne');
    expect(text).toMatch(/^# cyrus backup: chunk start\r\n\d+ APPLY MESSAGE \(%\{default /);
    expect(text).toMatch(/\r\n\d+ APPLY MAILBOX %\(UNIQUEID .*\)\)\r\n$/);
    const index = BackupIndex.open(`${rig.dataPath('anne')}.index`, { readonly: true });
    expect(index.missing([guidOf('first\r\n'), guidOf('other')])).toEqual([guidOf('other')]);
    expect(index.state()?.committedEnd).toBe(fs.statSync(rig.dataPath('anne')).size);
    index.close();
    expect(await rig.read(2, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' })).toContain('UID 2 ');
  });

  test('leaves nothing when the session ends before its MAILBOX', async () => {
    await rig.message(1, 'anne', 'first\r\n');
    await rig.release(1);
    expect(rig.catalog.get('anne')).toBeUndefined();
    expect(
      fs.readdirSync(`${rig.folder}/part`, { recursive: true }).filter((n) => /anne/.test(String(n))),
    ).toEqual([]);
  });
});

describe('whose message it is', () => {
  test('a pending message that the MAILBOX does not name leaves the file and can be supplied to its owner', async () => {
    await rig.message(1, 'anne', 'for bob\r\n', 'for anne\r\n');
    const reply = await rig.mailbox(1, 'anne', 'user.anne', ['for anne\r\n']);
    expect(reply).toMatchObject({ code: 'OK', staged: [{ guid: guidOf('for bob\r\n'), size: 9 }] });
    await rig.mailbox(1, 'anne', 'user.anne.Sent', []);
    const bob = await rig.shard.handle({
      op: 'piece',
      session: 1,
      userid: 'bob',
      command: 900,
      verb: 'MAILBOX',
      piece: { kind: 'bytes', bytes: Buffer.from(mailboxText('user.bob', ['for bob\r\n'])) },
      last: true,
    });
    expect(bob).toMatchObject({ code: 'NEED', guids: [guidOf('for bob\r\n')] });
    const staged = reply.staged ?? [];
    const done = await rig.shard.handle({
      op: 'supply',
      session: 1,
      userid: 'bob',
      command: 900,
      staged,
      lost: [],
      unsent: 0,
    });
    expect(done.code).toBe('OK');
    await rig.release(1);
    expect(content('anne')).not.toContain('for bob');
    expect(content('anne')).toContain('for anne');
    expect(content('bob')).toContain('for bob');
    expect(content('bob')).not.toContain('for anne');
  });

  test('that leaves the file for a command that says nothing new is told of, too', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await rig.message(1, 'anne', 'for bob\r\n');
    const reply = await rig.mailbox(1, 'anne', 'user.anne', []);
    expect(reply).toMatchObject({ code: 'OK', staged: [{ guid: guidOf('for bob\r\n'), size: 9 }] });
  });

  test('one that comes again, for a MAILBOX that says nothing new, is read where it stays', async () => {
    const push = async (): Promise<void> => {
      await rig.message(1, 'anne', 'known\r\n');
      expect((await rig.mailbox(1, 'anne', 'user.anne', ['known\r\n'])).code).toBe('OK');
    };
    await push();
    await rig.release(1);
    await rig.mailbox(1, 'anne', 'user.anne.Sent', []);
    await push();
    await rig.message(1, 'anne', 'for nobody\r\n');
    await rig.release(1);
    const guid = guidOf('known\r\n');
    const at = { mboxname: 'user.anne', uniqueid: '', guid, uid: '1' };
    expect(await rig.read(2, 'anne', { what: 'MESSAGE', ...at })).toContain('known');
    await rig.release(2);
    expect(content('anne')).not.toContain('for nobody');
  });

  test.each([
    [0, 'IMAP_SYNC_CHECKSUM'],
    [1, 'IMAP_SYNC_CHECKSUM'],
    [2, 'OK'],
  ])('of two that are missing the client has said of %d that it cannot read them', async (unsent, code) => {
    const text = mailboxText('user.anne', ['supplied\r\n', 'missing 1\r\n', 'missing 2\r\n']);
    const of = { session: 1, userid: 'anne', command: 901 };
    const piece = { kind: 'bytes' as const, bytes: Buffer.from(text) };
    const need = await rig.shard.handle({ op: 'piece', ...of, verb: 'MAILBOX', piece, last: true });
    expect(need).toMatchObject({ code: 'NEED' });
    const spool = `${rig.folder}/staging/elsewhere`;
    fs.writeFileSync(spool, 'supplied\r\n');
    const one = { guid: guidOf('supplied\r\n'), partition: 'default', path: spool, offset: 0, size: 10 };
    const reply = await rig.shard.handle({ op: 'supply', ...of, staged: [one], lost: [], unsent });
    expect(reply.code).toBe(code);
  });

  test('reserved messages stay though the session ends before the MAILBOX', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    const reply = await rig.shard.handle({
      op: 'reserve',
      session: 1,
      userid: 'anne',
      guids: [guidOf('new\r\n')],
    });
    expect(reply.guids).toEqual([guidOf('new\r\n')]);
    await rig.message(1, 'anne', 'new\r\n');
    await rig.release(1);
    const again = await rig.shard.handle({
      op: 'reserve',
      session: 2,
      userid: 'anne',
      guids: [guidOf('new\r\n')],
    });
    expect(again.guids).toEqual([]);
  });
});

describe('a mailbox that is other than the client believes', () => {
  test.each([
    ['small', 3],
    ['streamed', 3000],
  ])('by its checksum, %s: it is left out of answers until it has come as a whole', async (_kind, count) => {
    const contents = Array.from({ length: count }, (_, i) => `message ${i}\r\n`);
    const { value, refs } = messageValue(contents);
    const push = async (fields: Record<string, number>): Promise<string> => {
      const applied = await rig.applyInSlabs(1, 'anne', 'MESSAGE', value, refs);
      expect(applied.code).toBe('OK');
      const mailbox = mailboxValue('user.anne', contents, fields);
      return (await rig.applyInSlabs(1, 'anne', 'MAILBOX', mailbox)).code;
    };
    expect(await push({ SYNC_CRC: 7, HIGHESTMODSEQ: 50 })).toBe('OK');
    const state = { SYNC_CRC: 9, HIGHESTMODSEQ: 51, SINCE_MODSEQ: 50, SINCE_CRC: 8, SINCE_CRC_ANNOT: 0 };
    expect(await push(state)).toBe('IMAP_SYNC_CHECKSUM');
    const asked = { what: 'MAILBOXES' as const, mboxnames: ['user.anne'] };
    expect(await rig.read(1, 'anne', asked)).toBe('');
    await rig.release(1);
    expect(await rig.read(2, 'anne', asked)).toBe('');
    await rig.release(2);
    expect(await push({ SYNC_CRC: 9, HIGHESTMODSEQ: 51 })).toBe('OK');
    expect(await rig.read(1, 'anne', asked)).toContain('SYNC_CRC 9 ');
  });
});

describe('a mail server that was put back to an older state', () => {
  const contents = ['one\r\n', 'two\r\n', 'three\r\n', 'four\r\n'];
  const older = contents.slice(0, 2);
  const asked = { what: 'MAILBOXES' as const, mboxnames: ['user.anne'] };

  const full = async (session: number): Promise<string> =>
    await rig.read(session, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' });
  const send = async (records: readonly string[], fields: Record<string, number>): Promise<string> =>
    (await rig.mailbox(1, 'anne', 'user.anne', records, fields)).code;

  beforeEach(async () => {
    await rig.message(1, 'anne', ...contents);
    await rig.mailbox(1, 'anne', 'user.anne', contents, { HIGHESTMODSEQ: 50 });
    await rig.release(1);
  });

  test.each([
    ['modseq', { LAST_UID: 4, HIGHESTMODSEQ: 49 }],
    [
      'modseq, on what the client believes to be there',
      { LAST_UID: 4, HIGHESTMODSEQ: 49, SINCE_MODSEQ: 50, SINCE_CRC: 1 },
    ],
    ['last UID', { LAST_UID: 3, HIGHESTMODSEQ: 50 }],
  ])('is known by its %s, and asked for all of the mailbox', async (_what, fields) => {
    expect(await send([], fields)).toBe('IMAP_SYNC_CHECKSUM');
    expect(await rig.read(1, 'anne', asked)).toBe('');
    await rig.release(1);
    expect(await rig.read(1, 'anne', asked)).toBe('');
    const whole = contents.slice(0, fields.LAST_UID);
    await rig.message(1, 'anne', ...whole);
    expect(await send(whole, { LAST_UID: fields.LAST_UID, HIGHESTMODSEQ: fields.HIGHESTMODSEQ })).toBe('OK');
    expect(await rig.read(1, 'anne', asked)).toContain(`HIGHESTMODSEQ ${fields.HIGHESTMODSEQ} `);
  });

  test('what it has no more is expunged, and its UIDs may name other messages', async () => {
    await send([], { LAST_UID: 2, HIGHESTMODSEQ: 20 });
    await rig.message(1, 'anne', ...older);
    expect(await send(older, { LAST_UID: 2, HIGHESTMODSEQ: 20 })).toBe('OK');
    const uids = (text: string): string[] =>
      [...text.matchAll(/%\(UID (\d+) [^)]*FLAGS \((\\Expunged)?/g)].map(
        ([, uid, gone]) => `${uid}${gone ? ' gone' : ''}`,
      );
    expect(uids(await full(1))).toEqual(['1', '2', '3 gone', '4 gone']);
    const next = [...older, 'another\r\n'];
    await rig.message(1, 'anne', 'another\r\n');
    expect(await send(next, { LAST_UID: 3, HIGHESTMODSEQ: 21 })).toBe('OK');
    const text = await full(1);
    expect(uids(text)).toEqual(['1', '2', '3', '4 gone']);
    expect(text).toContain(guidOf('another\r\n'));
    await rig.release(1);
    // A new index says the same.
    const before = await full(2);
    await rig.release(2);
    await rig.shard.handle({ op: 'stop' });
    fs.rmSync(`${rig.dataPath('anne')}.index`);
    rig.start();
    expect(await full(3)).toBe(before);
    for (const message of [...contents, 'another\r\n']) expect(content('anne')).toContain(message);
  });
});

describe('commands that come in many pieces', () => {
  const many = Array.from({ length: 1500 }, (_, i) => `message ${i}\r\n${'x'.repeat((i * 37) % 200)}\r\n`);

  test('a MAILBOX with its messages', async () => {
    const { value, refs } = messageValue(many);
    expect((await rig.applyInSlabs(1, 'anne', 'MESSAGE', value, refs)).code).toBe('OK');
    expect((await rig.applyInSlabs(1, 'anne', 'MAILBOX', mailboxValue('user.anne', many))).code).toBe('OK');
    await rig.release(1);
    const text = content('anne');
    for (const message of many) expect(text).toContain(message);
    const answer = await rig.read(2, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' });
    expect(answer.match(/%\(UID /g)?.length).toBe(many.length);
  });

  test('a MAILBOX that needs messages from elsewhere is written behind them', async () => {
    const { value, refs } = messageValue(many);
    await rig.applyInSlabs(1, 'anne', 'MESSAGE', value, refs);
    await rig.applyInSlabs(1, 'anne', 'MAILBOX', mailboxValue('user.anne', many));
    const need = await rig.applyInSlabs(1, 'bob', 'MAILBOX', mailboxValue('user.bob', many));
    expect(need.code).toBe('NEED');
    expect(need.guids?.length).toBe(new Set(many.map(guidOf)).size);
    const path = `${rig.folder}/staging/exported`;
    const given = await rig.shard.handle({
      op: 'export',
      session: 1,
      userid: 'anne',
      guids: need.guids ?? [],
      path,
    });
    const { command } = need;
    const staged = given.staged ?? [];
    const done = await rig.shard.handle({
      op: 'supply',
      session: 1,
      userid: 'bob',
      command,
      staged,
      lost: [],
      unsent: 0,
    });
    expect(done.code).toBe('OK');
    await rig.release(1);
    expect(fs.existsSync(path)).toBe(false);
    const text = content('bob');
    for (const message of many) expect(text).toContain(message);
    expect(text.indexOf('APPLY MAILBOX')).toBeGreaterThan(text.indexOf('message 1499'));
  });

  test('with messages of somebody else among the pending ones', async () => {
    const strange = 'not for anne\r\n';
    const { value, refs } = messageValue([strange, ...many]);
    await rig.applyInSlabs(1, 'anne', 'MESSAGE', value, refs);
    const reply = await rig.applyInSlabs(1, 'anne', 'MAILBOX', mailboxValue('user.anne', many));
    expect(reply).toMatchObject({ code: 'OK', staged: [{ guid: guidOf(strange) }] });
    await rig.release(1);
    const text = content('anne');
    expect(text).not.toContain(strange);
    for (const message of many) expect(text).toContain(message);
  });

  test('that are refused or broken off leave the file as it was', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await rig.release(1);
    const before = fs.readFileSync(rig.dataPath('anne'));
    const since = mailboxValue('user.anne', many, { SINCE_MODSEQ: 77 });
    expect((await rig.applyInSlabs(1, 'anne', 'MAILBOX', since)).code).toBe('IMAP_SYNC_CHECKSUM');
    const { value } = messageValue(many);
    const { command } = await rig.applyInSlabs(1, 'anne', 'MESSAGE', value.slice(0, 60_000));
    await rig.shard.handle({ op: 'abort', session: 1, userid: 'anne', command });
    await rig.release(1);
    expect(fs.readFileSync(rig.dataPath('anne')).equals(before)).toBe(true);
  });
});

describe('healing', () => {
  test('a MAILBOX that names an unknown message makes the client send it all, once', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    expect((await rig.mailbox(1, 'anne', 'user.anne', ['lost\r\n'])).code).toBe('IMAP_SYNC_CHECKSUM');
    expect(await rig.read(1, 'anne', { what: 'USER' })).not.toContain('user.anne');
    // The client has nothing to send: its own spool is damaged. The rest must not wait for it.
    expect((await rig.mailbox(1, 'anne', 'user.anne', ['lost\r\n'])).code).toBe('OK');
    expect(await rig.read(1, 'anne', { what: 'USER' })).toContain('user.anne');
  });
});

describe('what came with a MAILBOX that is answered IMAP_SYNC_CHECKSUM is not sent again', () => {
  test('and is there for the next one', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await rig.message(1, 'anne', 'sound\r\n', 'of bob\r\n');
    const reply = await rig.mailbox(1, 'anne', 'user.anne', ['lost\r\n', 'sound\r\n']);
    expect(reply).toMatchObject({ code: 'IMAP_SYNC_CHECKSUM', staged: [{ guid: guidOf('of bob\r\n') }] });
    expect((await rig.mailbox(1, 'anne', 'user.anne', ['lost\r\n', 'sound\r\n'])).code).toBe('OK');
    await rig.release(1);
    const reserve = { op: 'reserve', session: 2, userid: 'anne' } as const;
    const guids = ['lost\r\n', 'sound\r\n', 'of bob\r\n'].map((text) => guidOf(text));
    expect((await rig.shard.handle({ ...reserve, guids })).guids).toEqual([guids[0], guids[2]]);
    expect(content('anne')).not.toContain('of bob');
  });

  test('nor what came before it was looked at, which is given back to the session', async () => {
    await rig.message(1, 'anne', 'first\r\n');
    await rig.mailbox(1, 'anne', 'user.anne', ['first\r\n'], { HIGHESTMODSEQ: 9 });
    await rig.message(1, 'anne', 'second\r\n');
    const both = ['first\r\n', 'second\r\n'];
    const reply = await rig.mailbox(1, 'anne', 'user.anne', both, { HIGHESTMODSEQ: 8 });
    expect(reply).toMatchObject({ code: 'IMAP_SYNC_CHECKSUM', staged: [{ guid: guidOf('second\r\n') }] });
  });
});

describe('a message that cannot be read', () => {
  test('is found missing by whoever asks for it, and comes again with its mailbox', async () => {
    const lost = `${randomBytes(400).toString('hex')}\r\n`;
    await rig.message(1, 'anne', lost, 'sound\r\n');
    await rig.mailbox(1, 'anne', 'user.anne', [lost, 'sound\r\n']);
    await rig.mailbox(1, 'anne', 'user.anne.Sent', ['sound\r\n']);
    await rig.release(1);
    const bytes = fs.readFileSync(rig.dataPath('anne'));
    bytes[250]! ^= 0x10;
    const fd = fs.openSync(rig.dataPath('anne'), 'r+');
    fs.writeSync(fd, bytes);
    fs.closeSync(fd);

    const fetch = (session: number) => {
      const query = {
        what: 'MESSAGE',
        guid: guidOf(lost),
        mboxname: 'user.anne',
        uniqueid: '',
        uid: '1',
      } as const;
      return rig.shard.handle({ op: 'read', session, userid: 'anne', query });
    };
    expect((await fetch(2)).code).toBe('IMAP_MAILBOX_NONEXISTENT');
    await rig.release(2);
    const guids = [guidOf(lost), guidOf('sound\r\n')];
    const reserved = await rig.shard.handle({ op: 'reserve', session: 3, userid: 'anne', guids });
    expect(reserved.guids).toEqual([guidOf(lost)]);
    const answer = await rig.read(3, 'anne', { what: 'USER' });
    expect(answer).not.toContain('MBOXNAME user.anne ');
    expect(answer).toContain('MBOXNAME user.anne.Sent ');
    await rig.message(3, 'anne', lost, 'sound\r\n');
    expect((await rig.mailbox(3, 'anne', 'user.anne', [lost, 'sound\r\n'])).code).toBe('OK');
    expect(Buffer.from((await fetch(3)).bytes!).toString()).toContain(lost);
    await rig.release(3);
    const { values } = rig.figures.take();
    expect(values).toMatchObject({ messages_lost_total: 1, heals_completed_total: 1 });
  });
});

describe('a userid that somebody new has', () => {
  const oldTrash = 'DELETED.user.anne.Old.5F3A1B2C';

  async function leave(): Promise<void> {
    await rig.message(1, 'anne', 'of the first anne\r\n');
    await rig.mailbox(1, 'anne', 'user.anne', ['of the first anne\r\n']);
    await rig.mailbox(1, 'anne', oldTrash, []);
    await rig.apply(1, 'anne', 'UNUSER', 'anne');
    await rig.release(1);
  }

  test('has a backup of its own; what the server still names of the former one stays there', async () => {
    await leave();
    const former = rig.dataPath('anne');
    await rig.message(2, 'anne', 'of the second anne\r\n');
    const value = ['of the second anne\r\n'];
    expect((await rig.mailbox(2, 'anne', 'user.anne', value, { UNIQUEID: 'another' })).code).toBe('OK');
    await rig.release(2);
    expect(rig.dataPath('anne')).not.toBe(former);
    expect([...rig.catalog.entries()].map(([, file]) => file).sort()).toEqual(
      [former, rig.dataPath('anne')].sort(),
    );
    expect(content('anne')).not.toContain('of the first anne');
    expect(gunzipSync(fs.readFileSync(former)).toString()).not.toContain('of the second anne');

    const answer = await rig.read(3, 'anne', { what: 'USER' });
    expect(answer).toContain('MBOXNAME user.anne ');
    expect(answer).toContain(oldTrash);
    await rig.apply(3, 'anne', 'UNMAILBOX', oldTrash);
    expect(await rig.read(3, 'anne', { what: 'USER' })).not.toContain(oldTrash);
    await rig.release(3);
    expect(gunzipSync(fs.readFileSync(former)).toString()).toMatch(/UNMAILBOX DELETED/);
    expect(content('anne')).not.toContain('UNMAILBOX');
  });

  test('the same person coming back goes on with the old backup', async () => {
    await leave();
    const former = rig.dataPath('anne');
    expect((await rig.mailbox(2, 'anne', 'user.anne', ['of the first anne\r\n'])).code).toBe('OK');
    expect(rig.dataPath('anne')).toBe(former);
  });
});

describe('locks', () => {
  test('a backup in use by one session is refused to another, and free after release', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    expect((await rig.mailbox(2, 'anne', 'user.anne', [])).code).toBe('IMAP_MAILBOX_LOCKED');
    await rig.release(1);
    expect((await rig.mailbox(2, 'anne', 'user.anne', [])).code).toBe('OK');
  });
});

describe('what changes nothing', () => {
  test('is answered and not written', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await rig.apply(1, 'anne', 'QUOTA', '%(ROOT user.anne LIMIT 5 STORAGE 5)');
    await rig.release(1);
    const size = fs.statSync(rig.dataPath('anne')).size;
    expect((await rig.apply(2, 'anne', 'QUOTA', '%(ROOT user.anne LIMIT 5 STORAGE 5)')).code).toBe('OK');
    expect((await rig.mailbox(2, 'anne', 'user.anne', [])).code).toBe('OK');
    await rig.release(2);
    expect(fs.statSync(rig.dataPath('anne')).size).toBe(size);
  });
});

function mailboxText(name: string, contents: readonly string[]): string {
  return `MAILBOX ${mailboxValue(name, contents)}\r\n`;
}

describe('the active Sieve script', () => {
  const apply = async (verb: StoredVerb, text: string) =>
    expect((await rig.apply(1, 'anne', verb, text)).code).toBe('OK');

  test('is none when its compiled form is taken away, which is all that sync_client says of it', async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await apply('SIEVE', '%(USERID anne FILENAME main.script LAST_UPDATE 1 CONTENT {5+}\r\nkeep;)');
    await apply('ACTIVATE_SIEVE', '%(USERID anne FILENAME main.bc)');
    await apply('UNSIEVE', '%(USERID anne FILENAME other.bc)');
    await apply('UNSIEVE', '%(USERID anne FILENAME main.bc)');
    await apply('UNSIEVE', '%(USERID anne FILENAME main.bc)');
    await rig.release(1);
    const index = BackupIndex.open(`${rig.dataPath('anne')}.index`, { readonly: true });
    expect(index.activeSieve()).toBe(undefined);
    expect(index.statement('SELECT count(*) FROM sieve WHERE deleted IS NULL', 'pluck').get()).toBe(1);
    index.close();
    expect(content('anne').match(/UNSIEVE/g)).toHaveLength(1);
  });
});

describe('the index of a backup that stays open', () => {
  const activate = () => rig.apply(2, 'anne', 'ACTIVATE_SIEVE', '%(USERID anne FILENAME main.bc)');

  beforeEach(async () => {
    await rig.mailbox(1, 'anne', 'user.anne', []);
    await rig.apply(1, 'anne', 'ACTIVATE_SIEVE', '%(USERID anne FILENAME main.bc)');
    await rig.release(1);
  });

  test('is read again if another connection has written to it', async () => {
    const other = BackupIndex.open(`${rig.dataPath('anne')}.index`);
    other.begin();
    other.setActiveSieve(undefined);
    other.commit();
    other.close();
    await activate();
    await rig.release(2);
    expect(content('anne').match(/ACTIVATE_SIEVE/g)).toHaveLength(2);
  });

  test('is not if nobody has, and a session that changes nothing leaves its bytes alone', async () => {
    const index = `${rig.dataPath('anne')}.index`;
    const before = fs.readFileSync(index);
    await activate();
    await rig.release(2);
    expect(content('anne').match(/ACTIVATE_SIEVE/g)).toHaveLength(1);
    expect(fs.readFileSync(index).equals(before)).toBe(true);
  });

  test('costs a request only, if somebody has it locked as it is opened', async () => {
    await rig.shard.handle({ op: 'stop' });
    rig.start();
    const other = new Database(`${rig.dataPath('anne')}.index`);
    other.exec('BEGIN EXCLUSIVE');
    expect(
      (await rig.shard.handle({ op: 'read', session: 2, userid: 'anne', query: { what: 'USER' } })).code,
    ).toBe('IMAP_MAILBOX_LOCKED');
    other.exec('ROLLBACK');
    other.close();
    expect(await rig.read(3, 'anne', { what: 'USER' })).toContain('user.anne');
  });

  test('can be written to by others as soon as the session has released it, not before', async () => {
    await rig.read(2, 'anne', { what: 'USER' });
    const other = new Database(`${rig.dataPath('anne')}.index`, { timeout: 0 });
    const write = () => other.exec('UPDATE cb_state SET value = value');
    expect(write).toThrow('locked');
    await rig.release(2);
    expect(write).not.toThrow();
    other.close();
  });
});
