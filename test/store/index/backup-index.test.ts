import { copyFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { mailboxByName, mailboxes, mailboxMessages, messages } from '../../../src/store/index/queries.ts';
import { asMap } from '../../support/dlist-text.ts';
import { everything, guidOf, IndexRig, sizeOf } from './index-rig.ts';
import { mailboxText } from './mailbox-text.ts';

const SAMPLE = path.join(import.meta.dirname, '../../fixtures/backup-sample');

let rig: IndexRig;
beforeEach(() => {
  rig = new IndexRig();
});
afterEach(() => rig.remove());

/** Indexes of Cyrus that another one of a fresh index stands for. */
const LEFT_OUT = ['idx_msg_guid', 'idx_bmb_uid', 'idx_mbr_uid', 'idx_sub_mbx', 'idx_seen_unq'];

function schemaOf(file: string): Map<string, string> {
  const db = new Database(file, { readonly: true });
  const sql = "SELECT name, sql FROM sqlite_master WHERE name NOT GLOB 'cb_*' AND name NOT GLOB 'sqlite_*'";
  const rows = db.prepare(sql).all() as { name: string; sql: string }[];
  db.close();
  // Names and types of columns and constraints, however they are set.
  return new Map(
    rows.map(({ name, sql }) => [
      name,
      sql
        .replaceAll(/\s+/g, ' ')
        .replaceAll(/ ?([(),]) ?/g, '$1')
        .toLowerCase(),
    ]),
  );
}

/** A copy of an index that Cyrus wrote. */
function cyrusIndex(name: string): string {
  const file = path.join(rig.folder, name);
  copyFileSync(path.join(SAMPLE, name), file);
  return file;
}

describe('a fresh index', () => {
  test('has the schema that Cyrus makes', () => {
    rig.reopen();
    const cyrus = schemaOf(path.join(SAMPLE, 'carol_fQAmPe.index'));
    for (const name of LEFT_OUT) expect(cyrus.delete(name)).toBe(true);
    expect(schemaOf(rig.path)).toEqual(cyrus);
  });

  test.each([
    'SELECT * FROM message WHERE guid = ?',
    'SELECT * FROM mailbox WHERE uniqueid = ?',
    'UPDATE mailbox_message SET expunged = 1 WHERE mailbox_id = ? AND uid = ?',
    'UPDATE mailbox_message SET uid = 1 WHERE mailbox_id = ? AND message_id = ?',
    'UPDATE subscription SET unsubscribed = 1 WHERE mboxname = ?',
    'UPDATE seen SET lastuid = 1 WHERE uniqueid = ?',
    'UPDATE sieve SET deleted = 1 WHERE filename = ? AND deleted IS NULL',
  ])('has an index for what Cyrus asks: %s', (sql) => {
    rig.reopen();
    const db = new Database(rig.path, { readonly: true });
    const values = Array<null>(sql.split('?').length - 1).fill(null);
    const [plan] = db.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...values) as { detail: string }[];
    db.close();
    expect(plan!.detail).toMatch(/^SEARCH \w+ USING INDEX /);
  });

  test('is of version 3, small, and for its owner only', () => {
    rig.index.rollback();
    const db = new Database(rig.path, { readonly: true });
    expect(db.pragma('user_version', { simple: true })).toBe(3);
    expect(db.pragma('journal_mode', { simple: true })).toBe('delete');
    db.close();
    rig.startChunk();
    const { size, mode } = statSync(rig.path);
    expect(size).toBeLessThan(40 * 1024);
    expect(mode & 0o777).toBe(0o600);
  });

  test('is not made without being asked for', () => {
    const missing = path.join(rig.folder, 'none.index');
    expect(() => BackupIndex.open(missing)).toThrow(expect.objectContaining({ code: 'INDEX_STALE' }));
    writeFileSync(missing, '');
    expect(() => BackupIndex.open(missing)).toThrow(expect.objectContaining({ code: 'INDEX_STALE' }));
    BackupIndex.open(missing, { create: true }).close();
    BackupIndex.open(missing).close();
  });

  test('that is no database, or of an unknown version, is stale', () => {
    const file = path.join(rig.folder, 'bad.index');
    writeFileSync(file, 'x'.repeat(5000));
    expect(() => BackupIndex.open(file)).toThrow(
      expect.objectContaining({ code: 'INDEX_STALE', subject: file }),
    );
    const db = new Database(cyrusIndex('erik_em7N7U.index'));
    db.pragma('user_version = 5');
    db.close();
    expect(() => BackupIndex.open(path.join(rig.folder, 'erik_em7N7U.index'))).toThrow(
      expect.objectContaining({ code: 'INDEX_STALE' }),
    );
  });
});

