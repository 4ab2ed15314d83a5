import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { mailboxByName, mailboxByUniqueid, mailboxMessages } from '../../../src/store/index/queries.ts';
import { asList, asMap } from '../../support/dlist-text.ts';
import { everything, guidOf, IndexRig, sizeOf } from './index-rig.ts';
import { type MailboxText, mailboxText, type RecordText } from './mailbox-text.ts';

const [G1, G2, G3] = [guidOf(1), guidOf(2), guidOf(3)];
const INBOX: MailboxText = { uniqueid: 'u1', mboxname: 'user.anne' };

let rig: IndexRig;
beforeEach(() => {
  rig = new IndexRig();
});
afterEach(() => rig.remove());

function put(records: RecordText[], more: Partial<MailboxText> = {}, acceptMissing = false) {
  return rig.apply(mailboxText({ ...INBOX, ...more, records }), { acceptMissing });
}

/** UIDs and GUIDs in Cyrus's own table. */
function cyrusRows(): unknown {
  return rig.index
    .statement(
      'SELECT r.uid, m.guid FROM mailbox_message r JOIN message m ON m.id = r.message_id ORDER BY uid',
      'raw',
    )
    .all();
}

function records(uniqueid = 'u1') {
  return [...mailboxMessages(rig.index, mailboxByUniqueid(rig.index, uniqueid)!.id)];
}

