/**
 * A mail server that was put back to an older state, and whose HIGHESTMODSEQ and last UID have passed those of the
 * backup by its next sync: what it sends is above what the backup has, and only its checksum tells of the rest.
 */
import fs from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
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
  let text = `${whole.slice(0, at)}${records.slice(records.length - count).join(' ')}))`;
  if (more.SYNC_CRC_ANNOT === 0) text = text.replace(' SYNC_CRC_ANNOT 0', '');
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
  const old = Array.from({ length: 9 }, (_, i) => `old ${i}\r\n`);
  const lost = [...old, 'lost\r\n'];
  /** What Cyrus says of a part: the state as if no more were there, and no checksum. */
  const part = (contents: readonly string[], count: number): Promise<string> =>
    send(2, contents, count, { SYNC_CRC: 0, SYNC_CRC_ANNOT: 0 });
  const expunged = async (session: number): Promise<number> =>
    ((await full(session)).match(/\\Expunged/g) ?? []).length;

  beforeEach(async () => {
    await send(1, lost);
    // Put back by one message, and not far enough: all of it is asked for.
    expect(await send(1, old, 0)).toBe('IMAP_SYNC_CHECKSUM');
    expect(await rig.read(1, 'anne', CHECKED)).toBe('');
    await rig.release(1);
  });

  test('what has not come again yet is not gone', async () => {
    expect(await part(old.slice(0, 4), 4)).toBe('OK');
    await rig.release(2);
    expect(await rig.read(3, 'anne', CHECKED)).toMatch(/LAST_UID 4 /);
    expect(await expunged(3)).toBe(0);
    for (const message of lost) expect(await full(3)).toContain(guidOf(message));
  });

  test('what lies above the last UID is, when all of it has come', async () => {
    expect(await part(old.slice(0, 4), 4)).toBe('OK');
    expect(await part(old.slice(0, 7), 3)).toBe('OK');
    expect(await expunged(2)).toBe(0);
    expect(await send(2, old, 2)).toBe('OK');
    expect(await expunged(2)).toBe(1);
    expect(figure('checksum_mismatches_total') + figure('checksums_unusable_total')).toBe(0);
    await rig.release(2);
    await rig.shard.handle({ op: 'stop' });
    fs.rmSync(`${rig.dataPath('anne')}.index`);
    rig.start();
    expect(await expunged(3)).toBe(1);
    expect(await rig.read(3, 'anne', CHECKED)).toMatch(/LAST_UID 9 /);
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
