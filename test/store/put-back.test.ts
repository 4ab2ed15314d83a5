/**
 * A mail server that was put back to an older state, and whose HIGHESTMODSEQ and last UID have passed those of the
 * backup by its next sync: what it sends is above what the backup has, and only its checksum tells of the rest.
 */
import fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compactBackup } from '../../src/maintenance/compact/compact.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { mailboxByName, mailboxMessages } from '../../src/store/index/queries.ts';
import { crcOf, guidOf, mailboxValue, messageValue, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;
beforeEach(() => {
  rig = new StoreRig();
});
afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

const CHECKED = { what: 'MAILBOXES' as const, mboxnames: ['user.anne'] };

const full = async (session: number): Promise<string> =>
  await rig.read(session, 'anne', { what: 'FULLMAILBOX', mboxname: 'user.anne' });
const figure = (name: string): number => rig.figures.take().values[name] ?? 0;
const content = (): string => gunzipSync(fs.readFileSync(rig.dataPath('anne'))).toString('latin1');

/** The last `count` of these messages with their records, over slabs if there are many. */
async function send(
  session: number,
  contents: readonly string[],
  count = contents.length,
  more: Record<string, number> = {},
): Promise<string> {
  const { value, refs } = messageValue(contents.slice(-count));
  if (count > 0) await rig.applyInSlabs(session, 'anne', 'MESSAGE', value, refs);
  const whole = mailboxValue('user.anne', contents, { SYNC_CRC: crcOf(contents), ...more });
  const at = whole.indexOf('RECORD (') + 'RECORD ('.length;
  const records = [...whole.matchAll(/%\(UID .*?GUID \w+\)/g)].map(String);
  const text = `${whole.slice(0, at)}${records.slice(records.length - count).join(' ')}))`;
  const reply =
    text.length > 60_000
      ? await rig.applyInSlabs(session, 'anne', 'MAILBOX', text)
      : await rig.apply(session, 'anne', 'MAILBOX', text);
  return reply.code;
}

describe.each([
  ['few', 3],
  ['many', 600],
])('with %s messages', (_kind, count) => {
  const old = Array.from({ length: count }, (_, i) => `old ${i}\r\n`);
  const lost = [...old, 'lost 1\r\n', 'lost 2\r\n'];
  const now = [...old, 'reused 1\r\n', 'reused 2\r\n', 'new\r\n'];

  test('the next sync brings all of it, the one behind that nothing', async () => {
    expect(await send(1, lost)).toBe('OK');
    await rig.release(1);
    // Of what has come since, the client sends what is above our modseq.
    expect(await send(2, now, 1)).toBe('OK');
    await rig.release(2);
    expect(figure('checksum_mismatches_total')).toBe(1);
    expect(figure('heals_requested_total')).toBe(1);
    expect(await rig.read(3, 'anne', CHECKED)).toBe('');
    expect(await send(3, now)).toBe('OK');
    await rig.release(3);
    const text = await full(4);
    for (const i of now.keys()) expect(text).toContain(`%(UID ${i + 1} `);
    for (const message of now.slice(-10)) expect(text).toContain(guidOf(message));
    for (const message of lost.slice(-2)) {
      expect(text).not.toContain(guidOf(message));
      expect(content()).toContain(message);
    }
    expect(await rig.read(4, 'anne', CHECKED)).toContain(`SYNC_CRC ${crcOf(now)} `);
    expect(await send(4, [...now, 'next\r\n'], 1)).toBe('OK');
    expect(await rig.read(4, 'anne', CHECKED)).toContain(`HIGHESTMODSEQ ${now.length + 2} `);
    expect(figure('checksum_mismatches_total')).toBe(1);
    expect(figure('heals_completed_total')).toBe(1);
  });

  test('a client that trusts its memory is refused, and brings all of it', async () => {
    await send(1, lost);
    await send(1, now, 1);
    const since = { SINCE_MODSEQ: now.length + 1, SINCE_CRC: crcOf(now) };
    expect(await send(1, [...now, 'next\r\n'], 1, since)).toBe('IMAP_SYNC_CHECKSUM');
    expect(await send(1, [...now, 'next\r\n'])).toBe('OK');
    expect(await full(1)).toContain(guidOf('reused 1\r\n'));
  });

  test('an index that is made anew asks for the mailbox, too', async () => {
    await send(1, lost);
    await send(1, now, 1);
    await rig.release(1);
    await rig.shard.handle({ op: 'stop' });
    fs.rmSync(`${rig.dataPath('anne')}.index`);
    rig.start();
    expect(await rig.read(2, 'anne', CHECKED)).toBe('');
    expect(await send(2, now)).toBe('OK');
    await rig.release(2);
    await rig.shard.handle({ op: 'stop' });
    fs.rmSync(`${rig.dataPath('anne')}.index`);
    rig.start();
    const before = figure('checksum_mismatches_total') + figure('checksums_unusable_total');
    expect(await rig.read(3, 'anne', CHECKED)).toContain(`HIGHESTMODSEQ ${now.length + 1} `);
    expect(await send(3, [...now, 'next\r\n'], 1)).toBe('OK');
    expect(await rig.read(3, 'anne', CHECKED)).toContain(`HIGHESTMODSEQ ${now.length + 2} `);
    expect(figure('checksum_mismatches_total') + figure('checksums_unusable_total')).toBe(before);
  });

  test('messages that it has no more, and says nothing of, are expunged when all of it has come', async () => {
    await send(1, lost);
    await send(1, now, 1);
    const less = now.slice(0, -1);
    const more = { HIGHESTMODSEQ: now.length + 5, LAST_UID: now.length };
    expect(await send(1, less, less.length, more)).toBe('OK');
    await rig.release(1);
    const check = async (session: number): Promise<void> => {
      const text = await full(session);
      expect(text).toMatch(new RegExp(`%\\(UID ${now.length} [^)]*FLAGS \\(\\\\Expunged\\)`));
      expect(text.match(/\\Expunged/g)).toHaveLength(1);
    };
    await check(2);
    await rig.release(2);
    await rig.shard.handle({ op: 'stop' });
    fs.rmSync(`${rig.dataPath('anne')}.index`);
    rig.start();
    await check(3);
    expect(content()).toContain(`APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID `);
    expect(figure('checksums_unusable_total')).toBe(0);
  });
});

test('a change of many messages that leaves a difference is stored, and the mailbox asked for', async () => {
  const old = Array.from({ length: 20 }, (_, i) => `old ${i}\r\n`);
  await send(1, [...old, 'lost\r\n']);
  const now = [...old, 'reused\r\n', ...Array.from({ length: 800 }, (_, i) => `new ${i}\r\n`)];
  expect(await send(1, now, 800)).toBe('OK');
  expect(await rig.read(1, 'anne', CHECKED)).toBe('');
  await rig.release(1);
  const text = content();
  for (const message of now.slice(-800)) expect(text).toContain(message);
  expect(text).toMatch(/APPLY RESERVE %\(NOTE HEAL VALUE %\(UNIQUEID \w+\)\)\r\n$/);
});

describe('a large mailbox that comes again in parts (sync_batchsize)', () => {
  const old = Array.from({ length: 12 }, (_, i) => `old ${i}\r\n`);
  const lost = [...old.slice(0, 4), 'lost a\r\n', ...old.slice(5), 'lost b\r\n'];
  /** By UID less one: put back, without two messages, with other mail under two old numbers and some more. */
  const now = [...old, 'reused\r\n', 'new\r\n'].map((one, i) => (i === 1 || i === 9 ? undefined : one));
  const last = now.length + 5;

  /** Records of these UIDs and their messages, in a MAILBOX that ends there. */
  async function bring(session: number, from: number, to: number, more = {}): Promise<string> {
    const isPart = to < now.length;
    const sent = now.slice(0, to).map((one, i) => (i < from ? undefined : one));
    const { value, refs } = messageValue(sent.filter((one) => one !== undefined));
    await rig.applyInSlabs(session, 'anne', 'MESSAGE', value, refs);
    const whole = { SYNC_CRC: crcOf(now), HIGHESTMODSEQ: last };
    let text = mailboxValue('user.anne', sent, isPart ? { SYNC_CRC: 0, ...more } : { ...whole, ...more });
    if (isPart) text = text.replace(/ SYNC_CRC_ANNOT \d+/, '');
    return (await rig.apply(session, 'anne', 'MAILBOX', text)).code;
  }

  async function reopen(how: 'disconnect' | 'restart' | 'kill' | 'reindex', session: number): Promise<void> {
    if (how !== 'kill') await rig.release(session);
    if (how === 'disconnect') return;
    const files = ['', '.index', '.index-journal'].map((suffix) => rig.dataPath('anne') + suffix);
    const left = files.map((file) => (fs.existsSync(file) ? fs.readFileSync(file) : undefined));
    await rig.shard.handle({ op: 'stop' });
    for (const [i, file] of files.entries()) {
      if (how === 'kill' && left[i] !== undefined) fs.writeFileSync(file, left[i]);
    }
    if (how === 'reindex') fs.rmSync(files[1]!);
    rig.start();
  }

  const uidsOf = (text: string): number[] =>
    [...text.matchAll(/%\(UID (\d+)/g)].map(([, uid]) => Number(uid));
  const known = now.flatMap((one, i) => (one === undefined ? [] : [i + 1]));
  /** UID and state of all records in the index, with the chunk in which they stand. */
  function records(): { uid: number; expunged: boolean; chunk: number }[] {
    const index = BackupIndex.open(`${rig.dataPath('anne')}.index`, { readonly: true });
    try {
      const { id } = mailboxByName(index, 'user.anne')!;
      return [...mailboxMessages(index, id)].map(({ uid, expunged, lastChunkId: chunk }) => ({
        uid,
        expunged: expunged !== null,
        chunk,
      }));
    } finally {
      index.close();
    }
  }

  beforeEach(async () => {
    await send(1, lost);
    await rig.release(1);
    // It has passed our numbers: what is above our modseq comes, with a checksum that differs.
    expect(await bring(1, now.length - 1, now.length)).toBe('OK');
    expect(figure('checksum_mismatches_total')).toBe(1);
    expect(await rig.read(1, 'anne', CHECKED)).toBe('');
    await rig.release(1);
  });

  test.each(['disconnect', 'restart', 'kill', 'reindex'] as const)(
    'heals as one that comes at once (%s)',
    async (how) => {
      let mismatches = 0;
      for (const [session, from, to] of [
        [2, 0, 5],
        [3, 5, 10],
      ] as const) {
        expect(await bring(session, from, to)).toBe('OK');
        await reopen(how, session);
        expect(await rig.read(session + 10, 'anne', CHECKED)).toMatch(
          new RegExp(`LAST_UID ${to} HIGHESTMODSEQ ${to + 1} `),
        );
        // Nothing is gone yet, and nothing is shown of which the mail server has not said that it has it.
        const text = await full(session + 10);
        expect(uidsOf(text)).toEqual(known.filter((uid) => uid <= to));
        expect(text).not.toContain('Expunged');
        await rig.release(session + 10);
        expect(records().filter(({ expunged }) => expunged)).toEqual([]);
        expect(records().map(({ uid }) => uid)).toEqual([...Array(now.length).keys()].map((i) => i + 1));
        mismatches += figure('checksum_mismatches_total') + figure('checksums_unusable_total');
      }
      expect(mismatches).toBe(how === 'disconnect' ? 2 : 0);
      expect(figure('heals_completed_total')).toBe(0);
      expect(await bring(4, 10, now.length)).toBe('OK');
      expect(figure('heals_completed_total')).toBe(1);
      expect(figure('checksums_unusable_total')).toBe(0);
      await reopen(how, 4);
      const check = async (session: number): Promise<void> => {
        const text = await full(session);
        for (const uid of known) expect(text).toContain(guidOf(now[uid - 1]!));
        expect(text.match(/%\(UID (2|10) [^)]*FLAGS \(\\Expunged\)/g)).toHaveLength(2);
        expect(text.match(/Expunged/g)).toHaveLength(2);
        expect(await rig.read(session, 'anne', CHECKED)).toContain(`LAST_UID 14 HIGHESTMODSEQ ${last} `);
        await rig.release(session);
      };
      await check(5);
      await reopen('reindex', 5);
      await check(6);
    },
  );

  test('all that has come stands in the lines that brought it', async () => {
    await bring(2, 0, 5);
    await rig.release(2);
    const before = records().at(-1)!.chunk;
    await bring(3, 5, 10);
    await rig.release(3);
    await bring(4, 10, now.length);
    await rig.release(4);
    const places = records().filter(({ expunged }) => !expunged);
    expect(places.filter(({ chunk }) => chunk <= before && chunk < places[0]!.chunk)).toEqual([]);
    expect(new Set(places.map(({ chunk }) => chunk)).size).toBe(3);
  });

  test('a client that says on what it builds is believed between the parts, and not before the first', async () => {
    expect(await bring(2, 0, 5, { SINCE_MODSEQ: 14 })).toBe('IMAP_SYNC_CHECKSUM');
    expect(await bring(2, 0, 5)).toBe('OK');
    expect(await bring(2, 5, 10, { SINCE_MODSEQ: 6, SINCE_CRC: 0, SINCE_CRC_ANNOT: 0 })).toBe('OK');
    expect(await bring(2, 10, now.length, { SINCE_MODSEQ: 10 })).toBe('IMAP_SYNC_CHECKSUM');
    expect(await bring(2, 10, now.length, { SINCE_MODSEQ: 11 })).toBe('OK');
    expect(records().filter(({ expunged }) => expunged)).toHaveLength(0); // not committed yet
    await rig.release(2);
    expect(records().filter(({ expunged }) => expunged)).toHaveLength(2);
  });

  test.each([
    ['anew, where compaction has dropped the lines that told how far it came', 1_000_000_000_000, 0],
    ['on, where compaction has kept them', 0, 5],
  ])('a client goes %s', async (_how, later, from) => {
    expect(await bring(2, 0, 5)).toBe('OK');
    await rig.release(2);
    await rig.shard.handle({ op: 'stop' });
    const dataPath = rig.dataPath('anne');
    await compactBackup({ dataPath, config: rig.config, force: true, now: Date.now() + later });
    rig.start();
    const answer = await rig.read(3, 'anne', CHECKED);
    if (from === 0) {
      expect(answer).toBe('');
      expect(await bring(3, 0, 5)).toBe('OK');
    } else expect(answer).toMatch(/LAST_UID 5 /);
    expect(await bring(3, 5, 10)).toBe('OK');
    expect(await bring(3, 10, now.length)).toBe('OK');
    await rig.release(3);
    const gone = records().filter(({ expunged }) => expunged);
    expect(gone.map(({ uid }) => uid)).toEqual([2, 10]);
  });

  test('a mail server that is put back between the parts begins anew', async () => {
    expect(await bring(2, 0, 5)).toBe('OK');
    expect(await bring(2, 0, 3)).toBe('IMAP_SYNC_CHECKSUM');
    expect(await rig.read(2, 'anne', CHECKED)).toBe('');
    expect(await bring(2, 0, 3)).toBe('OK');
    expect(await rig.read(2, 'anne', CHECKED)).toMatch(/LAST_UID 3 /);
    expect(await bring(2, 3, now.length)).toBe('OK');
    await rig.release(2);
    expect(
      records()
        .filter(({ expunged }) => expunged)
        .map(({ uid }) => uid),
    ).toEqual([2, 10]);
  });

  test('what lies above the last UID is gone when all of it has come, though there is no checksum', async () => {
    expect(await bring(2, 0, 5)).toBe('OK');
    expect(await bring(2, 5, 10)).toBe('OK');
    const text = mailboxValue('user.anne', now.slice(0, 11), {
      SYNC_CRC: crcOf(now.slice(0, 11)),
    });
    expect(
      (await rig.apply(2, 'anne', 'MAILBOX', text.replace(/RECORD .*(?=%\(UID 11 )/, 'RECORD ('))).code,
    ).toBe('OK');
    await rig.release(2);
    expect(
      records()
        .filter(({ expunged }) => expunged)
        .map(({ uid }) => uid),
    ).toEqual([2, 10, 12, 13, 14]);
  });
});

test('a mail server whose checksums mean something else is never asked for anything', async () => {
  const contents = ['one\r\n', 'two\r\n'];
  expect(await send(1, contents, 2, { SYNC_CRC: 4711 })).toBe('OK');
  await rig.release(1);
  for (let i = 0; i < 3; i++) {
    contents.push(`more ${i}\r\n`);
    expect(await send(2 + i, contents, 1, { SYNC_CRC: 4712 + i })).toBe('OK');
    expect(await rig.read(2 + i, 'anne', CHECKED)).toContain(`SYNC_CRC ${4712 + i} `);
    await rig.release(2 + i);
  }
  expect(figure('checksums_unusable_total')).toBe(1);
  expect(figure('checksum_mismatches_total')).toBe(0);
  expect(content()).not.toContain('NOTE HEAL');
});