describe('MAILBOX', () => {
  const complete = mailboxText({ ...INBOX, records: [] });

  test.each([
    'UNIQUEID',
    'MBOXNAME',
    'LAST_UID',
    'HIGHESTMODSEQ',
    'RECENTUID',
    'RECENTTIME',
    'LAST_APPENDDATE',
    'POP3_LAST_LOGIN',
    'UIDVALIDITY',
    'PARTITION',
    'ACL',
    'OPTIONS',
    'RECORD',
  ])('without %s is refused, and the text names the field', (key) => {
    const without = complete
      .replace(new RegExp(` ?\\b${key} ("[^"]*"|\\(\\)|[^ ()]+)`), '')
      .replace('%( ', '%(');
    expect(without).not.toBe(complete);
    const before = everything(rig.index);
    const outcome = rig.apply(without);
    expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_PROTOCOL_BAD_PARAMETERS' });
    expect(outcome.type === 'reject' && outcome.text).toContain(key);
    expect(everything(rig.index)).toEqual(before);
  });

  test.each(['SYNC_CRC', 'SYNC_CRC_ANNOT', 'POP3_SHOW_AFTER'])('needs no %s', (key) => {
    const without = complete.replace(new RegExp(` ${key} \\d+`), '');
    expect(without).not.toBe(complete);
    expect(rig.apply(without)).toMatchObject({ type: 'ok', changed: true, command: 'APPLY' });
    expect(rig.answer({ what: 'USER' })).not.toMatch(new RegExp(`\\b${key} `));
  });

  test.each([
    ['no number', complete.replace('LAST_UID 9', 'LAST_UID x')],
    ['NIL for a name', complete.replace('MBOXNAME user.anne', 'MBOXNAME NIL')],
    ['a list for a record', complete.replace('RECORD ()', 'RECORD ((UID 1))')],
    ['a list without names', 'MAILBOX (a b)'],
    ['an atom', 'MAILBOX user.anne'],
    ['records twice', complete.replace('RECORD ()', 'RECORD () RECORD ()')],
    [
      'records before the name',
      complete.replace(/MBOXNAME \S+ (.*) RECORD \(\)/, '$1 RECORD () MBOXNAME user.anne'),
    ],
  ])('with %s is refused', (_what, text) => {
    expect(rig.apply(text)).toMatchObject({ type: 'reject', code: 'IMAP_PROTOCOL_BAD_PARAMETERS' });
    expect(rig.answer({ what: 'USER' })).toBe('');
  });

  test.each(['UID', 'MODSEQ', 'LAST_UPDATED', 'INTERNALDATE', 'GUID'])(
    'with a RECORD that lacks %s is refused',
    (key) => {
      rig.message(G1);
      const text = mailboxText({ ...INBOX, records: [{ uid: 1, guid: G1 }] });
      const without = text.replace(/RECORD \(.*\)\)/, (list) =>
        list.replace(new RegExp(`\\b${key} \\w+ ?`), ''),
      );
      expect(without).not.toBe(text);
      const outcome = rig.apply(without);
      expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_PROTOCOL_BAD_PARAMETERS' });
      expect(outcome.type === 'reject' && outcome.text).toContain(key);
    },
  );

  test('keeps fields of later releases and answers them as sent', () => {
    const more =
      'JMAPID P-F VERSION 20 USERFLAGS (a "b c") FOLDERMODSEQ 7 NEWFIELD %(A (1 {3}\r\nx\r\n NIL) B "")';
    put([], { more });
    expect(rig.answer({ what: 'USER' })).toContain(more);
    put([]);
    expect(rig.answer({ what: 'USER' })).not.toContain('JMAPID');
  });

  test('of a field that comes twice the first counts, as in Cyrus', () => {
    put([], { more: 'QUOTAROOT a QUOTAROOT b PARTITION p9' });
    expect(mailboxByName(rig.index, 'user.anne')).toMatchObject({ quotaroot: 'a', partition: 'default' });
    rig.apply('SUB %(USERID anne MBOXNAME user.anne MBOXNAME user.bob)');
    expect(rig.answer({ what: 'META' })).toBe('* LSUB (user.anne)\r\n');
  });

  test('keeps unsigned 64 bit numbers exactly', () => {
    rig.message(G1);
    for (const modseq of [2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 64n - 1n]) {
      put([{ uid: 1, guid: G1, modseq }], { highestmodseq: modseq });
      const [full] = rig.lines({ what: 'FULLMAILBOX', mboxname: 'user.anne' });
      expect(asMap(full!.value).get('HIGHESTMODSEQ')).toBe(String(modseq));
      const [record] = asList(asMap(full!.value).get('RECORD'));
      expect(asMap(record).get('MODSEQ')).toBe(String(modseq));
      expect(mailboxByName(rig.index, 'user.anne')?.highestmodseq).toBe(modseq);
    }
  });

  test('keeps text byte for byte, whatever its encoding', () => {
    const bytes = Array.from({ length: 255 }, (_, at) => String.fromCharCode(at + 1)).join('');
    const literal = `{${bytes.length}}\r\n${bytes}`;
    const annotated = `(%(ENTRY /comment USERID "" VALUE ${literal}))`;
    rig.message(G1);
    put([{ uid: 1, guid: G1, annotations: annotated, flags: ['$L\u00e4bel'] }], {
      mboxname: '"user.anne.\u00e4 \u00ff"',
      annotations: annotated,
      more: `X-NEW ${literal}`,
    });
    const [full] = rig.lines({ what: 'FULLMAILBOX', mboxname: 'user.anne.\u00e4 \u00ff' });
    const mailbox = asMap(full!.value);
    expect(mailbox.get('MBOXNAME')).toBe('user.anne.\u00e4 \u00ff');
    expect(mailbox.get('X-NEW')).toBe(bytes);
    expect(asMap(asList(mailbox.get('ANNOTATIONS'))[0]).get('VALUE')).toBe(bytes);
    const record = asMap(asList(mailbox.get('RECORD'))[0]);
    expect(asMap(asList(record.get('ANNOTATIONS'))[0]).get('VALUE')).toBe(bytes);
    expect(record.get('FLAGS')).toEqual(['$L\u00e4bel']);
    // As Cyrus has it: TEXT columns with just these bytes.
    const kept = rig.index
      .statement('SELECT typeof(annotations), CAST(annotations AS BLOB) FROM mailbox', 'raw')
      .get();
    expect(kept).toEqual(['text', Buffer.from(annotated, 'latin1')]);
  });

  test('writes literals of the index as {n} where an old data file has {n+}', () => {
    put([], { annotations: '(%(ENTRY /comment USERID "" VALUE {3+}\r\na\r\n))' });
    expect(mailboxByName(rig.index, 'user.anne')?.annotations).toBe(
      '(%(ENTRY /comment USERID "" VALUE {3}\r\na\r\n))',
    );
  });

  test('the same again changes nothing', () => {
    rig.message(G1, G2);
    const list = [
      { uid: 1, guid: G1, flags: ['\\Seen'], annotations: '(%(ENTRY /a USERID "" VALUE x))', more: 'CID 5' },
      { uid: 2, guid: G2, expunged: true },
      { uid: 3, guid: G3, expunged: true },
    ];
    const more = { annotations: '()', more: 'FOLDERMODSEQ 3' };
    expect(put(list, more)).toMatchObject({ type: 'ok', changed: true });
    expect(put(list, more)).toMatchObject({ type: 'ok', changed: false });
    expect(put(list, { ...more, highestmodseq: 11 })).toMatchObject({ changed: true });
    expect(put([{ ...list[0]!, flags: [] }], { ...more, highestmodseq: 11 })).toMatchObject({
      changed: true,
    });
    expect(put([{ ...list[0]!, flags: [], more: 'CID 6' }], { ...more, highestmodseq: 11 })).toMatchObject({
      changed: true,
    });
    expect(rig.answer({ what: 'FULLMAILBOX', mboxname: 'user.anne' })).toContain('CID 6');
  });

  test('under another name is a rename, and takes the name from who had it', () => {
    put([]);
    rig.apply(mailboxText({ uniqueid: 'u2', mboxname: 'user.anne.b' }));
    rig.apply(mailboxText({ ...INBOX, mboxname: 'user.anne.b' }), { time: 1_800_000_000 });
    expect(mailboxByName(rig.index, 'user.anne')).toBeUndefined();
    expect(mailboxByName(rig.index, 'user.anne.b')?.uniqueid).toBe('u1');
    expect(mailboxByUniqueid(rig.index, 'u2')?.deleted).toBe(1_800_000_000);
  });

  test('fills the columns as Cyrus does', () => {
    rig.message(G1);
    rig.message(G2);
    rig.apply(
      mailboxText({
        ...INBOX,
        annotations: '(%(ENTRY /comment USERID "" MODSEQ 0 VALUE "x y"))',
        more: 'QUOTAROOT user.anne XCONVMODSEQ 12',
        records: [
          { uid: 1, guid: G1, flags: ['\\Seen', '$Label'], annotations: '(%(ENTRY /a USERID "" VALUE b))' },
          { uid: 2, guid: G2, expunged: true, flags: ['\\Deleted'] },
        ],
      }),
      { time: 1_800_000_000 },
    );
    const { id: _id, ...mailbox } = rig.index.statement('SELECT * FROM mailbox').get() as { id: number };
    expect(mailbox).toEqual({
      last_chunk_id: rig.chunkId,
      uniqueid: 'u1',
      mboxname: 'user.anne',
      mboxtype: null,
      last_uid: 9,
      highestmodseq: 10,
      recentuid: 1,
      recenttime: 1_700_000_001,
      last_appenddate: 1_700_000_002,
      pop3_last_login: 0,
      pop3_show_after: 0,
      uidvalidity: 1_600_000_000,
      partition: 'default',
      acl: 'anne\tlrswipkxtecdan\t',
      options: 'P',
      sync_crc: 5,
      sync_crc_annot: 12_345_678,
      quotaroot: 'user.anne',
      xconvmodseq: 12,
      annotations: '(%(ENTRY /comment USERID "" MODSEQ 0 VALUE "x y"))',
      deleted: null,
    });
    const rows = rig.index
      .statement('SELECT uid, flags, annotations, expunged FROM mailbox_message', 'raw')
      .all();
    expect(rows).toEqual([
      [1, '(\\Seen $Label)', '(%(ENTRY /a USERID "" VALUE b))', null],
      [2, '(\\Deleted)', '', 1_800_000_000],
    ]);
    const message = rig.index.statement('SELECT guid, partition, chunk_id, size FROM message', 'raw').all();
    expect(message).toEqual([
      [G1, 'default', rig.chunkId, sizeOf(G1)],
      [G2, 'default', rig.chunkId, sizeOf(G2)],
    ]);
  });

  test('gives the same wherever the stream is cut', () => {
    rig.message(G1, G2);
    const text = mailboxText({
      ...INBOX,
      annotations: '(%(ENTRY /c USERID "" VALUE {4}\r\n)(\r\n))',
      more: 'NEW ("a\\"b" \\flag)',
      records: [
        { uid: 1, guid: G1, flags: ['\\Seen'], annotations: '(%(ENTRY /a USERID "" VALUE {2+}\r\nb"))' },
        { uid: 2, guid: G2, expunged: true, more: 'NEWER %(A 1)' },
      ],
    });
    rig.apply(text, { time: 1_800_000_000 });
    const whole = everything(rig.index);
    for (const step of [1, 2, 3, 5, 7, 64]) {
      const other = new IndexRig();
      other.message(G1, G2);
      expect(other.apply(text, { time: 1_800_000_000, step })).toMatchObject({ type: 'ok', changed: true });
      expect(everything(other.index)).toEqual(whole);
      other.remove();
    }
  });
});