describe('an index that Cyrus wrote', () => {
  test.each(['carol_fQAmPe.index', 'erik_em7N7U.index'])('%s opens and answers, read-only or not', (name) => {
    const file = cyrusIndex(name);
    const before = schemaOf(file);
    const readonly = BackupIndex.open(file, { readonly: true });
    expect(readonly.state()).toBeUndefined();
    const all = JSON.stringify(everything(readonly), (_k, v) => (typeof v === 'bigint' ? String(v) : v));
    readonly.close();
    const index = BackupIndex.open(file);
    expect(JSON.stringify(everything(index), (_k, v) => (typeof v === 'bigint' ? String(v) : v))).toBe(all);
    expect(index.state()).toBeUndefined();
    index.close();
    expect(schemaOf(file)).toEqual(before);
    const user = name.startsWith('carol') ? 'carol' : 'erik';
    const again = BackupIndex.open(file);
    const inbox = mailboxByName(again, `user.${user}`)!;
    expect([...mailboxMessages(again, inbox.id)].length).toBeGreaterThanOrEqual(9);
    expect([...mailboxes(again)]).toHaveLength(6);
    const [first] = messages(again);
    expect(again.findMessage(first!.guid)).toMatchObject({
      guid: first!.guid,
      lineOffset: 29,
      contentOffset: undefined,
      chunk: { id: 1, offset: 0 },
    });
    again.close();
  });

  test('goes on being written by us', () => {
    const file = cyrusIndex('carol_fQAmPe.index');
    const index = BackupIndex.open(file);
    index.begin();
    const chunkId = index.startChunk({ offset: 999_999, tsStart: 5, fileSha1: 'x' });
    index.addMessage({
      guid: guidOf(1),
      partition: 'default',
      chunkId,
      lineOffset: 29,
      contentOffset: 90,
      size: 5,
    });
    index.endChunk(chunkId, { tsEnd: 6, length: 700, dataSha1: 'y' });
    index.commit();
    expect(index.chunks().at(-1)).toEqual({
      id: chunkId,
      tsStart: 5,
      tsEnd: 6,
      offset: 999_999,
      length: 700,
      fileSha1: 'x',
      dataSha1: 'y',
    });
    expect(index.findMessage(guidOf(1))).toMatchObject({ contentOffset: 90, size: 5 });
    index.close();
  });

  test.each([1, 2])('of version %i is upgraded as Cyrus does it', (version) => {
    const file = cyrusIndex('erik_em7N7U.index');
    const db = new Database(file);
    db.exec('DROP TABLE sieve; DROP TABLE seen;');
    if (version === 1) db.exec('DROP TABLE subscription');
    db.pragma(`user_version = ${version}`);
    db.close();

    const readonly = BackupIndex.open(file, { readonly: true });
    expect(everything(readonly)).toMatchObject({ seen: [], sieve: [] });
    readonly.close();
    const index = BackupIndex.open(file);
    expect(everything(index)).toMatchObject({ seen: [], sieve: [] });
    index.close();
    const after = new Database(file, { readonly: true });
    expect(after.pragma('user_version', { simple: true })).toBe(4);
    after.close();
    const upgraded = schemaOf(path.join(SAMPLE, 'erik_em7N7U.index'));
    upgraded.delete('idx_seen_unq');
    if (version === 1) upgraded.delete('idx_sub_mbx');
    expect(schemaOf(file)).toEqual(upgraded);
    BackupIndex.open(file).close();
  });

  test('of version 4 stays so', () => {
    const file = cyrusIndex('erik_em7N7U.index');
    const db = new Database(file);
    db.pragma('user_version = 4');
    db.close();
    BackupIndex.open(file).close();
    const after = new Database(file, { readonly: true });
    expect(after.pragma('user_version', { simple: true })).toBe(4);
    after.close();
  });

  test('with tables of ours in another form gets them anew', () => {
    const db = new Database(rig.path, { timeout: 0 });
    rig.index.rollback();
    db.exec("UPDATE cb_state SET value = 99 WHERE name = 'version'; INSERT INTO cb_quota VALUES ('r', 'f')");
    db.close();
    rig.index.close();
    rig.index = BackupIndex.open(rig.path);
    expect(rig.index.statement('SELECT * FROM cb_quota').all()).toEqual([]);
    expect(rig.index.state()).toBeUndefined();
  });
});

describe('state', () => {
  const state = {
    committedEnd: 2 ** 40,
    trailer: Buffer.from('0300aabbccdd11223344', 'hex'),
    fileSha1State: Buffer.alloc(104, 7),
    lastTime: 1_700_000_000,
  };

  test('is what was set', () => {
    expect(rig.index.state()).toBeUndefined();
    rig.index.setState(state);
    rig.reopen();
    expect(rig.index.state()).toEqual(state);
    rig.reopen({ readonly: true });
    expect(rig.index.state()).toEqual(state);
  });

  test('goes with the transaction', () => {
    rig.index.setState(state);
    rig.index.commit();
    rig.index.begin();
    rig.index.setState({ ...state, committedEnd: 5 });
    expect(rig.index.inTransaction).toBe(true);
    rig.index.rollback();
    expect(rig.index.inTransaction).toBe(false);
    expect(rig.index.state()).toEqual(state);
  });

  test('savepoints nest, and one that was rolled back is gone', () => {
    rig.index.savepoint('outer');
    rig.index.setState(state);
    rig.index.savepoint('inner');
    rig.index.setState({ ...state, lastTime: 5 });
    rig.index.rollbackTo('inner');
    expect(rig.index.state()).toEqual(state);
    expect(() => rig.index.release('inner')).toThrow('no such savepoint');
    rig.index.rollbackTo('outer');
    expect(rig.index.state()).toBeUndefined();
    expect(rig.index.inTransaction).toBe(true);
  });
});

