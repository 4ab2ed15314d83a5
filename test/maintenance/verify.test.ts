import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type VerifyReport, verifyBackup } from '../../src/maintenance/verify.ts';
import { VerifyPool } from '../../src/maintenance/verify-pool.ts';
import { tryLock, unlock } from '../../src/platform/file-lock.ts';
import { scanMembers } from '../../src/store/chunk/scan.ts';
import type { Finding } from '../../src/store/verify/finding.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup, uncompressed } from './backup-files.ts';
import { history as randomHistory } from './compact-history.ts';

const FIXTURES = path.join(import.meta.dirname, '../fixtures/backup-sample');
const A = 'Subject: a\r\n\r\nfirst\r\n';
const B = 'Subject: b\r\n\r\nsecond\r\n';
const C = 'Subject: c\r\n\r\nthird\r\n';

/** Two chunks: messages and states, then changes of every kind. */
function history(): (string | Uint8Array)[][] {
  return [
    [
      messageLine([A, B]),
      mailboxLine('user.anne', [
        { uid: 1, content: A },
        { uid: 2, content: B, flags: '\\Seen' },
        { uid: 3, content: A },
      ]),
      mailboxLine('user.anne.Old', [{ uid: 1, content: B }], { time: 1_700_000_001 }),
    ],
    [
      messageLine([C], 1_700_000_002),
      mailboxLine('user.anne', [{ uid: 4, content: C }], { time: 1_700_000_003, modseq: 20 }),
      '1700000004 APPLY EXPUNGE %(MBOXNAME user.anne UNIQUEID id-user.anne UID (1 2))\r\n',
      '1700000005 APPLY RENAME %(OLDMBOXNAME user.anne.Old NEWMBOXNAME user.anne.New PARTITION p2 UIDVALIDITY 9)\r\n',
      '1700000006 APPLY RENAME %(OLDMBOXNAME user.anne.New NEWMBOXNAME DELETED.user.anne.Old.5F3A1B2C PARTITION p3 UIDVALIDITY 10)\r\n',
      '1700000007 APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n',
      '1700000007 APPLY SIEVE %(USERID anne FILENAME x LAST_UPDATE 5 CONTENT {7+}\r\nkeep;\r\n)\r\n',
      '1700000007 APPLY RESERVE %(NOTE QUOTA VALUE %(ROOT user.anne STORAGE 1000))\r\n',
      '1700000008 APPLY UNMAILBOX DELETED.user.anne.Old.5F3A1B2C\r\n',
    ],
  ];
}

function codes(report: VerifyReport): string[] {
  return report.findings.map((finding) => finding.code).sort();
}

/** What verify finds after this change of a sound backup. */
async function findingsAfter(change: (backup: SampleBackup) => void, chunks = history()): Promise<Finding[]> {
  using backup = new SampleBackup(chunks);
  change(backup);
  const report = await backup.verify();
  expect(report.ok).toBe(report.faults === 0);
  expect(report.findings).toHaveLength(report.faults + report.notices);
  return report.findings;
}

