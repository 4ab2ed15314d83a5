import fs from 'node:fs';
import { describe, expect, it } from 'vitest';
import { noteVerified } from '../../src/maintenance/heal.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import type { VerifyReport } from '../../src/maintenance/verify.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { mailboxesUnderHeal } from '../../src/store/index/damage.ts';
import { readMessage } from '../../src/store/stored-message.ts';
import { stateText } from '../store/state-text.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup, uncompressed } from './backup-files.ts';

const engine = loadDeflateEngine('auto');
const A = 'Subject: a\r\n\r\nfirst\r\n';
const B = 'Subject: b\r\n\r\nsecond\r\n';
const C = 'Subject: c\r\n\r\nthird\r\n';

/** Hexadecimal digits. */
function noise(seed: number, length: number): string {
  let text = '';
  for (let i = 0; text.length < length; i++) text += guidOf(`${seed} ${i}`);
  return text.slice(0, length);
}

/** Three chunks, of which the first holds messages of two mailboxes, and a state that nobody says again. */
function sample(): SampleBackup {
  const old = 'user.anne.Old';
  return new SampleBackup([
    [
      messageLine([A, B]),
      mailboxLine('user.anne', [{ uid: 1, content: A }]),
      mailboxLine(old, [
        { uid: 1, content: B },
        { uid: 2, content: A, flags: '\\Expunged' },
      ]),
    ],
    [
      messageLine([C], 1_700_000_001),
      mailboxLine('user.anne.Sent', [{ uid: 1, content: C }], { time: 1_700_000_001 }),
    ],
    ['1700000002 APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n'],
  ]);
}

const note = (report: VerifyReport) => noteVerified(report, { engine });
const faults = (report: VerifyReport) => report.findings.filter(({ severity }) => severity === 'fault');
const codesOf = (findings: readonly { code: string }[]) => findings.map(({ code }) => code).sort();

function withIndex<T>(backup: SampleBackup, use: (index: BackupIndex) => T): T {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  try {
    return use(index);
  } finally {
    index.close();
  }
}

function chunkOffsets(backup: SampleBackup): number[] {
  return withIndex(backup, (index) => index.chunks().map(({ offset }) => offset));
}

function edit(backup: SampleBackup, change: (bytes: Buffer) => void): void {
  const bytes = backup.bytes();
  change(bytes);
  backup.write(bytes);
}

