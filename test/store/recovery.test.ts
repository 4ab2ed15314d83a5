import { randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { StoredVerb } from '../../src/pipeline/messages.ts';
import { bootTag } from '../../src/platform/boot.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { createLogger } from '../../src/platform/log.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { DiskSync } from '../../src/store/disk-sync.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { openTrusted } from '../../src/store/recovery.ts';
import { ShardFigures } from '../../src/store/shard-figures.ts';
import type { StoreEnvironment } from '../../src/store/store-environment.ts';
import { guidOf, StoreRig } from './support/store-rig.ts';

let rig: StoreRig;
let copy: string;

beforeEach(() => {
  rig = new StoreRig();
  copy = path.join(rig.folder, 'copy');
  fs.mkdirSync(copy);
});

afterEach(async () => {
  await rig.shard.handle({ op: 'stop' });
  rig.remove();
});

/** The files of anne's backup as a crash at this moment would leave them to the next process. */
function snapshot(): string {
  const target = path.join(copy, 'anne');
  for (const suffix of ['', '.index', '.index-journal']) {
    fs.rmSync(target + suffix, { force: true });
    if (fs.existsSync(rig.dataPath('anne') + suffix)) {
      fs.copyFileSync(rig.dataPath('anne') + suffix, target + suffix);
    }
  }
  return target;
}

async function reopen(dataPath: string, boot = bootTag(), log = createLogger('silent')) {
  const figures = new ShardFigures();
  const env: StoreEnvironment = {
    config: rig.config,
    catalog: rig.catalog,
    engine: loadDeflateEngine('zlib'),
    bootTag: boot,
    disk: new DiskSync(),
    figures,
    log,
  };
  const file = DataFile.open(dataPath);
  const opened = await openTrusted(file, 'anne', env).catch((error: unknown) => {
    file.close();
    throw error;
  });
  const { values } = figures.take();
  const guids = opened.index.statement('SELECT guid FROM message ORDER BY guid').pluck().all() as string[];
  const records = opened.index.statement('SELECT COUNT(*) FROM mailbox_message').pluck().get() as number;
  const state = opened.index.state();
  opened.index.close();
  file.close();
  const { rebuilt } = opened;
  return {
    values,
    guids,
    records,
    state,
    rebuilt,
    fileEnd: opened.fileEnd,
    sha1: opened.fileSha1.digestHex(),
  };
}

function text(dataPath: string): string {
  return gunzipSync(fs.readFileSync(dataPath)).toString('latin1');
}

const otherBoot = Buffer.from('otherone');
const guids = (...contents: string[]) => contents.map(guidOf).sort();

async function push(...contents: string[]): Promise<void> {
  await rig.message(1, 'anne', ...contents.slice(-1));
  await rig.mailbox(1, 'anne', 'user.anne', contents);
}

describe('a clean file', () => {
  test('opens without any work', async () => {
    await push('a');
    await rig.release(1);
    const { values, guids: found, fileEnd } = await reopen(snapshot());
    expect(values).toEqual({});
    expect(found).toEqual(guids('a'));
    expect(fileEnd).toBe(fs.statSync(rig.dataPath('anne')).size);
  });
});

describe('killed with a chunk open', () => {
  test('what was acknowledged is indexed, and nothing else', async () => {
    await push('a');
    await rig.release(1);
    await push('a', 'b');
    await rig.message(1, 'anne', 'pending');
    const file = snapshot();
    const first = await reopen(file);
    expect(first.values).toMatchObject({ recoveries_total: 1 });
    expect(first.guids).toEqual(guids('a', 'b'));
    expect(text(file)).not.toContain('pending');
    const second = await reopen(file);
    expect(second.values).toEqual({});
    expect(second).toMatchObject({ guids: first.guids, fileEnd: first.fileEnd, sha1: first.sha1 });
  });

  test('by the next try, where the first one fails in the middle, as on a full disk', async () => {
    await push('one');
    await rig.release(1);
    await push('one', 'two');
    const dataPath = snapshot();
    const failing = createLogger('silent');
    failing.warn = () => {
      throw new Error('no space'); // inside the transaction
    };
    await expect(reopen(dataPath, bootTag(), failing)).rejects.toThrow('no space');
    expect((await reopen(dataPath)).guids).toEqual(guids('one', 'two'));
  });

  test('in a new backup, too', async () => {
    await push('a');
    expect((await reopen(snapshot())).guids).toEqual(guids('a'));
  });

  test('a torn tail of any length costs only what was not acknowledged', async () => {
    await push('a');
    await rig.release(1);
    const clean = fs.statSync(rig.dataPath('anne')).size;
    await push('a', 'b');
    const acknowledged = fs.statSync(rig.dataPath('anne')).size;
    await push('a', 'b', 'c');
    const all = fs.statSync(rig.dataPath('anne')).size;
    const lengths = new Set([clean + 1, acknowledged - 1, acknowledged, acknowledged + 1, all - 1, all]);
    for (let length = clean + 5; length < all; length += 23) lengths.add(length);
    for (const length of lengths) {
      const file = snapshot();
      fs.truncateSync(file, length);
      const { guids: found, records } = await reopen(file);
      expect(records).toBe(found.length);
      if (length < acknowledged) expect([guids('a'), guids('a', 'b')]).toContainEqual(found);
      else if (length < all) expect(found).toEqual(guids('a', 'b'));
      else expect(found).toEqual(guids('a', 'b', 'c'));
      expect(text(file)).toContain('MAILBOX');
    }
  });
});

describe('killed while the chunk was being ended', () => {
  test('a trailer that is missing wholly or in part is written', async () => {
    await push('a');
    await rig.release(1);
    const whole = fs.readFileSync(rig.dataPath('anne'));
    for (let missing = 1; missing <= 10; missing++) {
      const file = snapshot();
      fs.truncateSync(file, whole.length - missing);
      const { values, guids: found } = await reopen(file);
      expect(values).toMatchObject({ recoveries_total: 1 });
      expect(found).toEqual(guids('a'));
      expect(fs.readFileSync(file)).toEqual(whole);
    }
  });
});

describe('after a power failure', () => {
  test('an unfinished chunk of another boot makes the index be rebuilt, however it looks', async () => {
    await push('a');
    await rig.release(1);
    await push('a', 'b');
    const file = snapshot();
    const index = fs.readFileSync(`${file}.index`);
    index.fill(0xff, 2048, 4096);
    fs.writeFileSync(`${file}.index`, index);
    const { values, guids: found, records } = await reopen(file, otherBoot);
    expect(values).toMatchObject({ index_rebuilds_total: 1 });
    expect(found).toEqual(guids('a', 'b'));
    expect(records).toBe(2);
    expect((await reopen(file, otherBoot)).values).toEqual({});
  });
});

describe('a garbled end', () => {
  test.each(['zeros', 'noise'])(
    'of %s behind what was acknowledged is cut off and put aside',
    async (what) => {
      await push('a');
      await rig.release(1);
      await push('a', 'b');
      const file = snapshot();
      const garbage = what === 'zeros' ? Buffer.alloc(5000) : randomBytes(5000);
      fs.appendFileSync(file, garbage);
      const { guids: found } = await reopen(file, otherBoot);
      expect(found).toEqual(guids('a', 'b'));
      expect(text(file)).toMatch(/\r\n$/);
      const aside = fs.readdirSync(copy).filter((name) => name.includes('.torn.'));
      for (const name of aside) {
        const kept = fs.readFileSync(path.join(copy, name));
        expect(kept.subarray(-garbage.length).equals(garbage)).toBe(true);
      }
      expect((await reopen(file, otherBoot)).values).toEqual({});
    },
  );

  test('a finished chunk that was damaged later is not cut', async () => {
    await push('a');
    await rig.release(1);
    const file = snapshot();
    const bytes = fs.readFileSync(file);
    bytes.fill(0xa5, 80, 140);
    fs.writeFileSync(file, bytes);
    fs.rmSync(`${file}.index`);
    expect((await reopen(file)).values).toMatchObject({ index_rebuilds_total: 1, damaged_chunks_total: 1 });
    expect(fs.readFileSync(file).equals(bytes)).toBe(true);
  });
});

describe('a data file that was cut off', () => {
  test.each(['in its last chunk', 'at nothing'])(
    '%s loses no more, and what is left of the chunk and its index are kept',
    async (where) => {
      await push('a');
      await rig.release(1);
      const end = fs.statSync(rig.dataPath('anne')).size;
      await push('a', 'b', 'c');
      await rig.release(1);
      const file = snapshot();
      const whole = fs.readFileSync(file);
      // The messages come first: the lines that name them are in what is gone.
      const size = where === 'at nothing' ? 0 : end + Math.floor((whole.length - end) * 0.5);
      fs.truncateSync(file, size);
      const index = fs.readFileSync(`${file}.index`);
      const { values, guids: found } = await reopen(file);
      expect(values).toMatchObject({ index_rebuilds_total: 1 });
      expect(found).toEqual(size === 0 ? [] : guids('a'));
      const kept = new Map(
        fs
          .readdirSync(copy)
          .map((name) => [name.replace(/\d+$/, 'TIME'), fs.readFileSync(path.join(copy, name))]),
      );
      expect(kept.get('anne.index.TIME')?.equals(index)).toBe(true);
      expect(kept.get('anne.torn.TIME')).toEqual(size === 0 ? undefined : whole.subarray(end, size));
      expect((await reopen(file)).values).toEqual({});
    },
  );
});

test('of a last chunk that has become zeros the index that knew it is kept', async () => {
  await push('a');
  await rig.release(1);
  const end = fs.statSync(rig.dataPath('anne')).size;
  await push('a', 'b', 'c');
  await rig.release(1);
  const file = snapshot();
  fs.writeFileSync(file, fs.readFileSync(file).fill(0, end));
  const index = fs.readFileSync(`${file}.index`);
  const { guids: found, rebuilt } = await reopen(file);
  expect(found).toEqual(guids('a'));
  expect(rebuilt?.putAside).toMatchObject({ from: end, messages: 0 });
  expect(rebuilt?.lostBytes).toBeGreaterThan(100);
  expect(fs.readFileSync(rebuilt!.keptIndex!).equals(index)).toBe(true);
});

describe('an index that is lost or does not fit', () => {
  test.each(['missing', 'empty', 'garbage', 'of a longer file'])(
    '%s: rebuilt from the data file',
    async (how) => {
      await push('a');
      await rig.release(1);
      const end = fs.statSync(rig.dataPath('anne')).size;
      await push('a', 'b');
      await rig.release(1);
      const file = snapshot();
      if (how === 'missing') fs.rmSync(`${file}.index`);
      if (how === 'empty') fs.truncateSync(`${file}.index`, 0);
      if (how === 'garbage') fs.writeFileSync(`${file}.index`, 'no index at all, but long enough to look at');
      if (how === 'of a longer file') fs.truncateSync(file, end);
      const { values, guids: found } = await reopen(file);
      expect(values).toMatchObject({ index_rebuilds_total: 1 });
      expect(found).toEqual(how === 'of a longer file' ? guids('a') : guids('a', 'b'));
    },
  );

  test.each(['of another user', 'from before a compaction'])(
    '%s and of a shorter file: rebuilt, and nothing of it is left',
    async (which) => {
      const contents = ['a', 'b', randomBytes(3000).toString('hex')];
      for (const [i] of contents.entries()) await push(...contents.slice(0, i + 1));
      await rig.release(1);
      contents.push('behind it');
      await push(...contents);
      await rig.release(1);
      const file = snapshot();
      const size = fs.statSync(file).size;
      if (which === 'of another user') {
        await rig.message(1, 'bob', 'x');
        await rig.mailbox(1, 'bob', 'user.bob', ['x']);
        await rig.release(1);
        fs.copyFileSync(`${rig.dataPath('bob')}.index`, `${file}.index`);
      } else {
        // Its last chunk ended within what is one chunk now.
        const other = new StoreRig();
        await other.message(1, 'anne', 'a');
        await other.mailbox(1, 'anne', 'user.anne', ['a']);
        await other.release(1);
        fs.copyFileSync(`${other.dataPath('anne')}.index`, `${file}.index`);
        await other.shard.handle({ op: 'stop' });
        other.remove();
      }
      const { values, guids: found, records } = await reopen(file);
      expect(values).toMatchObject({ index_rebuilds_total: 1 });
      expect(values).not.toHaveProperty('damaged_chunks_total');
      expect([found, records]).toEqual([guids(...contents), 4]);
      expect(fs.statSync(file).size).toBe(size);
      expect((await reopen(file)).values).toEqual({});
    },
  );

  test('made by a rebuild, and then beside a file that it is not of: rebuilt', async () => {
    await push('a');
    await rig.release(1);
    const early = snapshot();
    fs.rmSync(`${early}.index`);
    await reopen(early);
    const index = fs.readFileSync(`${early}.index`);
    await rig.message(1, 'bob', 'x', 'y', randomBytes(3000).toString('hex'));
    await rig.mailbox(1, 'bob', 'user.bob', ['x', 'y']);
    await rig.release(1);
    await rig.message(1, 'bob', 'z');
    await rig.mailbox(1, 'bob', 'user.bob', ['x', 'y', 'z']);
    await rig.release(1);
    fs.copyFileSync(rig.dataPath('bob'), early);
    fs.writeFileSync(`${early}.index`, index);
    const { values, guids: found } = await reopen(early);
    expect(values).toMatchObject({ index_rebuilds_total: 1 });
    expect(found).toEqual(guids('x', 'y', 'z'));
  });

  test('another program appended: only the new chunks are read', async () => {
    await push('a');
    await rig.release(1);
    const oldIndex = fs.readFileSync(`${rig.dataPath('anne')}.index`);
    await push('a', 'b');
    await rig.release(1);
    const file = snapshot();
    fs.writeFileSync(`${file}.index`, oldIndex);
    const { values, guids: found } = await reopen(file);
    expect(values).toMatchObject({ recoveries_total: 1 });
    expect(values).not.toHaveProperty('index_rebuilds_total');
    expect(found).toEqual(guids('a', 'b'));
  });
});

describe('notes of what Cyrus does not store', () => {
  test('say the same when they are read back, also one that came in pieces', async () => {
    await push('a');
    const long = `%(MBOXNAME user.anne USERID "" ENTRY /long VALUE {150002}\r\n(${'long '.repeat(30_000)}))`;
    const given: [StoredVerb, string][] = [
      ['QUOTA', '%(ROOT user.anne LIMIT 5 STORAGE 5)'],
      ['QUOTA', '%(ROOT user.anne.x LIMIT 7 STORAGE 7)'],
      ['UNQUOTA', 'user.anne.x'],
      ['ACTIVATE_SIEVE', '%(USERID anne FILENAME main.bc)'],
      ['ANNOTATION', '%(MBOXNAME user.anne USERID "" ENTRY /comment VALUE "with ) and %")'],
      [
        'MAILBOX',
        '%(UNIQUEID inter MBOXNAME user.anne.i MBOXTYPE ei HIGHESTMODSEQ 1 CREATEDMODSEQ 1 FOLDERMODSEQ 1)',
      ],
    ];
    for (const [verb, value] of given) expect((await rig.apply(1, 'anne', verb, value)).code).toBe('OK');
    expect((await rig.applyInSlabs(1, 'anne', 'ANNOTATION', long)).code).toBe('OK');
    await rig.release(1);
    const file = snapshot();
    for (const line of text(file).split('\r\n')) expect(line).not.toMatch(/^\d+ NOTE/);
    const tables = (): unknown => {
      const index = BackupIndex.open(`${file}.index`);
      const all = ['cb_quota', 'cb_annotation', 'cb_intermediate'].map((name) =>
        index.statement(`SELECT * FROM ${name}`).all(),
      );
      const state = [all, index.activeSieve()];
      index.close();
      return state;
    };
    const live = tables();
    expect(JSON.stringify(live)).toContain('/comment');
    fs.rmSync(`${file}.index`);
    expect((await reopen(file)).values).toMatchObject({ index_rebuilds_total: 1 });
    expect(tables()).toEqual(live);
  });

  test('a user who is gone stays so', async () => {
    await push('a');
    await rig.apply(1, 'anne', 'UNUSER', 'anne');
    await rig.release(1);
    const file = snapshot();
    fs.rmSync(`${file}.index`);
    await reopen(file);
    const index = BackupIndex.open(`${file}.index`);
    expect(index.unuserAt()).toBeGreaterThan(0);
    index.close();
  });
});

describe('damage that shows itself late', () => {
  test('a trailer that the power failure garbled is written again', async () => {
    await push('a');
    await rig.release(1);
    const whole = fs.readFileSync(rig.dataPath('anne'));
    const file = snapshot();
    const garbled = Buffer.from(whole);
    garbled.fill(0, garbled.length - 7);
    fs.writeFileSync(file, garbled);
    expect((await reopen(file, otherBoot)).values).toMatchObject({ recoveries_total: 1 });
    expect(fs.readFileSync(file).equals(whole)).toBe(true);
  });

  test('an index that SQLite finds damaged while it is used is rebuilt at the next command', async () => {
    await push('a');
    await rig.release(1);
    const indexPath = `${rig.dataPath('anne')}.index`;
    await rig.shard.handle({ op: 'stop' });
    const bytes = fs.readFileSync(indexPath);
    const page = bytes.readUInt16BE(16);
    for (let at = page; at < bytes.length; at += page) {
      // Leave what opening reads, which is in the first page and the one of cb_state.
      if (!bytes.subarray(at, at + page).includes('committed_end')) bytes.fill(0xee, at + 8, at + page);
    }
    fs.writeFileSync(indexPath, bytes);
    rig.start();
    const answers: string[] = [];
    for (let i = 0; i < 3; i++) answers.push((await rig.mailbox(2, 'anne', 'user.anne', ['a'])).code);
    expect(answers.at(-1)).toBe('OK');
    await rig.release(2);
    expect((await reopen(snapshot())).guids).toEqual(guids('a'));
  });
});