describe('SINCE_*', () => {
  beforeEach(() => {
    put([], { highestmodseq: 7, crc: 50 });
  });
  const since = (modseq: number, crc = 50, crcAnnot = 12_345_678) =>
    put([], { highestmodseq: 8, since: { modseq, crc, crcAnnot } });
  const CHECKSUM = { type: 'reject', code: 'IMAP_SYNC_CHECKSUM' };

  test('that fits is accepted', () => expect(since(7)).toMatchObject({ type: 'ok' }));
  test('with unknown checksums is accepted', () => expect(since(7, 0, 0)).toMatchObject({ type: 'ok' }));
  test('of modseq 0 says nothing', () => expect(since(0, 1, 1)).toMatchObject({ type: 'ok' }));
  test('of another modseq is refused', () => expect(since(6)).toMatchObject(CHECKSUM));
  test('of another checksum is refused', () => expect(since(7, 51)).toMatchObject(CHECKSUM));
  test('of another checksum of annotations is refused', () =>
    expect(since(7, 50, 1)).toMatchObject(CHECKSUM));

  test('of a mailbox that is not here is refused, and leaves nothing behind', () => {
    const outcome = rig.apply(mailboxText({ uniqueid: 'u9', mboxname: 'user.anne.x', since: { modseq: 3 } }));
    expect(outcome).toMatchObject(CHECKSUM);
    expect(mailboxByUniqueid(rig.index, 'u9')).toBeUndefined();
  });

  test('of a deleted mailbox is refused', () => {
    rig.apply('UNMAILBOX user.anne');
    expect(since(7)).toMatchObject(CHECKSUM);
  });

  test('of a mailbox to be healed is refused', () => {
    rig.heal('u1', [G1]);
    expect(since(7)).toMatchObject(CHECKSUM);
  });

  test('does not count in history', () => {
    const text = mailboxText({ ...INBOX, highestmodseq: 9, since: { modseq: 3, crc: 1 } });
    expect(rig.replay([{ time: 1_800_000_000, command: 'APPLY', text }])).toEqual([
      { type: 'ok', changed: true, command: 'APPLY' },
    ]);
  });

  test.each([undefined, 'FOLDERMODSEQ 3'])('meets no stale checksum after EXPUNGE (%s)', (more) => {
    rig.message(G1);
    put([{ uid: 1, guid: G1 }], { highestmodseq: 7, crc: 50, more });
    rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (1))');
    expect(rig.answer({ what: 'USER' })).not.toContain('SYNC_CRC');
    expect(put([], { highestmodseq: 8, more, since: { modseq: 7, crc: 99 } })).toMatchObject({ type: 'ok' });
    expect(rig.answer({ what: 'USER' })).toContain('SYNC_CRC 5 ');
  });
});

