/** Whose message is it, and whose mailbox: in every order in which clients send things. */
import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { ListedRequest, ShardReply, ShardRequest, StagedMessage } from '../../src/pipeline/messages.ts';
import { shardOf } from '../../src/pipeline/shard-pools.ts';
import { findListed } from '../../src/store/staged-list.ts';
import type { CsyncWire } from '../support/wire.ts';
import { FakeShards } from './fake-shards.ts';
import { eventually, Harness } from './harness.ts';

let harness: Harness;
let shards: FakeShards;
let wire: CsyncWire;

beforeEach(async () => {
  shards = new FakeShards(3);
  harness = await new Harness({ shards }).listen();
  wire = await harness.login();
});
afterEach(() => harness.close());

function sha1(text: string | Uint8Array): string {
  return createHash('sha1').update(text).digest('hex');
}

function file(content: string): string {
  return `%{default ${sha1(content)} ${Buffer.byteLength(content)}}\r\n${content}`;
}

function record(...contents: string[]): string {
  return `(${contents.map((content, i) => `%(UID ${i + 1} GUID ${sha1(content)})`).join(' ')})`;
}

/** The bytes that a staged message stands for. */
function contentOf({ path, offset, size }: StagedMessage): string {
  return shards.files
    .get(path)!
    .subarray(offset, offset + size)
    .toString();
}

/** Users lack these GUIDs. */
function lacking(missing: Record<string, string[]>): (request: ShardRequest) => ShardReply | undefined {
  return (request) => {
    if (request.op !== 'reserve') return undefined;
    const lacked = missing[request.userid] ?? [];
    return { code: 'OK', text: '', guids: request.guids.filter((guid) => lacked.includes(guid)) };
  };
}

describe('RESERVE', () => {
  test('tells what any of the users lacks, in the order asked', async () => {
    const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(sha1) as [string, string, string, string];
    shards.script = lacking({ anne: [d, a], '%SHARED': [b] });
    const answer = await wire.command(
      `APPLY RESERVE %(PARTITION default MBOXNAME (user.anne user.anne.x news) GUID (${a} ${b} ${c} ${d}))`,
    );
    expect(answer).toMatchObject({ lines: [`* MISSING (${a} ${b} ${d})`], final: 'OK Success' });
    expect(shards.of('reserve').map(({ userid, guids }) => [userid, guids.length])).toEqual([
      ['anne', 4],
      ['%SHARED', 4],
    ]);
    expect(shards.stored).toEqual([]);
  });

  test('says nothing when nothing is missing', async () => {
    shards.script = lacking({});
    const answer = await wire.command(`APPLY RESERVE %(MBOXNAME (user.anne) GUID (${sha1('a')}))`);
    expect(answer).toMatchObject({ lines: [], final: 'OK Success' });
  });

  test('is refused where it makes no sense', async () => {
    for (const command of [
      'RESERVE %(PARTITION default MBOXNAME () GUID ())',
      'RESERVE %(PARTITION default MBOXNAME (user.anne) GUID (abc))',
      'RESERVE %(PARTITION default MBOXNAME (user.a/b) GUID ())',
    ])
      expect((await wire.command(`APPLY ${command}`)).kind).toBe('NO IMAP_PROTOCOL_BAD_PARAMETERS');
    expect(shards.requests).toEqual([]);
  });
});