describe('verifyBackup on sound backups', () => {
  it.each([
    ['carol_fQAmPe', { chunks: 8, messages: 38, contentBytes: 972_983 }],
    ['erik_em7N7U', { chunks: 6, messages: 12, contentBytes: 273_709 }],
  ])('finds nothing in what Cyrus left: %s', async (name, figures) => {
    using backup = SampleBackup.copyOf(path.join(FIXTURES, name));
    const before = fs.readFileSync(backup.indexPath);
    expect(await backup.verify()).toMatchObject({ ok: true, findings: [], ...figures });
    expect(fs.readFileSync(backup.indexPath).equals(before)).toBe(true);
    expect(fs.readdirSync(backup.folder).sort()).toEqual(['anne_x1Y2z3', 'anne_x1Y2z3.index']);
  });

  it('finds nothing in ours: expunged, renamed, deleted, one message under two UIDs, literals', async () => {
    using backup = new SampleBackup(history());
    expect(await backup.verify()).toMatchObject({ ok: true, findings: [], chunks: 2, messages: 3 });
  });

  it('finds nothing where a mail server says another size than the message has, which no index keeps', async () => {
    const line = mailboxLine('user.anne', [{ uid: 1, content: A }]);
    const other = line.replace(` SIZE ${A.length} `, ` SIZE ${A.length + 1} `);
    expect(other).not.toBe(line);
    using backup = new SampleBackup([[messageLine([A]), other]]);
    expect(await backup.verify()).toMatchObject({ ok: true, findings: [], messages: 1 });
  });

  it('finds nothing in an empty one', async () => {
    using backup = new SampleBackup();
    expect(await backup.verify()).toMatchObject({ ok: true, findings: [], chunks: 0 });
  });

  it('takes a RENAME for an explanation only if it leads to where the index says the mailbox is', async () => {
    const findings = await findingsAfter((backup) =>
      backup.sql("UPDATE mailbox SET partition = 'px' WHERE id = 2"),
    );
    expect(findings).toMatchObject([
      {
        code: 'MAILBOX_MISSING',
        chunk: 1,
        mailbox: 'DELETED.user.anne.Old.5F3A1B2C',
        uniqueid: 'id-user.anne.Old',
      },
    ]);
  });

  it('lets a RENAME move only the mailbox that had the name then', async () => {
    const rename = (time: number, from: string, to: string): string =>
      `${time} APPLY RENAME %(OLDMBOXNAME ${from} NEWMBOXNAME ${to} PARTITION p2 UIDVALIDITY 9)\r\n`;
    const again = { time: 1_700_000_003, uniqueid: 'id-second' };
    using backup = new SampleBackup([
      [messageLine([A]), mailboxLine('user.anne.Old', [{ uid: 1, content: A }])],
      [
        rename(1_700_000_001, 'user.anne.Old', 'user.anne.New'),
        '1700000002 APPLY UNMAILBOX user.anne.New\r\n',
      ],
      [mailboxLine('user.anne.New', [{ uid: 1, content: A }], again)],
      [rename(1_700_000_004, 'user.anne.New', 'user.anne.Newer')],
    ]);
    expect(await backup.verify()).toMatchObject({ ok: true, findings: [] });
    backup.sql("UPDATE mailbox SET mboxname = 'user.anne.New' WHERE uniqueid = 'id-second'");
    expect((await backup.verify()).findings).toMatchObject([
      { code: 'MAILBOX_MISSING', uniqueid: 'id-second' },
    ]);
  });

  it('finds no fault in any history', { timeout: 600_000 }, async () => {
    const property = fc.asyncProperty(randomHistory, async ({ chunks }) => {
      using backup = new SampleBackup(chunks);
      const { findings } = await backup.verify();
      expect(findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
    });
    await fc.assert(property, { numRuns: Number(process.env.VERIFY_RUNS ?? '25') });
  });

  it('says of a message that never came that it is missing, and that this is no fault', async () => {
    const lines = [mailboxLine('user.anne', [{ uid: 1, content: A }])];
    expect(await findingsAfter(() => {}, [lines])).toMatchObject([
      { code: 'CONTENT_MISSING', severity: 'notice', mailbox: 'user.anne', uid: 1, guid: guidOf(A) },
    ]);
  });
});

describe('verifyBackup on an index that is wrong', () => {
  it.each<[string, string, Partial<Finding>[]]>([
    [
      'content length',
      'UPDATE chunk SET length = length + 1 WHERE id = 2',
      [{ code: 'CHUNK_LENGTH_WRONG', chunk: 2 }],
    ],
    [
      'content SHA-1',
      "UPDATE chunk SET data_sha1 = 'x' WHERE id = 1",
      [{ code: 'CHUNK_SHA1_WRONG', chunk: 1 }],
    ],
    ['file SHA-1', "UPDATE chunk SET file_sha1 = 'x' WHERE id = 2", [{ code: 'FILE_SHA1_WRONG', chunk: 2 }]],
    [
      'message size',
      'UPDATE message SET size = 3 WHERE id = 1',
      [{ code: 'MESSAGE_PLACE_WRONG', guid: guidOf(A) }],
    ],
    [
      'message place',
      'UPDATE cb_message SET content_offset = 1 WHERE message_id = 1',
      [{ code: 'MESSAGE_PLACE_WRONG', chunk: 1, lineOffset: 29, guid: guidOf(A) }],
    ],
    [
      'message line',
      'UPDATE message SET offset = 30 WHERE id = 1',
      [{ code: 'MESSAGE_MISSING', chunk: 1, lineOffset: 30, guid: guidOf(A) }],
    ],
    [
      'message chunk',
      'UPDATE message SET chunk_id = 2 WHERE id = 1',
      [{ code: 'MESSAGE_MISSING', chunk: 2 }],
    ],
    [
      'unknown chunk',
      'UPDATE message SET chunk_id = 99 WHERE id = 1',
      [{ code: 'MESSAGE_MISSING', chunk: 99 }],
    ],
    [
      'a message without row',
      'DELETE FROM mailbox_message WHERE message_id = 3; DELETE FROM message WHERE id = 3',
      [{ code: 'MESSAGE_NOT_INDEXED', chunk: 2, guid: guidOf(C) }],
    ],
    [
      'mailbox state',
      'UPDATE mailbox SET highestmodseq = 19 WHERE id = 1',
      [{ code: 'MAILBOX_MISSING', chunk: 2, mailbox: 'user.anne', uniqueid: 'id-user.anne' }],
    ],
    ['mailbox CRC', 'UPDATE mailbox SET sync_crc = 1 WHERE id = 1', [{ code: 'MAILBOX_MISSING' }]],
    ['mailbox ACL', "UPDATE mailbox SET acl = 'bob' WHERE id = 1", [{ code: 'MAILBOX_MISSING' }]],
    [
      'mailbox chunk',
      'UPDATE mailbox SET last_chunk_id = 1 WHERE id = 1',
      [{ code: 'MAILBOX_MISSING', chunk: 1 }],
    ],
    [
      'record state',
      'UPDATE mailbox_message SET modseq = 99 WHERE uid = 4',
      [{ code: 'RECORD_MISSING', chunk: 2, mailbox: 'user.anne', uid: 4, guid: guidOf(C) }],
    ],
    [
      'record date',
      'UPDATE mailbox_message SET internaldate = 1 WHERE uid = 4',
      [{ code: 'RECORD_MISSING', uid: 4 }],
    ],
    [
      'record of a second UID',
      'UPDATE cb_record SET last_updated = 1 WHERE uid = 1',
      [{ code: 'RECORD_MISSING', chunk: 1, mailbox: 'user.anne', uid: 1, guid: guidOf(A) }],
    ],
    [
      'own state',
      "UPDATE cb_state SET value = zeroblob(92) WHERE name = 'file_sha1_state'",
      [{ code: 'INDEX_STALE' }],
    ],
    [
      'a chunk that is not there',
      "INSERT INTO chunk(id, ts_start, ts_end, offset, length, file_sha1, data_sha1) VALUES (9, 1, 1, 999999, 5, 'x', 'y')",
      [{ code: 'CHUNK_MISSING', chunk: 9, fileOffset: 999_999 }],
    ],
  ])('%s', async (_, sql, expected) => {
    const findings = await findingsAfter((backup) => backup.sql(sql));
    expect(findings).toHaveLength(expected.length);
    expect(findings).toMatchObject(expected);
  });

  it('reports a chunk that the index leaves out, with all that hangs on it', async () => {
    const findings = await findingsAfter((backup) => backup.sql('DELETE FROM chunk WHERE id = 1'));
    const found = findings.map(({ code }) => code);
    expect(found.slice(0, 1)).toEqual(['DATA_NOT_INDEXED']);
    expect(found.filter((code) => code === 'MESSAGE_MISSING')).toHaveLength(2);
  });

  it('does not need an index to check the data', async () => {
    const findings = await findingsAfter((backup) => {
      const bytes = backup.bytes();
      bytes[bytes.length - 3]! ^= 1;
      backup.write(bytes);
      fs.rmSync(backup.indexPath);
    });
    expect(findings.map(({ code }) => code)).toEqual(['INDEX_STALE', 'CHUNK_CORRUPT']);
    expect(findings[0]!.text).toContain('the index cannot be read');
  });

  it('takes an index that was being changed for what a crash leaves, and still checks the data', async () => {
    using backup = new SampleBackup(history());
    using crashed = SampleBackup.copyOf(backup.dataPath);
    const db = new Database(backup.indexPath);
    db.pragma('cache_size = 1');
    db.exec(`BEGIN; CREATE TABLE filler(text); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
      INSERT INTO filler SELECT hex(zeroblob(400)) FROM n; UPDATE message SET size = 0`);
    for (const suffix of ['', '-journal'])
      fs.copyFileSync(backup.indexPath + suffix, crashed.indexPath + suffix);
    db.exec('ROLLBACK');
    db.close();
    expect(await crashed.verify()).toMatchObject({
      ok: true,
      notices: 1,
      codes: { RECOVERY_PENDING: 1 },
      chunks: 2,
      messages: 3,
    });
    crashed.write(crashed.bytes().subarray(0, -40));
    expect((await crashed.verify()).codes).toEqual({ RECOVERY_PENDING: 1 });
    crashed.write(Buffer.concat([backup.bytes(), Buffer.alloc(99, 1)]));
    expect((await crashed.verify()).codes).toEqual({ RECOVERY_PENDING: 1, CHUNK_CORRUPT: 1 });
  });

  it('takes an index that is no database for one that cannot be read', async () => {
    const findings = await findingsAfter((backup) =>
      fs.writeFileSync(backup.indexPath, 'no database '.repeat(500)),
    );
    expect(findings).toMatchObject([{ code: 'INDEX_STALE' }]);
  });
});

describe('verifyBackup on damaged data', () => {
  it('names the message whose bytes are not its GUID', async () => {
    const line = messageLine([A, B]);
    line.write('X', line.indexOf('first'));
    const findings = await findingsAfter(() => {}, [[line, messageLine([C])]]);
    expect(findings).toMatchObject([{ code: 'MESSAGE_DAMAGED', chunk: 1, lineOffset: 29, guid: guidOf(A) }]);
  });

  it('reports every flipped bit that matters, and never throws', async () => {
    using backup = new SampleBackup([[messageLine([A]), mailboxLine('user.anne', [{ uid: 1, content: A }])]]);
    const whole = backup.bytes();
    const content = zlib.gunzipSync(whole);
    for (let at = 0; at < whole.length; at += 5) {
      const bytes = Buffer.from(whole);
      bytes[at]! ^= 1 << (at % 8);
      backup.write(bytes);
      const report = await backup.verify();
      let same = false;
      try {
        same = zlib.gunzipSync(bytes).equals(content);
      } catch {}
      // What changes no content changes the file's own SHA-1, which our state holds.
      expect(report.ok).toBe(false);
      if (same) expect(codes(report)).toEqual(['INDEX_STALE']);
    }
  });

  it('takes a torn trailer for what a crash leaves', async () => {
    for (let cut = 1; cut <= 10; cut++) {
      const findings = await findingsAfter((backup) => backup.write(backup.bytes().subarray(0, -cut)));
      expect(findings).toMatchObject([{ code: 'RECOVERY_PENDING', severity: 'notice', chunk: 2 }]);
    }
    const more = await findingsAfter((backup) => backup.write(backup.bytes().subarray(0, -11)));
    expect(more[0]).toMatchObject({ code: 'CHUNK_UNFINISHED', severity: 'fault', chunk: 2 });
  });

  it('takes what lies behind the indexed end for what a crash leaves, but not damage there', async () => {
    for (const finish of [true, false]) {
      const findings = await findingsAfter((backup) => backup.append([messageLine(['x', 'y'])], finish));
      expect(findings).toMatchObject([{ code: 'RECOVERY_PENDING', severity: 'notice' }]);
    }
    const line = messageLine(['x', 'y']);
    line.write('z', line.indexOf('\r\nx') + 2);
    const wrong = await findingsAfter((backup) => backup.append([line], false));
    expect(wrong.map(({ code }) => code)).toEqual(['RECOVERY_PENDING', 'MESSAGE_DAMAGED']);
    const garbage = await findingsAfter((backup) =>
      backup.write(Buffer.concat([backup.bytes(), Buffer.alloc(9)])),
    );
    expect(garbage).toMatchObject([{ code: 'DATA_NOT_INDEXED', severity: 'fault' }]);
  });

  it('reports what lies between chunks, as a killed backupd leaves it', async () => {
    using backup = new SampleBackup(history());
    const second = [...chunkOffsets(backup)][1]!;
    const bytes = backup.bytes();
    const torn = bytes.subarray(0, 150);
    backup.write(Buffer.concat([bytes.subarray(0, second), torn, bytes.subarray(second)]));
    backup.sql(`UPDATE chunk SET offset = offset + ${torn.length} WHERE id = 2`);
    const report = await backup.verify();
    expect(report.findings).toContainEqual(
      expect.objectContaining({ code: 'DATA_NOT_INDEXED', fileOffset: second, severity: 'fault' }),
    );
    expect(codes(report)).not.toContain('MESSAGE_MISSING');
  });

  it('loses no more of a damaged chunk than the piece that was hit', async () => {
    const contents = Array.from({ length: 12 }, () => randomBytes(150_000));
    const lines = contents.map((content) => messageLine([content]));
    using backup = new SampleBackup([
      [
        ...lines,
        mailboxLine(
          'user.anne',
          contents.map((content, i) => ({ uid: i + 1, content })),
        ),
      ],
    ]);
    const bytes = backup.bytes();
    const inFifth = bytes.indexOf(contents[4]!.subarray(70_000, 70_030));
    expect(inFifth).toBeGreaterThan(0);
    // Not the bytes themselves, which only the GUID would show, but the stream.
    const block = bytes.subarray(inFifth - 40_000, inFifth + 60_000);
    block.fill(0xff);
    backup.write(bytes);
    const { findings } = await backup.verify();
    const lost = findings.filter(({ code }) => code === 'MESSAGE_MISSING').map(({ guid }) => guid);
    expect(findings.filter(({ code }) => code === 'CHUNK_CORRUPT')).toHaveLength(1);
    expect(lost).toContain(guidOf(contents[4]!));
    expect(lost.length).toBeLessThanOrEqual(4);
    expect(findings.filter(({ code }) => code === 'RECORD_MISSING' || code === 'MAILBOX_MISSING')).toEqual(
      [],
    );
  });

  it('finds its place again behind damage that changes the length of the content only', async () => {
    const contents = Array.from({ length: 8 }, (_, i) => letters(150_000, i + 1));
    using backup = new SampleBackup([contents.map((content) => messageLine([content]))]);
    const whole = backup.bytes();
    const length = inflatedLength(whole);
    // A changed literal or length code, behind which the stream goes on without an error.
    let bytes = whole;
    for (let at = 60_000; inflatedLength(bytes) === length || inflatedLength(bytes) === undefined; at++) {
      bytes = Buffer.from(whole);
      bytes[at]! ^= 0x10;
    }
    backup.write(bytes);
    const { findings } = await backup.verify();
    expect(findings.filter(({ code }) => code === 'CHUNK_CORRUPT')).toHaveLength(1);
    expect(findings.some(({ code }) => code === 'SEGMENT_START_WRONG')).toBe(false);
    const lost = findings.filter(({ code }) => code === 'MESSAGE_MISSING');
    expect(lost.length).toBeGreaterThan(0);
    expect(lost.length).toBeLessThanOrEqual(4);
  });

  it('goes on at a segment that a damaged stream has passed', async () => {
    const contents = Array.from({ length: 3 }, () => randomBytes(300_000));
    using backup = uncompressed(contents.map((content) => messageLine([content])));
    const bytes = backup.bytes();
    // The last stored block of the first message calls itself longer, and swallows the beginning of the second.
    const next = bytes.indexOf(messageLine([contents[1]!]).subarray(0, 100));
    const end = bytes.lastIndexOf(Buffer.from(contents[0]!.subarray(-100)), next) + 100 + ')\r\n'.length;
    let header = bytes.indexOf('1700000000') - 5;
    while (header + 5 + bytes.readUInt16LE(header + 1) < end) header += 5 + bytes.readUInt16LE(header + 1);
    bytes.writeUInt16LE(0xffff, header + 1);
    bytes.writeUInt16LE(0, header + 3);
    backup.write(bytes);
    const { findings } = await backup.verify();
    expect(header + 5 + 0xffff).toBeGreaterThan(next);
    expect(findings.map(({ code }) => code)).toContain('CHUNK_CORRUPT');
    expect(findings.map(({ code }) => code)).not.toContain('MESSAGE_MISSING');
    expect(findings.map(({ code }) => code)).not.toContain('SEGMENT_START_WRONG');
  });

  it('tells a wrong segment start from damage', async () => {
    const contents = Array.from({ length: 6 }, () => randomBytes(150_000));
    using backup = new SampleBackup([contents.map((content) => messageLine([content]))]);
    backup.sql(
      'UPDATE cb_segment SET file_offset = file_offset + 1 WHERE content_offset = (SELECT max(content_offset) FROM cb_segment)',
    );
    const report = await backup.verify();
    expect(report.findings).toMatchObject([{ code: 'SEGMENT_START_WRONG', chunk: 1 }]);
    expect(report.messages).toBe(6);
  });

  it('reports times that go back, in a chunk and from chunk to chunk', async () => {
    const sub = (time: number) => `${time} APPLY SUB %(USERID anne MBOXNAME m${time})\r\n`;
    const findings = await findingsAfter(() => {}, [
      [sub(20), sub(19), sub(20)],
      [sub(18), sub(30)],
      [sub(30)],
    ]);
    expect(findings).toMatchObject([
      { code: 'TIME_BACKWARDS', severity: 'notice', chunk: 1, lineOffset: 29 + sub(20).length },
      { code: 'TIME_BACKWARDS', severity: 'notice', chunk: 2 },
    ]);
  });

  it('reports a malformed line and goes on', async () => {
    const findings = await findingsAfter(() => {}, [['1700000000 APPLY SUB ((\r\n', messageLine([A])]]);
    expect(findings).toMatchObject([{ code: 'LINE_MALFORMED', chunk: 1, lineOffset: 29 }]);
  });
});

describe('verifyBackup', () => {
  it('does not read what somebody else has locked, unless it is to wait', async () => {
    using backup = new SampleBackup(history());
    const fd = fs.openSync(backup.dataPath, 'r+');
    expect(tryLock(fd, 'exclusive')).toBe(true);
    await expect(backup.verify()).rejects.toMatchObject({ code: 'LOCKED', exitStatus: 75 });
    const waiting = verifyBackup({ dataPath: backup.dataPath, wait: true });
    unlock(fd);
    expect((await waiting).ok).toBe(true);
    fs.closeSync(fd);
  });

  it('throws for a file that is not there', async () => {
    await expect(verifyBackup({ dataPath: '/nonexistent/anne' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  it('says the same with threads as without, and reports progress up to the end', async () => {
    const chunk = (): Uint8Array[] => Array.from({ length: 6 }, () => messageLine([randomBytes(90_000)]));
    using backup = new SampleBackup([chunk(), chunk(), chunk(), chunk()]);
    backup.sql(
      'UPDATE message SET offset = offset + 1 WHERE id IN (3, 17)',
      'DELETE FROM message WHERE id = 9',
    );
    const bytes = backup.bytes();
    bytes.fill(0xff, 1_200_000, 1_280_000);
    backup.write(bytes);
    const alone = await backup.verify();
    const pool = new VerifyPool({ minBytes: 1 << 20 });
    let progress = 0;
    const streamed: Finding[] = [];
    try {
      const threaded = await verifyBackup({
        dataPath: backup.dataPath,
        pool,
        onProgress: (more) => (progress += more),
        onFinding: (finding) => streamed.push(finding),
      });
      expect({ ...threaded, findings: sorted(threaded.findings) }).toEqual({
        ...alone,
        findings: sorted(alone.findings),
      });
      expect(streamed).toEqual(threaded.findings);
    } finally {
      await pool.stop();
    }
    expect(progress).toBe(bytes.length);
    expect(alone.codes).toMatchObject({ MESSAGE_NOT_INDEXED: 1, CHUNK_CORRUPT: 1 });
  });
});

/** Text of few letters, each with a code of its own and hardly any matches. */
function letters(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0, state = seed; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = 97 + ((state >>> 16) % 23);
  }
  return bytes;
}

/** Length of a member's content, or undefined if its stream is damaged. */
function inflatedLength(member: Buffer): number | undefined {
  try {
    return zlib.inflateRawSync(member.subarray(24)).length;
  } catch {
    return undefined;
  }
}

function sorted(findings: readonly Finding[]): string[] {
  return findings.map((finding) => JSON.stringify(finding)).sort();
}

function* chunkOffsets(backup: SampleBackup): Generator<number> {
  const fd = fs.openSync(backup.dataPath, 'r');
  for (const member of scanMembers(fd)) yield member.offset;
  fs.closeSync(fd);
}