describe('messages that are missing', () => {
  const TWO = [
    { uid: 1, guid: G1 },
    { uid: 2, guid: G2 },
    { uid: 3, guid: G2 },
  ];

  test('are asked for, and nothing stays of the line', () => {
    const before = everything(rig.index);
    const needed = { guids: [G1, G2], missingCount: 2, stillMissing: [] };
    expect(put(TWO)).toEqual({ type: 'need', uniqueid: 'u1', ...needed });
    expect(everything(rig.index)).toEqual(before);
    rig.message(G1, G2);
    expect(put(TWO)).toMatchObject({ type: 'ok', changed: true });
    expect(cyrusRows()).toEqual([
      [1, G1],
      [3, G2],
    ]);
  });

  test('can be entered while the line waits', () => {
    const text = mailboxText({ ...INBOX, records: TWO });
    expect(rig.apply(text, { supply: [G2] })).toMatchObject({ type: 'need', guids: [G1], missingCount: 1 });
    rig.pending.clear();
    expect(rig.apply(text, { supply: [G1, G2] })).toMatchObject({ type: 'ok', changed: true });
    expect(cyrusRows()).toEqual([
      [1, G1],
      [3, G2],
    ]);
    expect(records().map(({ uid }) => uid)).toEqual([1, 2, 3]);
  });

  test('of expunged records are not: the client has them no more', () => {
    expect(put([{ uid: 1, guid: G1, expunged: true }])).toMatchObject({ type: 'ok', changed: true });
    expect(records()).toMatchObject([{ uid: 1, guid: G1, messageId: null, size: sizeOf(G1) }]);
    expect(rig.answer({ what: 'FULLMAILBOX', mboxname: 'user.anne' })).toContain('FLAGS (\\Expunged)');
  });

  test('once accepted are asked for no more', () => {
    expect(put([{ uid: 1, guid: G1 }], {}, true)).toMatchObject({ type: 'ok', changed: true });
    expect(put([{ uid: 1, guid: G1, flags: ['\\Seen'] }])).toMatchObject({ type: 'ok', changed: true });
    expect(records()).toMatchObject([{ uid: 1, flags: '(\\Seen)', messageId: null }]);
    expect(put([{ uid: 1, guid: G2 }])).toMatchObject({ type: 'need', guids: [G2] });
  });

  test('once accepted are needed again where all of the mailbox is to come', () => {
    put([{ uid: 1, guid: G1 }], {}, true);
    rig.heal('u1', [G1]);
    expect(put([{ uid: 1, guid: G1 }])).toMatchObject({ type: 'need', guids: [], stillMissing: [G1] });
    expect(put([{ uid: 1, guid: G1, expunged: true }])).toMatchObject({ type: 'ok' });
  });

  test('that come later give their records the place that Cyrus knows', () => {
    put(
      [
        { uid: 1, guid: G1 },
        { uid: 4, guid: G2, expunged: true },
      ],
      {},
      true,
    );
    rig.message(G1, G2);
    rig.apply(mailboxText({ uniqueid: 'u2', mboxname: 'user.anne.b', records: [{ uid: 7, guid: G2 }] }));
    expect(cyrusRows()).toEqual([
      [1, G1],
      [4, G2],
      [7, G2],
    ]);
    expect(records().map((record) => record.messageId !== null)).toEqual([true, true]);
  });

  test('are remembered by a mark that a complete MAILBOX takes away', () => {
    put([]);
    rig.heal('u1', [G1, G2]);
    expect(rig.index.isUnderHeal('u1', [G2])).toBe(true);
    expect(rig.index.isUnderHeal('u1', [G3])).toBe(false);
    expect(rig.index.healMark('u1')).toEqual(new Set([G1, G2]));
    expect(rig.answer({ what: 'USER' })).toBe('');
    expect(rig.answer({ what: 'MAILBOXES', mboxnames: ['user.anne'] })).toBe('');
    expect(rig.answer({ what: 'FULLMAILBOX', mboxname: 'user.anne' })).toBeUndefined();
    expect(put([{ uid: 1, guid: G1 }])).toMatchObject({ type: 'need' });
    expect(rig.index.isUnderHeal('u1', [G1])).toBe(true);
    expect(put([])).toMatchObject({ type: 'ok', changed: true });
    expect(rig.index.healMark('u1')).toBeUndefined();
    expect(rig.answer({ what: 'MAILBOXES', mboxnames: ['user.anne'] })).toContain('UNIQUEID u1');
  });

  test('in a mailbox of 100000 and more are counted, not gathered', () => {
    const many = Array.from({ length: 100_005 }, (_, at) => ({ uid: at + 1, guid: guidOf(at + 10) }));
    const outcome = put(many);
    expect(outcome).toMatchObject({ type: 'need', missingCount: 100_005 });
    expect(outcome.type === 'need' && outcome.guids.length).toBe(100_000);
  });
});

describe('the same message under two UIDs', () => {
  beforeEach(() => rig.message(G1, G2));

  test('both are answered, the newer one stands in the table of Cyrus', () => {
    put([
      { uid: 1, guid: G1, flags: ['a'] },
      { uid: 5, guid: G1, flags: ['b'] },
    ]);
    expect(records().map(({ uid, flags }) => [uid, flags])).toEqual([
      [1, '(a)'],
      [5, '(b)'],
    ]);
    expect(cyrusRows()).toEqual([[5, G1]]);
    put([{ uid: 1, guid: G1, flags: ['c'] }]);
    expect(records().map(({ flags }) => flags)).toEqual(['(c)', '(b)']);
  });

  test('a live one goes before an expunged one, whichever way it became so', () => {
    put([
      { uid: 1, guid: G1 },
      { uid: 5, guid: G1 },
    ]);
    put([{ uid: 5, guid: G1, expunged: true }]);
    expect(cyrusRows()).toEqual([[1, G1]]);
    put([{ uid: 5, guid: G1 }]);
    expect(cyrusRows()).toEqual([[5, G1]]);
    rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (5))');
    expect(cyrusRows()).toEqual([[1, G1]]);
    rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (1))');
    expect(records().every((record) => record.expunged !== null)).toBe(true);
  });

  test('a UID that names another message gives up the former one', () => {
    put([
      { uid: 1, guid: G1 },
      { uid: 5, guid: G1 },
    ]);
    put([{ uid: 5, guid: G2 }]);
    expect(records().map(({ uid, guid }) => [uid, guid])).toEqual([
      [1, G1],
      [5, G2],
    ]);
    expect(cyrusRows()).toEqual([
      [1, G1],
      [5, G2],
    ]);
    const kept = rig.index
      .statement('SELECT uid, guid, replaced FROM cb_record WHERE replaced = 1', 'raw')
      .all();
    expect(kept).toEqual([[5, G1, 1]]);
  });
});