test('segment starts are found by what lies before an offset', () => {
  for (const at of [0, 1000, 5000]) rig.index.addSegmentStart(rig.chunkId, at, at * 2 + 24);
  rig.index.addSegmentStart(rig.chunkId + 1, 0, 9);
  const found = (at: number) => rig.index.segmentBefore(rig.chunkId, at)?.contentOffset;
  expect([0, 999, 1000, 4999, 2 ** 40].map(found)).toEqual([0, 0, 1000, 1000, 5000]);
  expect(rig.index.segmentBefore(rig.chunkId, 5000)).toEqual({ contentOffset: 5000, fileOffset: 10_024 });
  expect(rig.index.segmentBefore(rig.chunkId + 2, 5000)).toBeUndefined();
});

test('a message that is stored again is read from its newer place', () => {
  const place = {
    guid: guidOf(1),
    partition: 'default',
    chunkId: rig.chunkId,
    lineOffset: 29,
    contentOffset: 90,
    size: 5,
  };
  const id = rig.index.addMessage(place);
  expect(rig.index.addMessage({ ...place, lineOffset: 500, contentOffset: 2 ** 33 })).toBe(id);
  expect(rig.index.findMessage(guidOf(1))).toMatchObject({ id, lineOffset: 500, contentOffset: 2 ** 33 });
  expect(rig.index.missing([guidOf(2), guidOf(1), guidOf(3)])).toEqual([guidOf(2), guidOf(3)]);
  expect(rig.index.findMessage(guidOf(2))).toBeUndefined();
});

test('of a mailbox of nobody no FOLDERMODSEQ is said: a client that takes it over dies', () => {
  const names = ['user.anne.Sent', 'shared', 'shared.user', 'DELETED.user.anne.Old.6B08246A'];
  for (const [i, mboxname] of names.entries()) {
    const text = mailboxText({ uniqueid: `u${i}`, mboxname });
    rig.apply(text.replace(' SYNC_CRC ', ' CREATEDMODSEQ 3 FOLDERMODSEQ 7 JMAPID x SYNC_CRC '));
  }
  const said = rig
    .lines({ what: 'MAILBOXES', mboxnames: names })
    .map(({ value }) => ['CREATEDMODSEQ', 'FOLDERMODSEQ', 'JMAPID'].map((key) => asMap(value).get(key)));
  const [all, less] = [
    ['3', '7', 'x'],
    ['3', undefined, 'x'],
  ];
  expect(said).toEqual([all, less, less, all]);
  // It is kept all the same.
  expect(mailboxByName(rig.index, 'shared')!.fields).toContain('FOLDERMODSEQ 7');
});

test('long lists are read page by page, and the index may change meanwhile', () => {
  const count = 1203;
  const list = Array.from({ length: count }, (_, at) => ({ uid: at + 1, guid: guidOf(at + 1) }));
  // Every 50th message stands under another UID too, so both tables have rows all over.
  const twice = list.filter(({ uid }) => uid % 50 === 0).map(({ uid, guid }) => ({ uid: uid + 5000, guid }));
  rig.message(...list.map(({ guid }) => guid));
  rig.apply(mailboxText({ uniqueid: 'u1', mboxname: 'user.anne', records: [...list, ...twice] }));
  const { id } = mailboxByName(rig.index, 'user.anne')!;
  const uids: number[] = [];
  for (const record of mailboxMessages(rig.index, id)) {
    uids.push(record.uid);
    if (record.uid === 700) rig.apply('SUB %(USERID anne MBOXNAME user.anne)');
  }
  expect(uids).toEqual([...list, ...twice].map(({ uid }) => uid));
  expect([...messages(rig.index)].map(({ guid }) => guid)).toEqual(list.map(({ guid }) => guid));
  expect([...messages(rig.index, rig.chunkId)]).toHaveLength(count);
  expect([...messages(rig.index, rig.chunkId + 1)]).toHaveLength(0);
  expect([...messages(rig.index)].every(({ guid, size }) => size === sizeOf(guid))).toBe(true);

  const [full] = rig.lines({ what: 'FULLMAILBOX', mboxname: 'user.anne' });
  expect(asMap(full!.value).get('RECORD')).toHaveLength(count + twice.length);

  for (let at = 0; at < 600; at++)
    rig.apply(mailboxText({ uniqueid: `m${at}`, mboxname: `user.anne.${at}` }));
  expect(rig.lines({ what: 'USER' }).filter((line) => line.name === 'MAILBOX')).toHaveLength(601);
});