describe('MESSAGE', () => {
  test('goes to the user who reserved it, whoever was asked for last', async () => {
    shards.script = lacking({ anne: [sha1('one')] });
    await wire.ok(`APPLY RESERVE %(MBOXNAME (user.anne) GUID (${sha1('one')}))`);
    await wire.ok('GET USER bob');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    await wire.ok(`APPLY MESSAGE (${file('two')})`);
    await wire.ok('RESTART');
    expect(shards.stored.map(({ userid }) => userid)).toEqual(['anne', 'bob']);
  });

  test.each([
    ['USER bob', 'bob'],
    ['META bob', 'bob'],
    ['MAILBOXES (user.bob user.bob.x)', 'bob'],
    ['FULLMAILBOX user.bob.x', 'bob'],
    ['MAILBOXES (news)', '%SHARED'],
  ])('goes to the only user of the latest GET: %s', async (get, userid) => {
    await wire.ok('GET USER anne');
    await wire.ok(`GET ${get}`);
    await wire.ok('GET ANNOTATION ""');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    await wire.ok('RESTART');
    expect(shards.stored.map((one) => one.userid)).toEqual([userid]);
    expect(shards.stored[0]!.messages).toEqual([
      { guid: sha1('one'), partition: 'default', offset: 'MESSAGE ('.length + file('').length + 0, size: 3 },
    ]);
  });

  test.each([
    ['nobody was asked for', []],
    ['two users were asked for', ['GET MAILBOXES (user.anne user.bob)']],
    ['RESTART came between', ['GET USER anne', 'RESTART']],
  ])('is staged when %s, and supplied to whoever needs it', async (_when, before) => {
    for (const command of before) await wire.ok(command);
    await wire.ok(`APPLY MESSAGE (${file('one')} ${file('second')})`);
    expect(shards.stored).toEqual([]);
    shards.script = (request) =>
      request.op === 'piece' && request.verb === 'MAILBOX'
        ? { code: 'NEED', text: '', guids: [sha1('second'), sha1('unknown'), sha1('one')] }
        : undefined;
    await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.carol RECORD ${record('one', 'second')})`);
    const [supply] = shards.of('supply');
    // The shard judges by all that it lacks: it may have asked for some only.
    expect(supply!.unsent).toBe(0);
    expect(supply!.userid).toBe('carol');
    expect(supply!.staged.map(({ guid }) => guid)).toEqual([sha1('second'), sha1('one')]);
    expect(supply!.staged.map(contentOf)).toEqual(['second', 'one']);
  });

  test('reserved by two users is staged, and both get it', async () => {
    shards.script = lacking({ anne: [sha1('one')], bob: [sha1('one')] });
    await wire.ok(`APPLY RESERVE %(MBOXNAME (user.anne user.bob) GUID (${sha1('one')}))`);
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    shards.script = (request) =>
      request.op === 'piece' ? { code: 'NEED', text: '', guids: [sha1('one')] } : undefined;
    for (const user of ['anne', 'bob'])
      await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.${user} RECORD ${record('one')})`);
    expect(shards.of('supply').map(({ userid, staged }) => [userid, contentOf(staged[0]!)])).toEqual([
      ['anne', 'one'],
      ['bob', 'one'],
    ]);
  });

  test.each([
    ['the server was asked about two users', ['GET MAILBOXES (user.anne user.bob)'], 'user.bob'],
    ['the client names two by its own cache', [], 'user.anne user.bob'],
    ['it was asked about another one', ['GET MAILBOXES (user.anne)'], 'user.bob'],
  ])('reserved by one user is staged when %s', async (_when, before, named) => {
    for (const command of before) await wire.ok(command);
    shards.script = lacking({ bob: [sha1('one')] });
    await wire.ok(`APPLY RESERVE %(MBOXNAME (${named}) GUID (${sha1('one')}))`);
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    expect(shards.of('stage')).toHaveLength(1);
    expect(shards.stored).toEqual([]);
  });

  test('of more than a slab is staged in one run', async () => {
    const [big, small] = ['x'.repeat(2_500_000), 'small'];
    await wire.ok(`APPLY MESSAGE (${file(small)})`);
    await wire.ok(`APPLY MESSAGE (${file(big)} ${file('last')})`);
    shards.script = (request) =>
      request.op === 'piece' ? { code: 'NEED', text: '', guids: [big, small, 'last'].map(sha1) } : undefined;
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    expect(shards.of('supply')[0]!.staged.map(contentOf)).toEqual([big, small, 'last']);
    expect(shards.of('stage').map(({ piece }) => piece.kind)).toEqual(['bytes', 'slab', 'slab', 'slab']);
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });

  test('of more than a slab, staged, with a wrong GUID, is refused', async () => {
    const bad = `%{default ${'0'.repeat(40)} 4}\r\nlast`;
    const answer = await wire.command(`APPLY MESSAGE (${file('x'.repeat(2_500_000))} ${bad})`);
    expect(answer.kind).toBe('NO IMAP_PROTOCOL_ERROR');
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });

  test('that lies in the file of another user of the session is exported from there', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    const guid = sha1('one');
    shards.script = (request) => {
      if (request.op === 'export') {
        shards.files.set(request.path, Buffer.from('..one'));
        const found = { guid, partition: 'default', path: request.path, offset: 2, size: 3 };
        return { code: 'OK', text: '', staged: [found] };
      }
      if (request.op !== 'piece' || request.verb === 'MESSAGE') return undefined;
      return { code: 'NEED', text: '', guids: [guid] };
    };
    await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.bob RECORD ${record('one')})`);
    expect(shards.of('export')).toMatchObject([{ userid: 'anne', guids: [guid], shard: shardOf('anne', 3) }]);
    expect(shards.of('supply')[0]).toMatchObject({ userid: 'bob' });
    expect(contentOf(shards.of('supply')[0]!.staged[0]!)).toBe('one');
  });

  test('of which nobody knows who has it is looked for in all backups that are open', async () => {
    const guid = sha1('one');
    for (const user of ['anne', 'bob', 'carol']) await wire.ok(`GET USER ${user}`);
    shards.script = (request) => {
      if (request.op === 'export' && request.userid === 'bob') {
        shards.files.set(request.path, Buffer.from('one'));
        const found = { guid, partition: 'default', path: request.path, offset: 0, size: 3 };
        return { code: 'OK', text: '', staged: [found] };
      }
      if (request.op !== 'piece') return undefined;
      return { code: 'NEED', text: '', guids: [guid] };
    };
    await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.dora RECORD ${record('one')})`);
    expect(shards.of('export').map(({ userid }) => userid)).toEqual(['anne', 'bob']);
    expect(contentOf(shards.of('supply')[0]!.staged[0]!)).toBe('one');
  });

  test('that is one of very many is found in the list of those that are not remembered', async () => {
    const { staged } = harness.sessions[0]!.routing;
    const place = { partition: 'default', path: '/staging/many', offset: 0, size: 3 };
    for (let i = 0; i < 50_001; i++) staged.add({ guid: sha1(String(i)), ...place });
    await wire.ok('GET MAILBOXES (user.anne user.bob)');
    await wire.ok(`APPLY MESSAGE (${file('one more')} ${file('another')})`);
    const found = async ({ path: file, guids }: ListedRequest): Promise<ShardReply> => {
      expect(guids).toEqual(['another', 'none'].map(sha1));
      const list = path.join(harness.config.configDirectory, 'list');
      writeFileSync(list, shards.files.get(file)!);
      return { code: 'OK', text: '', staged: await findListed(list, guids) };
    };
    shards.script = (request) => {
      if (request.op === 'piece')
        return { code: 'NEED', text: '', guids: ['7', 'another', 'none'].map(sha1) };
      return request.op === 'listed' ? found(request) : undefined;
    };
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    const [known, listed, ...others] = shards.of('supply')[0]!.staged;
    expect([known, others]).toEqual([{ guid: sha1('7'), ...place }, []]);
    expect(listed!.guid).toBe(sha1('another'));
    expect(contentOf(listed!)).toBe('another');
    await wire.ok('RESTART');
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    expect(shards.of('listed')).toHaveLength(1);
  });

  test('that the store asks for in turns is supplied as long as some of them are found', async () => {
    await wire.ok('GET MAILBOXES (user.anne user.bob)');
    await wire.ok(`APPLY MESSAGE (${['a', 'b', 'c'].map(file).join(' ')})`);
    const turns = [['a'], ['b', 'none'], ['c', 'none'], ['none'], ['none']];
    shards.script = (request) =>
      request.op === 'piece' || request.op === 'supply'
        ? { code: 'NEED', text: '', guids: turns.shift()!.map(sha1) }
        : undefined;
    const answer = await wire.command('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    expect(answer.kind).toBe('NO IMAP_MAILBOX_LOCKED');
    expect(shards.of('supply').map(({ staged }) => staged.length)).toEqual([1, 1, 1, 0]);
  });

  test('that may have been forgotten is not taken for one that never came', async () => {
    const { staged } = harness.sessions[0]!.routing;
    const [first, last] = ['0', '1'].map(sha1) as [string, string];
    staged.add({ guid: last, partition: 'default', path: '/staging/many', offset: 0, size: 3 });
    staged.isIncomplete = true; // as where the disk is full
    const need = (guids: string[]) => {
      shards.script = (request) => (request.op === 'piece' ? { code: 'NEED', text: '', guids } : undefined);
      return wire.command('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    };
    expect((await need([last])).kind).toBe('OK');
    expect((await need([first, last])).kind).toBe('NO IMAP_MAILBOX_LOCKED');
    expect(shards.of('supply')).toHaveLength(1);
    expect(shards.of('abort')).toHaveLength(1);
    await wire.ok('RESTART');
    expect((await need([first])).kind).toBe('OK');
  });

  test('that the client takes for stored, and nobody has, is named as lost', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY RESERVE %(MBOXNAME (user.anne) GUID (${sha1('told to be there')}))`);
    await wire.ok(`APPLY MESSAGE (${file('sent')})`);
    const guids = ['told to be there', 'sent', 'never heard of'].map(sha1);
    shards.script = (request) => {
      if (request.op === 'export') return { code: 'OK', text: '', staged: [] };
      return request.op === 'piece' && request.verb === 'MAILBOX'
        ? { code: 'NEED', text: '', guids }
        : undefined;
    };
    for (const user of ['anne', 'bob'])
      await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.${user} RECORD ())`);
    expect(shards.of('supply')).toMatchObject([
      { userid: 'anne', staged: [], lost: guids.slice(0, 2) },
      { userid: 'bob', staged: [], lost: guids.slice(0, 2) },
    ]);
  });

  test('of a few bytes travels with the next request about its user', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    await wire.ok(`APPLY MESSAGE (${file('two')})`);
    await wire.ok('GET USER bob');
    expect(shards.stored).toEqual([]);
    await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ${record('one', 'two')})`);
    expect(shards.stored.map(({ verb, messages }) => [verb, messages?.[0]?.guid])).toEqual([
      ['MESSAGE', sha1('one')],
      ['MESSAGE', sha1('two')],
      ['MAILBOX', undefined],
    ]);
    expect(harness.slabs.smallBytes).toBe(0);
  });

  test('that fails when it is carried out at last makes the MAILBOX after it fail', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    shards.script = (request) =>
      request.op === 'piece' && request.verb === 'MESSAGE'
        ? { code: 'IMAP_MAILBOX_LOCKED', text: 'disk full' }
        : undefined;
    const answer = await wire.command(
      `APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ${record('one')})`,
    );
    expect(answer.kind).toBe('NO IMAP_MAILBOX_LOCKED');
    expect(shards.stored).toEqual([]);
    expect(harness.slabs.smallBytes).toBe(0);
  });

  test('is put off for a limited number of bytes only', async () => {
    await wire.ok('GET USER anne');
    const texts = ['a', 'b', 'c'].map((letter) => letter.repeat(50_000));
    for (const text of texts) await wire.ok(`APPLY MESSAGE (${file(text)})`);
    expect(shards.stored.map(({ messages }) => messages![0]!.guid)).toEqual(texts.map(sha1));
  });

  test('is kept when the client goes away before the MAILBOX', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    await wire.ok('EXIT');
    expect(shards.stored.map(({ verb }) => verb)).toEqual(['MESSAGE']);
    expect(shards.requests.at(-1)!.op).toBe('release');
  });

  test('that a file had to give up is supplied to its real owner', async () => {
    await wire.ok('GET USER anne');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    const moved = { guid: sha1('one'), partition: 'default', path: '/staging/moved', offset: 0, size: 3 };
    shards.script = (request) =>
      request.op === 'piece' ? { code: 'OK', text: '', staged: [moved] } : undefined;
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    shards.script = (request) =>
      request.op === 'piece' ? { code: 'NEED', text: '', guids: [moved.guid] } : undefined;
    await wire.ok(`APPLY MAILBOX %(UNIQUEID u MBOXNAME user.bob RECORD ${record('one')})`);
    expect(shards.of('supply')[0]!.staged).toEqual([moved]);
  });

  test('is forgotten at RESTART', async () => {
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    await wire.ok('RESTART');
    shards.script = (request) =>
      request.op === 'piece' ? { code: 'NEED', text: '', guids: [sha1('one')] } : undefined;
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    expect(shards.of('supply')[0]!.staged).toEqual([]);
  });

  test('a store that asks twice is told off, the client may try again', async () => {
    shards.script = (request) =>
      request.op === 'piece' || request.op === 'supply' ? { code: 'NEED', text: '', guids: [] } : undefined;
    const answer = await wire.command('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.anne RECORD ())');
    expect(answer.kind).toBe('NO IMAP_MAILBOX_LOCKED');
  });
});

describe('GET MAILBOXES', () => {
  test('of several users asks each for its own and answers for all', async () => {
    shards.script = (request) =>
      request.op === 'read' && request.query.what === 'MAILBOXES'
        ? {
            code: 'OK',
            text: '',
            bytes: Buffer.from(`* MAILBOX %(X (${request.query.mboxnames.join(' ')}))\r\n`),
          }
        : undefined;
    const answer = await wire.command(
      'GET MAILBOXES (user.anne user.bob user.anne.x DELETED.user.bob.y.12 news)',
    );
    expect(answer).toMatchObject({
      final: 'OK Success',
      lines: [
        '* MAILBOX %(X (user.anne user.anne.x))',
        '* MAILBOX %(X (user.bob DELETED.user.bob.y.12))',
        '* MAILBOX %(X (news))',
      ],
    });
  });

  test('comes in pages', async () => {
    shards.script = (request) => {
      if (request.op !== 'read') return undefined;
      const page = request.cursor ?? 0;
      const more = page < 4 ? { cursor: page + 1 } : {};
      return { code: 'OK', text: '', bytes: Buffer.from(`* MAILBOX %(N ${page})\r\n`), ...more };
    };
    const answer = await wire.command('GET USER anne');
    expect(answer.lines).toEqual([0, 1, 2, 3, 4].map((page) => `* MAILBOX %(N ${page})`));
    expect(shards.of('read').map(({ cursor }) => cursor)).toEqual([undefined, 1, 2, 3, 4]);
  });

  test('that breaks off inside a line ends the connection', async () => {
    shards.script = (request) => {
      if (request.op !== 'read') return undefined;
      if (request.cursor !== undefined) return { code: 'IMAP_MAILBOX_LOCKED', text: 'read error' };
      return { code: 'OK', text: '', bytes: Buffer.from('* MAILBOX %(RECORD ('), cursor: 1 };
    };
    await expect(wire.command('GET FULLMAILBOX user.anne')).rejects.toThrow('connection lost');
  });
});

describe('other GETs', () => {
  test.each([
    ['QUOTA user.anne', 'anne', { what: 'QUOTA', root: 'user.anne' }],
    ['ANNOTATION ""', '%SHARED', { what: 'ANNOTATION', mboxname: '' }],
    ['ANNOTATION user.anne', 'anne', { what: 'ANNOTATION', mboxname: 'user.anne' }],
    ['FETCH_SIEVE %(USERID anne FILENAME f)', 'anne', { what: 'SIEVE', filename: 'f' }],
    [
      `FETCH %(MBOXNAME user.anne PARTITION p UNIQUEID u GUID ${'A'.repeat(40)} UID 7)`,
      'anne',
      { what: 'MESSAGE', mboxname: 'user.anne', uniqueid: 'u', guid: 'a'.repeat(40), uid: '7' },
    ],
  ])('%s', async (get, userid, query) => {
    await wire.ok(`GET ${get}`);
    expect(shards.of('read')).toMatchObject([{ userid, query }]);
  });

  test('UNIQUEIDS is answered without asking anybody', async () => {
    expect(await wire.command('GET UNIQUEIDS (a b)')).toMatchObject({ lines: [], final: 'OK Success' });
    expect(shards.requests).toEqual([]);
  });
});

describe('RENAME between users', () => {
  const rename = (from: string, to: string) =>
    `APPLY RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION p UIDVALIDITY 1)`;

  test('of the INBOX takes the backup along, and the folders follow', async () => {
    await wire.ok(rename('user.anne', 'user.bea'));
    await wire.ok(rename('user.anne.x', 'user.bea.x'));
    expect(shards.of('rename-user')).toMatchObject([
      { userid: 'anne', to: 'bea', shard: shardOf('anne', 3) },
    ]);
    expect(shards.stored.map(({ userid, verb }) => [userid, verb])).toEqual([
      ['bea', 'RENAME'],
      ['bea', 'RENAME'],
    ]);
    expect(shards.texts('bea')[1]).toBe(
      rename('user.anne.x', 'user.bea.x').slice('APPLY '.length).concat('\r\n'),
    );
  });

  test('to a user who has a backup ends the folder with the old one', async () => {
    shards.script = (request) => {
      if (request.op === 'rename-user') return { code: 'IMAP_MAILBOX_NONEXISTENT', text: 'taken' };
      if (request.op === 'read') return { code: 'OK', text: '', bytes: Buffer.from('* MAILBOX %(X y)\r\n') };
      return undefined;
    };
    expect(await wire.command(rename('user.anne', 'user.bea'))).toMatchObject({
      lines: [],
      final: 'OK Success',
    });
    expect(shards.stored.map(({ userid, text }) => [userid, text.toString()])).toEqual([
      ['anne', 'UNMAILBOX user.anne\r\n'],
    ]);
  });

  test('of a folder that an earlier session left to the new user is stored with that one', async () => {
    await wire.ok(rename('user.anne.x', 'user.bea.x'));
    expect(shards.of('rename-user')).toEqual([]);
    expect(shards.of('read')).toMatchObject([{ userid: 'anne', query: { mboxnames: ['user.anne.x'] } }]);
    expect(shards.stored.map(({ userid }) => userid)).toEqual(['bea']);
  });

  test('waits while the old backup is in use', async () => {
    shards.script = (request) =>
      request.op === 'rename-user' ? { code: 'IMAP_MAILBOX_LOCKED', text: 'in use' } : undefined;
    expect((await wire.command(rename('user.anne', 'user.bea'))).final).toBe('NO IMAP_MAILBOX_LOCKED in use');
    expect(shards.stored).toEqual([]);
  });

  test('a deleted INBOX is no new name of the user', async () => {
    await wire.ok(rename('user.anne', 'DELETED.user.anne.5F3A1B2C'));
    expect(shards.of('rename-user')).toEqual([]);
    expect(shards.stored.map(({ userid }) => userid)).toEqual(['anne']);
  });

  test('with a name missing, or longer than any name, is refused', async () => {
    expect((await wire.command('APPLY RENAME %(OLDMBOXNAME user.anne)')).kind).toBe('NO IMAP_PROTOCOL_ERROR');
    const long = rename('user.anne', `"user.anne.${'x'.repeat(70_000)}"`);
    expect((await wire.command(long)).kind).toMatch(/^NO IMAP_PROTOCOL/);
    expect(shards.stored).toEqual([]);
    expect(harness.slabs.freeCount).toBe(harness.slabs.count);
  });
});

describe('locks', () => {
  const users = 'abcdefghijkl'.split('');

  test('RESTART answers while what it gives up is finished; the next one and EXIT wait for that', async () => {
    for (const user of users.slice(0, 3)) await wire.ok(`GET USER ${user}`);
    let open = () => {};
    shards.gate = new Promise((resolve) => (open = resolve));
    expect((await wire.command('RESTART')).final).toBe('OK Restarting');
    const touched = new Set(users.slice(0, 3).map((user) => shardOf(user, 3)));
    expect(new Set(shards.of('release').map(({ shard }) => shard))).toEqual(touched);
    let answered = false;
    const answer = wire.command('RESTART').then((it) => {
      answered = true;
      return it;
    });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(answered).toBe(false);
    open();
    shards.gate = undefined;
    expect((await answer).final).toBe('OK Restarting');
    expect(shards.of('release')).toHaveLength(touched.size);
    await wire.ok('GET USER a');
    await wire.ok('EXIT');
    expect(shards.of('release').at(-1)).toMatchObject({ shard: shardOf('a', 3) });
  });

  test('no more than eight backups stay locked; the least recently used one is given up', async () => {
    for (const user of users.slice(0, 8)) await wire.ok(`GET USER ${user}`);
    await wire.ok('GET USER a');
    expect(shards.of('release')).toEqual([]);
    await wire.ok('GET USER i');
    expect(shards.of('release').map(({ userid }) => userid)).toEqual(['b']);
    expect(harness.sessions[0]!.backups.count).toBe(8);
  });

  test('a backup in which messages wait for their mailbox is given up last', async () => {
    await wire.ok('GET USER a');
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    for (const user of users.slice(1, 9)) await wire.ok(`GET USER ${user}`);
    expect(shards.of('release').map(({ userid }) => userid)).toEqual(['b']);
    await wire.ok('APPLY MAILBOX %(UNIQUEID u MBOXNAME user.a RECORD ())');
    for (const user of users.slice(9, 11)) await wire.ok(`GET USER ${user}`);
    expect(shards.of('release').map(({ userid }) => userid)).toEqual(['b', 'c', 'd']);
  });

  test('a session that goes gives up its locks', async () => {
    await wire.ok('GET USER a');
    wire.destroy();
    await harness.sessions[0]!.ended;
    expect(shards.of('release')).toHaveLength(1);
  });

  test('an idle session gives up its locks and lives on; not while messages wait', async () => {
    const session = harness.sessions[0]!;
    const later = () => performance.now() + harness.config.idleReleaseMs + 1;
    await wire.ok('GET USER a');
    session.tick(performance.now());
    expect(shards.of('release')).toEqual([]);
    session.tick(later());
    await eventually(() => shards.of('release').length).toBe(1);
    await wire.ok(`APPLY MESSAGE (${file('one')})`);
    session.tick(later());
    expect(session.backups.isEmpty).toBe(false);
    expect(shards.of('release')).toHaveLength(1);
    await wire.ok('NOOP');
  });
});