test('expunged is the time of the line that first said so', () => {
  rig.message(G1);
  put([{ uid: 1, guid: G1 }]);
  const gone = mailboxText({ ...INBOX, records: [{ uid: 1, guid: G1, expunged: true }] });
  rig.apply(gone, { time: 1_800_000_000 });
  rig.apply(gone.replace('HIGHESTMODSEQ 10', 'HIGHESTMODSEQ 11'), { time: 1_800_000_005 });
  expect(records()).toMatchObject([{ expunged: 1_800_000_000 }]);
  expect(cyrusRows()).toEqual([[1, G1]]);
});

describe('intermediate nodes', () => {
  const node = (more = 'MBOXTYPE ei HIGHESTMODSEQ 4 CREATEDMODSEQ 1 FOLDERMODSEQ 4') =>
    rig.apply(`MAILBOX %(JMAPID P-F UNIQUEID n1 MBOXNAME user.anne.X ${more})`);

  test('are stored as NOTE, answered without content, and no change when repeated', () => {
    expect(node()).toEqual({ type: 'ok', changed: true, command: 'NOTE' });
    expect(node()).toEqual({ type: 'ok', changed: false, command: 'NOTE' });
    const line =
      '* MAILBOX %(UNIQUEID n1 MBOXNAME user.anne.X MBOXTYPE ei SYNC_CRC 0 LAST_UID 0 HIGHESTMODSEQ 0 RECENTUID 0 ' +
      'RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 UIDVALIDITY 0 PARTITION NIL ACL "" ' +
      'OPTIONS "" JMAPID P-F CREATEDMODSEQ 1 FOLDERMODSEQ 4)\r\n';
    expect(rig.answer({ what: 'USER' })).toBe(line);
    expect(rig.answer({ what: 'MAILBOXES', mboxnames: ['user.anne.X', 'user.anne.Y'] })).toBe(line);
    expect(rig.answer({ what: 'UNIQUEIDS', uniqueids: ['n1'] })).toBe(line);
    expect(rig.answer({ what: 'FULLMAILBOX', mboxname: 'user.anne.X' })).toBeUndefined();
    expect(node('MBOXTYPE ei HIGHESTMODSEQ 5 FOLDERMODSEQ 5')).toMatchObject({ changed: true });
  });

  test('become a mailbox, and a mailbox becomes one', () => {
    node();
    rig.apply(mailboxText({ uniqueid: 'n1', mboxname: 'user.anne.X' }));
    expect(rig.lines({ what: 'USER' })).toHaveLength(1);
    expect(mailboxByName(rig.index, 'user.anne.X')?.partition).toBe('default');
    rig.apply(
      'RENAME %(OLDMBOXNAME user.anne.X NEWMBOXNAME DELETED.user.anne.X.1 PARTITION default UIDVALIDITY 5)',
    );
    rig.apply('MAILBOX %(UNIQUEID n2 MBOXNAME user.anne.X MBOXTYPE i HIGHESTMODSEQ 9)');
    const names = rig.lines({ what: 'USER' }).map((line) => asMap(line.value).get('MBOXNAME'));
    expect(names).toEqual(['DELETED.user.anne.X.1', 'user.anne.X']);
  });

  test('follow RENAME and UNMAILBOX', () => {
    node();
    rig.apply('RENAME %(OLDMBOXNAME user.anne.X NEWMBOXNAME user.anne.Z PARTITION default UIDVALIDITY 0)');
    expect(rig.answer({ what: 'USER' })).toContain('MBOXNAME user.anne.Z');
    expect(rig.apply('UNMAILBOX user.anne.Z')).toMatchObject({ changed: true });
    expect(rig.answer({ what: 'USER' })).toBe('');
  });

  test('that are tombstones are kept but not answered', () => {
    expect(node('MBOXTYPE d HIGHESTMODSEQ 4')).toMatchObject({ type: 'ok', changed: true, command: 'NOTE' });
    expect(rig.answer({ what: 'USER' })).toBe('');
  });

  const rename = (from: string, to: string) =>
    rig.apply(`RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION default UIDVALIDITY 5)`);

  test('are gone when a mailbox is renamed to their name', () => {
    node();
    rig.apply(mailboxText({ uniqueid: 'u1', mboxname: 'user.anne.Y' }));
    expect(rename('user.anne.Y', 'user.anne.X')).toMatchObject({ changed: true });
    const named = rig.lines({ what: 'USER' }).map((line) => asMap(line.value));
    expect(named.map((fields) => [fields.get('UNIQUEID'), fields.get('MBOXNAME')])).toEqual([
      ['u1', 'user.anne.X'],
    ]);
    expect(rig.answer({ what: 'UNIQUEIDS', uniqueids: ['n1'] })).toBe('');
  });

  test('that are renamed take the name from who had it', () => {
    node();
    rig.apply(mailboxText({ uniqueid: 'u1', mboxname: 'user.anne.Y' }));
    rig.apply('MAILBOX %(UNIQUEID n2 MBOXNAME user.anne.Z MBOXTYPE i HIGHESTMODSEQ 9)');
    expect(rename('user.anne.X', 'user.anne.Y')).toMatchObject({ changed: true });
    expect(mailboxByUniqueid(rig.index, 'u1')?.deleted).not.toBeNull();
    rename('user.anne.Y', 'user.anne.Z');
    const named = rig.lines({ what: 'USER' }).map((line) => asMap(line.value));
    expect(named.map((fields) => [fields.get('UNIQUEID'), fields.get('MBOXNAME')])).toEqual([
      ['n1', 'user.anne.Z'],
    ]);
  });

  test('without a name or unique id are refused', () => {
    expect(rig.apply('MAILBOX %(UNIQUEID n1 MBOXTYPE i)')).toMatchObject({ type: 'reject' });
    expect(rig.apply('MAILBOX %(MBOXNAME n1 MBOXTYPE i)')).toMatchObject({ type: 'reject' });
  });
});

