import { readFileSync } from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkpointPays } from '../../../src/store/twoskip/checkpoint.ts';
import { MAX_LEVEL } from '../../../src/store/twoskip/format.ts';
import { TwoskipReader } from '../../../src/store/twoskip/reader.ts';
import { MemoryFile } from './memory-file.ts';
import {
  bytesOf,
  change,
  changes,
  checkpointed,
  contentOf,
  type Model,
  newFile,
  sorted,
  transact,
} from './operations.ts';

const FIXTURES = path.join(import.meta.dirname, '../../fixtures/twoskip');

describe('a twoskip file', () => {
  test('holds what a map holds after the same transactions, in the order of its keys', () => {
    fc.assert(
      fc.property(
        fc.array(changes, { maxLength: 30 }),
        fc.array(fc.boolean()),
        (transactions, checkpoints) => {
          let file = newFile();
          let model: Model = new Map();
          transactions.forEach((list, i) => {
            model = transact(file, model, list);
            if (checkpoints[i]) file = checkpointed(file);
            expect([...contentOf(file)]).toEqual(sorted(model));
          });
          const reader = new TwoskipReader(file);
          for (const [key, value] of model)
            expect(reader.find(bytesOf(key)).exact?.value).toEqual(bytesOf(value));
        },
      ),
      { numRuns: 150 },
    );
  });

  test('finds a key, what comes after it and nothing else, for any key', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), change, (list, probe) => {
        const file = newFile();
        const model = transact(file, new Map(), list);
        const wanted = 'put' in probe ? probe.put : probe.delete;
        const reader = new TwoskipReader(file);
        expect(reader.find(bytesOf(wanted)).exact?.value.toString('latin1')).toBe(model.get(wanted));
        const following = sorted(model).find(([key]) => bytesOf(key).compare(bytesOf(wanted)) > 0);
        expect(reader.findAfter(bytesOf(wanted))?.key.toString('latin1')).toBe(following?.[0]);
      }),
    );
  });

  test('is not written to by a change that changes nothing', () => {
    const file = newFile();
    const model = transact(file, new Map(), [{ put: 'a', value: '1' }]);
    const before = file.steps.length;
    transact(file, model, [{ put: 'a', value: '1' }, { delete: 'b' }]);
    expect(file.steps.length).toBe(before);
  });

  test('keeps records of every level', () => {
    const file = newFile();
    let model: Model = new Map();
    for (const [i, key] of ['m', 'c', 'x', 'a', 'n'].entries()) {
      const tosses = [0, 1, 40, 2, 29][i]!;
      let tossed = 0;
      model = transact(file, model, [{ put: key, value: key }], () => (tossed++ < tosses ? 0 : 1));
    }
    expect([...contentOf(file)]).toEqual(sorted(model));
    const levels = [...new TwoskipReader(file).records()].map(({ head }) => head.level);
    expect(levels).toEqual([3, 2, 1, 30, MAX_LEVEL]);
    model = transact(file, model, [{ delete: 'x' }, { put: 'n', value: 'again' }, { delete: 'a' }], () => 1);
    expect([...contentOf(file)]).toEqual(sorted(model));
  });

  test('takes keys and values of lengths that need the long form', () => {
    const file = newFile();
    const long = 'k'.repeat(65_535);
    const model = transact(file, new Map(), [
      { put: long, value: 'v' },
      { put: 'k'.repeat(65_534), value: 'v'.repeat(100_000) },
    ]);
    expect([...contentOf(file)]).toEqual(sorted(model));
    expect([...contentOf(checkpointed(file))]).toEqual(sorted(model));
  });

  test('reads few records to find one among 3000', () => {
    const file = newFile();
    const entries = Array.from({ length: 3000 }, (_, i) => `user${i}`);
    transact(
      file,
      new Map(),
      entries.map((put) => ({ put, value: put })),
    );
    const big = checkpointed(file);
    let reads = 0;
    const counting = Object.assign(Object.create(big) as MemoryFile, {
      read: (position: number, length: number) => {
        reads++;
        return big.read(position, length);
      },
      size: () => big.size(),
    });
    const reader = new TwoskipReader(counting);
    for (let i = 0; i < 3000; i += 30) expect(reader.find(bytesOf(`user${i}`)).exact).toBeDefined();
    expect(reads / 100).toBeLessThan(60);
  });
});