describe('what verify finds lost is noted', () => {
  it('asks for the mailboxes of a lost chunk, and is then explained by what was noted', async () => {
    using backup = sample();
    const [, second] = chunkOffsets(backup) as [number, number, number];
    edit(backup, (bytes) => bytes.fill(0, 0, second));
    const report = await backup.verify();
    expect(report.losses).toEqual({
      chunkOffsets: [0],
      guids: [guidOf(A), guidOf(B)],
      uniqueids: ['id-user.anne', 'id-user.anne.Old'],
      copies: [],
    });
    expect(await note(report)).toEqual({
      guids: [guidOf(A), guidOf(B)],
      uniqueids: ['id-user.anne', 'id-user.anne.Old'],
      chunks: 1,
      storedAgain: 0,
      isMadeAnew: false,
      pendingMailboxes: 2,
    });
    withIndex(backup, (index) => {
      expect(index.missing([guidOf(A), guidOf(B), guidOf(C)])).toEqual([guidOf(A), guidOf(B)]);
      expect([...mailboxesUnderHeal(index).keys()]).toEqual(['id-user.anne', 'id-user.anne.Old']);
    });
    const after = await backup.verify();
    expect(faults(after)).toEqual([]);
    expect(after.findings).toContainEqual(
      expect.objectContaining({ code: 'HEAL_PENDING', mailbox: 'user.anne', uniqueid: 'id-user.anne' }),
    );
    // Nothing new: nothing is written.
    const size = backup.bytes().length;
    expect(await note(after)).toBeUndefined();
    expect(backup.bytes().length).toBe(size);
  });

  it('gives up no more than cannot be read: one message, and the mailbox that names it', async () => {
    const line = messageLine([A, B]);
    line.write('X', line.indexOf('first'));
    using backup = new SampleBackup([
      [
        line,
        mailboxLine('user.anne', [{ uid: 1, content: A }]),
        mailboxLine('user.anne.Old', [{ uid: 1, content: B }]),
      ],
    ]);
    const report = await backup.verify();
    expect(codesOf(report.findings)).toEqual(['MESSAGE_DAMAGED']);
    expect(await note(report)).toMatchObject({ guids: [guidOf(A)], uniqueids: ['id-user.anne'] });
    const after = await backup.verify();
    expect(codesOf(after.findings)).toEqual(['CONTENT_MISSING', 'HEAL_PENDING', 'MESSAGE_DAMAGED']);
    expect(faults(after)).toEqual([]);
  });

  it.each([
    ['the GUID', guidOf(B).slice(4), 'f', 1],
    ['the length', `${guidOf(B)} 2`, `${guidOf(B)} 7`, 2],
    ['what ends the header', `${B.length}}\r\nSubject: b`, '2x', 2],
    ['the word MESSAGE', 'MESSAGE', 'MESSBGE', 3],
    ['the beginning of the line', '1700000000 APPLY MESSAGE', 'x', 3],
  ])('stores again what can be read, and no line brings since %s is damaged', async (_, text, by, count) => {
    const contents = [A, B, C];
    const records = contents.map((content, i) => ({ uid: i + 1, content }));
    using backup = uncompressed([messageLine(contents), mailboxLine('user.anne', records)]);
    edit(backup, (bytes) => bytes.write(by, bytes.indexOf(text)));
    expect(await note(await backup.verify())).toMatchObject({ guids: [], storedAgain: count });
    const expectAll = async (): Promise<void> => {
      const after = await backup.verify();
      expect(faults(after)).toEqual([]);
      expect(codesOf(after.findings)).not.toContain('HEAL_PENDING');
      const fd = fs.openSync(backup.dataPath, 'r');
      withIndex(backup, (index) => {
        for (const content of contents) {
          const at = index.findMessage(guidOf(content))!;
          expect(Buffer.concat([...readMessage(fd, index, at)]).toString('latin1')).toBe(content);
        }
      });
      fs.closeSync(fd);
    };
    await expectAll();
    const size = backup.bytes().length;
    expect(await note(await backup.verify())).toBeUndefined();
    expect(backup.bytes().length).toBe(size);
    fs.rmSync(backup.indexPath);
    await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
    await expectAll();
  });

  it('stores again what lies behind damage in the same line', async () => {
    const contents = [1, 2, 3].map((seed) =>
      Buffer.from(`Subject: ${seed}\r\n\r\n${noise(seed, 600_000)}\r\n`),
    );
    const records = contents.map((content, i) => ({ uid: i + 1, content }));
    using backup = new SampleBackup([[messageLine(contents), mailboxLine('user.anne', records)]]);
    edit(backup, (bytes) => bytes.fill(0, 60_000, 60_100));
    const [first, second, third] = contents.map((content) => guidOf(content)) as [string, string, string];
    const noted = await note(await backup.verify());
    expect(noted).toMatchObject({ guids: [first], uniqueids: ['id-user.anne'], storedAgain: 2 });
    expect(faults(await backup.verify())).toEqual([]);
    fs.rmSync(backup.indexPath);
    await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
    withIndex(backup, (index) => expect(index.missing([first, second, third])).toEqual([first]));
    expect(faults(await backup.verify())).toEqual([]);
  });

  it('is found again by an index that is made anew from the data file', async () => {
    using backup = sample();
    const [, second] = chunkOffsets(backup) as [number, number, number];
    edit(backup, (bytes) => {
      bytes[second - 60]! ^= 0x40;
    });
    await note(await backup.verify());
    const marks = (text: string) => text.split('\n').filter((row) => /^(heal|message) /.test(row));
    const noted = marks(stateText(backup.indexPath));
    fs.rmSync(backup.indexPath);
    const rebuilt = await backup.verify();
    expect(rebuilt.isIndexLost).toBe(true);
    await note(rebuilt);
    expect(marks(stateText(backup.indexPath))).toEqual(expect.arrayContaining(noted));
    expect(faults(await backup.verify())).toEqual([]);
  });

  it('is not asked for again by a rebuild, once it has come', async () => {
    using backup = sample();
    const [, second] = chunkOffsets(backup) as [number, number, number];
    edit(backup, (bytes) => bytes.fill(0, 0, second));
    await note(await backup.verify());
    const time = 2_000_000_000;
    backup.append(
      [
        messageLine([A, B], time),
        mailboxLine('user.anne', [{ uid: 1, content: A }], { time }),
        mailboxLine('user.anne.Old', [{ uid: 1, content: B }], { time }),
      ],
      true,
    );
    fs.rmSync(backup.indexPath);
    await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
    withIndex(backup, (index) => {
      expect([...mailboxesUnderHeal(index)]).toEqual([]);
      expect(index.missing([guidOf(A), guidOf(B), guidOf(C)])).toEqual([]);
    });
    const report = await backup.verify();
    expect(report.ok).toBe(true);
    expect(codesOf(report.findings)).not.toContain('HEAL_PENDING');
  });

  it('reads a message from an older place that is sound, and asks nobody for it', async () => {
    using backup = new SampleBackup([
      [messageLine([A]), mailboxLine('user.anne', [{ uid: 1, content: A }])],
      [messageLine([A, B]), mailboxLine('user.anne.Old', [{ uid: 1, content: B }])],
    ]);
    const [, second] = chunkOffsets(backup) as [number, number];
    edit(backup, (bytes) => bytes.fill(0, second + 40, second + 80));
    const noted = await note(await backup.verify());
    expect(noted).toMatchObject({ guids: [guidOf(B)], uniqueids: ['id-user.anne.Old'] });
    withIndex(backup, (index) => {
      expect(index.missing([guidOf(A), guidOf(B)])).toEqual([guidOf(B)]);
      expect(index.findMessage(guidOf(A))!.chunk.offset).toBe(0);
    });
    expect(faults(await backup.verify())).toEqual([]);
  });

  it('says again what the index knows and no mailbox says; a script is to be sent again', async () => {
    const time = 1_700_000_000;
    using backup = new SampleBackup([
      [
        `${time} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`,
        `${time} APPLY SUB %(USERID anne MBOXNAME user.anne.Old)\r\n`,
        `${time} APPLY UNSUB %(USERID anne MBOXNAME user.anne.Old)\r\n`,
        `${time} APPLY SEEN %(USERID anne UNIQUEID abc LASTREAD 1 LASTUID 2 LASTCHANGE 3 SEENUIDS 1:2)\r\n`,
        `${time} APPLY SIEVE %(USERID anne FILENAME x LAST_UPDATE 5 CONTENT {5}\r\nkeep;)\r\n`,
        `${time} APPLY RESERVE %(NOTE QUOTA VALUE %(ROOT user.anne STORAGE 1000))\r\n`,
        `${time} APPLY RESERVE %(NOTE ACTIVATE_SIEVE VALUE %(USERID anne FILENAME x.bc))\r\n`,
      ],
      [`${time} APPLY SUB %(USERID anne MBOXNAME user.anne.Sent)\r\n`],
    ]);
    const kinds = /^(subscription|seen|quota|state) /;
    const state = () =>
      stateText(backup.indexPath)
        .split('\n')
        .filter((row) => kinds.test(row))
        .map((row) => row.replace(/\d{10}/g, 'TIME'));
    const before = state();
    expect(before).toHaveLength(6);
    const [, second] = chunkOffsets(backup) as [number, number];
    edit(backup, (bytes) => bytes.fill(0, 0, second));
    await note(await backup.verify());
    expect(state()).toEqual(before);
    fs.rmSync(backup.indexPath);
    await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
    expect(state()).toEqual(before);
    withIndex(backup, (index) => expect(index.findSieve('x')).toBeUndefined());
  });

  it('does not hide new damage, neither in that chunk nor elsewhere', async () => {
    using backup = sample();
    const [, second, third] = chunkOffsets(backup) as [number, number, number];
    edit(backup, (bytes) => bytes.fill(0, second - 30, second - 20));
    await note(await backup.verify());
    expect(faults(await backup.verify())).toEqual([]);
    edit(backup, (bytes) => bytes.fill(0, second + 40, third - 20));
    const more = await backup.verify();
    expect(more.losses.chunkOffsets).toEqual([second]);
    expect(more.losses.guids).toEqual([guidOf(C)]);
    expect(codesOf(faults(more))).toContain('MESSAGE_MISSING');
    await note(more);
    expect(faults(await backup.verify())).toEqual([]);
    // The first chunk again: what was left of it.
    edit(backup, (bytes) => bytes.fill(0, 0, second));
    const again = await backup.verify();
    expect(again.ok).toBe(false);
    await note(again);
    expect(faults(await backup.verify())).toEqual([]);
  });

  it('leaves an index alone that is wrong where the data file is right', async () => {
    using backup = sample();
    backup.sql("UPDATE chunk SET data_sha1 = 'x' WHERE id = 1; UPDATE message SET offset = 30 WHERE id = 1");
    const report = await backup.verify();
    expect(codesOf(report.findings)).toEqual(['CHUNK_SHA1_WRONG', 'MESSAGE_MISSING']);
    expect(report.losses).toEqual({ chunkOffsets: [], guids: [], uniqueids: [], copies: [] });
    expect(await note(report)).toBeUndefined();
  });

  it('keeps an index aside that has to be made anew, and mends a torn end', async () => {
    using backup = sample();
    backup.write(backup.bytes().subarray(0, -30));
    const report = await backup.verify();
    expect(report.ok).toBe(false);
    await note(report);
    expect(fs.readdirSync(backup.folder).some((name) => /\.index\.\d+$/.test(name))).toBe(true);
    expect(faults(await backup.verify())).toEqual([]);
  });
});