describe('RENAME', () => {
  test('carries PARTITION and UIDVALIDITY, and leaves subscriptions alone', () => {
    put([]);
    rig.apply('SUB %(USERID anne MBOXNAME user.anne)');
    const text = 'RENAME %(OLDMBOXNAME user.anne NEWMBOXNAME user.anne.New PARTITION p2 UIDVALIDITY 77)';
    expect(rig.apply(text)).toMatchObject({ changed: true });
    expect(mailboxByUniqueid(rig.index, 'u1')).toMatchObject({
      mboxname: 'user.anne.New',
      partition: 'p2',
      uidvalidity: 77,
    });
    expect(rig.answer({ what: 'META' })).toContain('LSUB (user.anne)');
    expect(rig.apply(text)).toMatchObject({ changed: false });
  });

  test('of a user gives what is private in annotations to the new name', () => {
    const of = (userid: string): string =>
      `(%(ENTRY /comment USERID ${userid} VALUE "of USERID anne.b") %(ENTRY /comment USERID "" VALUE {3}\r\nall)` +
      ' %(ENTRY /comment USERID anne VALUE x))';
    const [from, to] = ['user.anne^b', 'user.bea'];
    const [G4, annotations] = [guidOf(4), of('anne.b')];
    put(
      [
        { uid: 1, guid: G1, annotations },
        { uid: 2, guid: G4, annotations },
        { uid: 3, guid: G2 },
      ],
      { mboxname: from, annotations },
      true,
    );
    rig.apply(`RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION default UIDVALIDITY 5)`);
    const stored = of('bea');
    expect(records().map((record) => record.annotations)).toEqual([stored, stored, '']);
    expect(mailboxByName(rig.index, to)?.annotations).toBe(stored);
    expect(rig.answer({ what: 'FULLMAILBOX', mboxname: to })).not.toContain('USERID anne.b ');
    // Into the deleted namespace and back, as to another folder: the user is the same.
    for (const name of ['DELETED.user.bea.5F3A1B2C', 'user.bea.Old'])
      rig.apply(
        `RENAME %(OLDMBOXNAME ${mailboxByUniqueid(rig.index, 'u1')?.mboxname} NEWMBOXNAME ${name} PARTITION default UIDVALIDITY 5)`,
      );
    expect(records()[0]?.annotations).toBe(stored);
  });

  test('to the same name moves the mailbox to another partition', () => {
    put([]);
    const text = 'RENAME %(OLDMBOXNAME user.anne NEWMBOXNAME user.anne PARTITION p2 UIDVALIDITY 1600000000)';
    expect(rig.apply(text)).toMatchObject({ changed: true });
    expect(mailboxByName(rig.index, 'user.anne')?.partition).toBe('p2');
    expect(rig.apply(text)).toMatchObject({ changed: false });
  });
});

test('UNMAILBOX of what is not there changes nothing', () => {
  expect(rig.apply('UNMAILBOX user.anne')).toEqual({ type: 'ok', changed: false, command: 'APPLY' });
  put([]);
  expect(rig.apply('UNMAILBOX user.anne', { time: 1_800_000_000 })).toMatchObject({ changed: true });
  expect(rig.answer({ what: 'USER' })).toBe('');
  expect(mailboxByUniqueid(rig.index, 'u1')?.deleted).toBe(1_800_000_000);
});

describe('EXPUNGE', () => {
  test('of an unknown mailbox, or one of another name, is refused', () => {
    put([]);
    for (const [name, id] of [
      ['user.anne', 'u9'],
      ['user.anne.x', 'u1'],
    ]) {
      const outcome = rig.apply(`EXPUNGE %(MBOXNAME ${name} UNIQUEID ${id} UID (1))`);
      expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_MAILBOX_NONEXISTENT' });
    }
  });

  test('of UIDs that are not there, or gone already, changes nothing', () => {
    rig.message(G1);
    put([{ uid: 1, guid: G1 }]);
    expect(rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (7))')).toMatchObject({ changed: false });
    expect(rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (1))')).toMatchObject({ changed: true });
    expect(rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (1))')).toMatchObject({ changed: false });
  });
});