describe('a checkpoint', () => {
  test('leaves out what was replaced and deleted, and counts one generation on', () => {
    const file = newFile();
    let model: Model = new Map();
    for (let i = 0; i < 60; i++) {
      model = transact(file, model, [
        { put: `user${i % 20}`, value: `path${i}` },
        { delete: `user${(i * 7) % 20}` },
      ]);
    }
    const target = checkpointed(file);
    expect([...contentOf(target)]).toEqual(sorted(model));
    const old = new TwoskipReader(file).header;
    const fresh = new TwoskipReader(target).header;
    expect(fresh.generation).toBe(old.generation + 1);
    expect(fresh.recordCount).toBe(model.size);
    expect(target.size()).toBe(fresh.currentSize);
    expect(fresh.repackSize).toBeLessThan(fresh.currentSize);
    expect(target.size()).toBeLessThan(file.size() / 4);
    expect(target.steps.at(-1)).toEqual({ kind: 'sync' });
    expect(target.steps.findLastIndex((step) => step.kind === 'write' && step.position === 0)).toBe(
      target.steps.length - 2,
    );
  });

  test('of an empty file is an empty file', () => {
    expect(contentOf(checkpointed(newFile())).size).toBe(0);
  });

  test('pays when the file is twice as long as after the last one, but not while it is small', () => {
    const reader = new TwoskipReader(newFile());
    for (const [currentSize, repackSize, pays] of [
      [16_834, 336, false],
      [16_835, 336, true],
      [40_000, 20_000, false],
      [40_001, 20_000, true],
    ] as const) {
      Object.assign(reader.header, { currentSize, repackSize });
      expect(checkpointPays(reader)).toBe(pays);
    }
  });
});

describe('files that Cyrus 3.6.1 wrote', () => {
  test('a catalog of backupd', () => {
    const model = contentOf(new MemoryFile(readFileSync(path.join(FIXTURES, 'backups.db'))));
    expect([...model.keys()]).toEqual(
      '%SHARED alice bob carol dora.m erik frida gustav hanna heidi ivan newcomer nobody zz'.split(' '),
    );
    for (const [userid, file] of model) expect(path.basename(file).replace(/_\w{6}$/, '')).toBe(userid);
  });

  test('one with replaced and deleted records and blanks, which we can go on with', () => {
    const bytes = readFileSync(path.join(FIXTURES, 'churn.db'));
    expect(bytes.includes(' BLANK')).toBe(true);
    const expected: Model = new Map();
    for (let i = 1; i <= 60; i++) {
      if (i === 1) expected.set('user1', '/backup/u/user1_CCCCCC');
      else if (i % 5 === 2 && i > 2) expected.set(`user${i}`, `/backup/v/user${i}_BBBBBB`);
      else if (i % 4 !== 1 && i !== 2) expected.set(`user${i}`, `/backup/u/user${i}_AAAAAA`);
    }
    const file = new MemoryFile(bytes);
    expect([...contentOf(file)]).toEqual(sorted(expected));
    expect(file.steps).toEqual([]);
    const list = [...expected.keys()].map((key) => ({ delete: key }));
    const model = transact(file, expected, [
      ...list.slice(5),
      { put: 'user3', value: 'x' },
      { put: 'zz', value: '' },
    ]);
    expect([...contentOf(file)]).toEqual(sorted(model));
    expect([...contentOf(checkpointed(file))]).toEqual(sorted(model));
  });
});