describe('what belongs to the user', () => {
  test.each([
    [
      'SUB',
      'SUB %(USERID anne MBOXNAME user.anne)',
      'LSUB (user.anne)',
      'UNSUB %(USERID anne MBOXNAME user.anne)',
    ],
    [
      'SIEVE',
      'SIEVE %(USERID anne FILENAME a.script LAST_UPDATE 7 CONTENT {6}\r\nkeep;\n)',
      `SIEVE %(FILENAME a.script LAST_UPDATE 7 GUID ${createHash('sha1').update('keep;\n').digest('hex')} ISACTIVE 0)`,
      'UNSIEVE %(USERID anne FILENAME a.script)',
    ],
    [
      'ACTIVATE_SIEVE',
      'ACTIVATE_SIEVE %(USERID anne FILENAME a.bc)',
      `SIEVE %(FILENAME a.bc LAST_UPDATE 0 GUID ${'0'.repeat(40)} ISACTIVE 1)`,
      'UNACTIVATE_SIEVE %(USERID anne)',
    ],
    [
      'QUOTA',
      'QUOTA %(ROOT user.anne LIMIT 100 STORAGE 100 X-NEW 18446744073709551615 MODSEQ 26)',
      'QUOTA %(ROOT user.anne LIMIT 100 STORAGE 100 X-NEW 18446744073709551615 MODSEQ 26)',
      'UNQUOTA user.anne',
    ],
  ])('%s is answered, its repeat is no change, and it can be undone', (_what, text, answer, undo) => {
    expect(rig.apply(undo)).toMatchObject({ type: 'ok', changed: false });
    expect(rig.apply(text)).toMatchObject({ type: 'ok', changed: true });
    expect(rig.apply(text)).toMatchObject({ type: 'ok', changed: false });
    expect(rig.answer({ what: 'USER' })).toBe(`* ${answer}\r\n`);
    expect(rig.answer({ what: 'META' })).toBe(answer.startsWith('QUOTA') ? '' : `* ${answer}\r\n`);
    expect(rig.apply(undo)).toMatchObject({ type: 'ok', changed: true });
    expect(rig.answer({ what: 'USER' })).toBe('');
    expect(rig.apply(undo)).toMatchObject({ type: 'ok', changed: false });
  });

  test('SEEN is answered, its repeat is no change', () => {
    const state = (uids: string) => `UNIQUEID u1 LASTREAD 11 LASTUID 12 LASTCHANGE 13 SEENUIDS ${uids}`;
    for (const uids of ['1:3', '""', '1:3,7']) {
      expect(rig.apply(`SEEN %(USERID anne ${state(uids)})`)).toMatchObject({ type: 'ok', changed: true });
      expect(rig.apply(`SEEN %(USERID anne ${state(uids)})`)).toMatchObject({ type: 'ok', changed: false });
      expect(rig.answer({ what: 'META' })).toBe(`* SEEN %(${state(uids)})\r\n`);
    }
  });

  test('annotations of the server and of mailboxes are kept by entry and user', () => {
    const fields = (entry: string, user: string, value: string) =>
      `%(MBOXNAME "" ENTRY ${entry} USERID ${user} VALUE ${value})`;
    rig.apply(`ANNOTATION ${fields('/motd', '""', '{4}\r\na\r\nb')}`);
    rig.apply(`ANNOTATION ${fields('/motd', 'anne', 'x')}`);
    rig.apply('ANNOTATION %(MBOXNAME user.anne ENTRY /motd USERID anne VALUE y)');
    expect(rig.answer({ what: 'ANNOTATION', mboxname: '' })).toBe(
      `* ANNOTATION ${fields('/motd', '""', '{4}\r\na\r\nb')}\r\n* ANNOTATION ${fields('/motd', 'anne', 'x')}\r\n`,
    );
    expect(rig.apply(`ANNOTATION ${fields('/motd', 'anne', 'x')}`)).toMatchObject({ changed: false });
    rig.apply('UNANNOTATION %(MBOXNAME "" ENTRY /motd USERID "")');
    expect(rig.answer({ what: 'ANNOTATION', mboxname: '' })).toBe(
      `* ANNOTATION ${fields('/motd', 'anne', 'x')}\r\n`,
    );
    expect(rig.answer({ what: 'ANNOTATION', mboxname: 'user.anne' })).toContain('VALUE y');
  });

  test('a quota of one root is answered by its name', () => {
    rig.apply('QUOTA %(ROOT user.anne STORAGE 1)');
    rig.apply('QUOTA %(ROOT user.anne.big STORAGE 2)');
    expect(rig.answer({ what: 'QUOTA', root: 'user.anne.big' })).toBe(
      '* QUOTA %(ROOT user.anne.big STORAGE 2)\r\n',
    );
    expect(rig.answer({ what: 'QUOTA', root: 'user.bob' })).toBe('');
  });

  test('a quota goes with a user who is renamed, and stays where a mailbox is only deleted', () => {
    rig.apply(mailboxText(INBOX));
    rig.apply('QUOTA %(ROOT user.anne STORAGE 1)');
    const rename = (to: string): string =>
      `RENAME %(OLDMBOXNAME user.anne NEWMBOXNAME ${to} PARTITION default UIDVALIDITY 1)`;
    rig.apply(rename('DELETED.user.anne.5F3A1B2C'));
    expect(rig.answer({ what: 'QUOTA', root: 'user.anne' })).toContain('ROOT user.anne ');
    rig.apply(mailboxText(INBOX));
    rig.apply(rename('user.bea'));
    expect(rig.answer({ what: 'QUOTA', root: 'user.anne' })).toBe('');
    expect(rig.answer({ what: 'QUOTA', root: 'user.bea' })).toContain('ROOT user.bea ');
  });

  test('a Sieve script is found where its newest line lies', () => {
    rig.apply('SIEVE %(USERID anne FILENAME a.script LAST_UPDATE 7 CONTENT "keep;")');
    rig.apply('SUB %(USERID anne MBOXNAME user.anne)');
    const before = rig.index.findSieve('a.script');
    rig.apply('SIEVE %(USERID anne FILENAME a.script LAST_UPDATE 8 CONTENT "stop;")');
    const after = rig.index.findSieve('a.script');
    const offsets = rig.history.map((_line, at) =>
      rig.history
        .slice(0, at)
        .reduce((sum, { time, command, text }) => sum + `${time} ${command} ${text}\r\n`.length, 29),
    );
    expect([before?.lineOffset, after?.lineOffset]).toEqual([offsets[0], offsets[2]]);
    expect(after).toMatchObject({ lastUpdate: 8, chunk: { id: rig.chunkId } });
    expect(rig.index.findSieve('b.script')).toBeUndefined();
  });

  test('UNUSER marks all of it, but not the folders that the mail server keeps as deleted', () => {
    expect(rig.apply('UNUSER anne')).toMatchObject({ type: 'ok', changed: false });
    put([]);
    const deleted = mailboxText({ uniqueid: 'u2', mboxname: 'DELETED.user.anne.5F3A1B2C' });
    rig.apply(deleted);
    rig.apply('SUB %(USERID anne MBOXNAME user.anne)');
    rig.apply('SIEVE %(USERID anne FILENAME a.script LAST_UPDATE 7 CONTENT "keep;")');
    rig.apply('ACTIVATE_SIEVE %(USERID anne FILENAME a.bc)');
    rig.apply('QUOTA %(ROOT user.anne STORAGE 1)');
    expect(rig.apply('UNUSER anne', { time: 1_800_000_000 })).toMatchObject({
      changed: true,
      command: 'NOTE',
    });
    expect(rig.index.unuserAt()).toBe(1_800_000_000);
    expect(rig.lines({ what: 'USER' }).map((line) => asMap(line.value).get('UNIQUEID'))).toEqual(['u2']);
    expect(mailboxByUniqueid(rig.index, 'u1')?.deleted).toBe(1_800_000_000);
    expect(rig.apply('UNUSER anne')).toMatchObject({ changed: false });
    // The mail server goes on to report the deleted folder; only a folder of his own brings the user back.
    rig.apply(deleted.replace('LAST_UID 9', 'LAST_UID 10'));
    expect(rig.index.unuserAt()).toBe(1_800_000_000);
    put([]);
    expect(rig.index.unuserAt()).toBeUndefined();
  });

  test('a user who is deleted is back when a deleted folder is renamed to one of the user', () => {
    rig.apply(mailboxText({ uniqueid: 'u2', mboxname: 'DELETED.user.anne.5F3A1B2C' }));
    rig.apply('UNUSER anne');
    const rename = (from: string, to: string): string =>
      `RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION default UIDVALIDITY 1)`;
    rig.apply(rename('DELETED.user.anne.5F3A1B2C', 'DELETED.user.anne.5F3A1B2D'));
    expect(rig.index.unuserAt()).toBeDefined();
    rig.apply(rename('DELETED.user.anne.5F3A1B2D', 'user.anne'));
    expect(rig.index.unuserAt()).toBeUndefined();
  });
});

describe('lines that are no request of a client', () => {
  test('RESERVE and unknown ones are passed over in history and refused from clients', () => {
    const before = everything(rig.index);
    for (const text of [`RESERVE %(PARTITION default MBOXNAME (a) GUID (${G1}))`, 'FROBNICATE %(A (1))']) {
      expect(rig.replay([{ time: 5, command: 'APPLY', text }])).toEqual([
        { type: 'ok', changed: false, command: 'APPLY' },
      ]);
      expect(rig.apply(text)).toMatchObject({ type: 'reject' });
    }
    expect(everything(rig.index)).toEqual(before);
  });

  test('a RECORD of history that is not complete costs only itself', () => {
    const text = mailboxText({
      ...INBOX,
      records: [
        { uid: 1, guid: G1 },
        { uid: 2, guid: G2 },
      ],
    });
    const damaged = text.replace(`GUID ${G1}`, 'GUID xyz');
    expect(rig.replay([{ time: 5, command: 'APPLY', text: damaged }])).toMatchObject([
      { type: 'ok', changed: true },
    ]);
    expect(records().map(({ uid }) => uid)).toEqual([2]);
  });

  test.each([
    ['SUB %(USERID anne)', 'MBOXNAME'],
    ['SEEN %(USERID anne UNIQUEID u LASTREAD x LASTUID 1 LASTCHANGE 1 SEENUIDS 1)', 'LASTREAD'],
    ['SIEVE %(USERID anne FILENAME f LAST_UPDATE 5)', 'CONTENT'],
    ['SIEVE %(USERID anne FILENAME f CONTENT x)', 'LAST_UPDATE'],
    ['RENAME %(OLDMBOXNAME a)', 'NEWMBOXNAME'],
    ['UNMAILBOX NIL', 'UNMAILBOX'],
    ['QUOTA %(LIMIT 5)', 'ROOT'],
    ['EXPUNGE %(MBOXNAME a UID (1))', 'UNIQUEID'],
    ['EXPUNGE %(MBOXNAME a UNIQUEID u UID (1 x))', 'UID'],
    ['SUB (a b)', 'SUB'],
  ])('%s is refused and the text says why', (text, why) => {
    const outcome = rig.apply(text);
    expect(outcome).toMatchObject({ type: 'reject', code: 'IMAP_PROTOCOL_BAD_PARAMETERS' });
    expect(outcome.type === 'reject' && outcome.text).toContain(why);
  });
});
