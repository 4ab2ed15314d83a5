import fs, { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Config, PartitionConfig, PartitionSelectMode } from '../../src/config/config.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { DataFile } from '../../src/store/data-file.ts';
import {
  choosePartition,
  dataFilePath,
  hashFolder,
  newDataFileName,
  PartitionSelector,
  type PartitionUsage,
  useridOfDataFile,
} from '../../src/store/partition.ts';
import { sweepStaging } from '../../src/store/sweep-staging.ts';

/** Bytes available and in all, by name. */
type Disks = Record<string, [availableBytes: number, totalBytes: number] | 'broken'>;

function configOf(disks: Disks, mode: PartitionSelectMode, other: Partial<Config> = {}): Config {
  return {
    partitions: Object.keys(disks).map((name) => ({ name, path: `/backup/${name}` })),
    partitionSelectMode: mode,
    partitionSelectExclude: [],
    partitionSelectSoftUsageLimit: 0,
    partitionSelectUsageReinit: 0,
    ...other,
  } as Config;
}

function usageOf(disks: Disks): (partition: PartitionConfig) => PartitionUsage {
  return ({ name }) => {
    const disk = disks[name]!;
    if (disk === 'broken') throw new Error('ENOENT');
    return { availableBytes: disk[0], totalBytes: disk[1] };
  };
}

/** How often each is chosen when the random numbers are spread evenly. */
function shares(
  disks: Disks,
  mode: PartitionSelectMode,
  other: Partial<Config> = {},
): Record<string, number> {
  const result: Record<string, number> = {};
  const rounds = 1000;
  let round = 0;
  const selector = new PartitionSelector(
    configOf(disks, mode, other),
    usageOf(disks),
    () => (round++ + 0.5) / rounds,
  );
  for (let i = 0; i < rounds; i++) {
    const { name } = selector.choose();
    result[name] = (result[name] ?? 0) + 1 / rounds;
  }
  return Object.fromEntries(
    Object.entries(result).map(([name, share]) => [name, Math.round(share * 100) / 100]),
  );
}

describe('PartitionSelector', () => {
  const disks: Disks = { a: [30, 100], b: [400, 4000], c: [60, 100] };

  test('random: each as often, whatever is free', () => {
    expect(shares(disks, 'random')).toEqual({ a: 0.33, b: 0.33, c: 0.33 });
    expect(shares({ a: 'broken', b: [0, 1] }, 'random')).toEqual({ a: 0.5, b: 0.5 });
  });

  test('freespace-most: where most bytes are free', () => {
    expect(shares(disks, 'freespace-most')).toEqual({ b: 1 });
    expect(shares({ x: [5, 10], y: [5, 10] }, 'freespace-most')).toEqual({ x: 1 });
  });

  test('freespace-percent-most: where the greatest share is free', () => {
    expect(shares(disks, 'freespace-percent-most')).toEqual({ c: 1 });
  });

  test('freespace-percent-weighted: by the share that is free', () => {
    expect(shares(disks, 'freespace-percent-weighted')).toEqual({ a: 0.3, b: 0.1, c: 0.6 });
    expect(shares({ full: [0, 100], half: [50, 100] }, 'freespace-percent-weighted')).toEqual({ half: 1 });
    expect(shares({ x: [0, 100], y: [0, 100] }, 'freespace-percent-weighted')).toEqual({ x: 0.5, y: 0.5 });
  });

  test('freespace-percent-weighted-delta: by what is free beyond the fullest, which does not starve', () => {
    // 30 - 10 + .5, .5, 60 - 10 + .5 of 71.5
    expect(shares(disks, 'freespace-percent-weighted-delta')).toEqual({ a: 0.29, b: 0.01, c: 0.71 });
  });

  test('the soft limit leaves out what is fuller, unless everything is', () => {
    const limit = { partitionSelectSoftUsageLimit: 70 };
    expect(shares(disks, 'freespace-most', limit)).toEqual({ c: 1 });
    expect(shares(disks, 'freespace-percent-weighted', limit)).toEqual({ c: 1 });
    expect(shares(disks, 'freespace-percent-weighted', { partitionSelectSoftUsageLimit: 71 })).toEqual({
      a: 0.33,
      c: 0.67,
    });
    expect(shares(disks, 'freespace-most', { partitionSelectSoftUsageLimit: 10 })).toEqual({ b: 1 });
    expect(shares(disks, 'random', limit)).toEqual({ a: 0.33, b: 0.33, c: 0.33 });
  });

  test('excluded partitions take no new users', () => {
    const excluded = { partitionSelectExclude: ['b', 'c'] };
    for (const mode of ['random', 'freespace-most', 'freespace-percent-weighted'] as const) {
      expect(shares(disks, mode, excluded)).toEqual({ a: 1 });
    }
    expect(() => shares(disks, 'random', { partitionSelectExclude: ['a', 'b', 'c'] })).toThrowError(
      expect.objectContaining({ code: 'UNAVAILABLE' }) as Error,
    );
  });

  test('a partition without figures is left out; without any there is an error', () => {
    expect(shares({ a: 'broken', b: [1, 100], z: [0, 0] }, 'freespace-percent-weighted')).toEqual({ b: 1 });
    expect(() => shares({ a: 'broken' }, 'freespace-most')).toThrowError(
      expect.objectContaining({ code: 'UNAVAILABLE' }) as Error,
    );
  });

  test('figures are looked up again after as many choices as configured, or after a minute', () => {
    for (const [reinit, expected] of [
      [3, 4],
      [0, 3],
    ] as const) {
      let looked = 0;
      let seconds = 0;
      const config = configOf({ a: [1, 2] }, 'freespace-most', { partitionSelectUsageReinit: reinit });
      const selector = new PartitionSelector(
        config,
        () => {
          looked++;
          return { availableBytes: 1, totalBytes: 2 };
        },
        Math.random,
        () => seconds * 1000,
      );
      for (let i = 0; i < 12; i++) {
        selector.choose();
        seconds += 13;
      }
      expect(looked).toBe(expected);
    }
  });

  test('always chooses an allowed partition, for any figures and random numbers', () => {
    const figures = fc.oneof(fc.constant('broken' as const), fc.tuple(fc.nat(1000), fc.nat(1000)));
    const mode = fc.constantFrom(
      'random' as const,
      'freespace-most' as const,
      'freespace-percent-most' as const,
      'freespace-percent-weighted' as const,
      'freespace-percent-weighted-delta' as const,
    );
    const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(
        fc.array(figures, { minLength: 1 }),
        mode,
        fc.nat(100),
        random,
        (list, how, limit, number) => {
          const all: Disks = { ok: [1, 2], ...Object.fromEntries(list.map((each, i) => [`p${i}`, each])) };
          const config = configOf(all, how, { partitionSelectSoftUsageLimit: limit });
          const { name } = new PartitionSelector(config, usageOf(all), () => number).choose();
          expect(Object.keys(all)).toContain(name);
          if (how !== 'random') expect(all[name]).not.toBe('broken');
        },
      ),
    );
  });

  test('choosePartition looks at real filesystems', () => {
    const root = mkdtempSync(path.join(os.tmpdir(), 'partition-'));
    const config = configOf({ a: 'broken' }, 'freespace-percent-most');
    config.partitions.push({ name: 'real', path: root });
    expect(choosePartition(config)).toEqual({ name: 'real', path: root });
    rmSync(root, { recursive: true });
  });
});

describe('hashFolder', () => {
  test('the first letter, or q', () => {
    const pairs = {
      anne: 'a',
      Zoe: 'z',
      '%SHARED': 'q',
      '1st': 'q',
      '\xe4rger': 'q',
      '': 'q',
      'k@x.org': 'k',
    };
    for (const [userid, folder] of Object.entries(pairs)) expect(hashFolder(userid, false)).toBe(folder);
  });

  test('the full hash is over the bytes before the first dot, as Cyrus counts', () => {
    // As dir_hash_c() of Cyrus 3.6.1 gives them; "\xc3\x9cs\xc3\xa9r" is Üsér in UTF-8.
    const pairs = {
      alice: 'L',
      bob: 'E',
      'dora.m': 'O',
      '%SHARED': 'J',
      zoe: 'J',
      Zoe: 'I',
      a: 'F',
      '.': 'A',
      'x@example.org': 'R',
      administrator: 'K',
      '1st': 'J',
      '\xc3\x9cs\xc3\xa9r': 'D',
    };
    for (const [userid, folder] of Object.entries(pairs)) expect(hashFolder(userid, true)).toBe(folder);
    expect(hashFolder('dora.m', true)).toBe(hashFolder('dora', true));
  });
});

describe('names of data files', () => {
  test('are the userid with six random characters, in the right folder', () => {
    const names = new Set(Array.from({ length: 100 }, () => newDataFileName('anne')));
    expect(names.size).toBe(100);
    for (const name of names) expect(name).toMatch(/^anne_[A-Za-z0-9]{6}$/);
    expect(dataFilePath('/backup', '%SHARED', false)).toMatch(/^\/backup\/q\/%SHARED_\w{6}$/);
  });

  test('no userid leads out of the partition', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 30 }), fc.boolean(), (bytes, full) => {
        const userid = Buffer.from(bytes).toString('latin1');
        let file: string;
        try {
          file = dataFilePath('/backup', userid, full);
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_PARAMETERS' });
          return;
        }
        expect(path.dirname(path.dirname(path.resolve(file)))).toBe('/backup');
        expect(useridOfDataFile(path.basename(file))).toBe(userid);
        expect(useridOfDataFile(`${path.basename(file)}.index`)).toBe(userid);
      }),
    );
    for (const userid of ['', '../x', 'a/b', 'a\0b', 'a\nb', '\x7f', '\xfc', 'a'.repeat(201), 'Łukasz']) {
      expect(() => newDataFileName(userid)).toThrowError(
        expect.objectContaining({ code: 'BAD_PARAMETERS' }) as Error,
      );
    }
    for (const userid of ['.', '..', 'a'.repeat(200), '\xc3\xbc'])
      expect(newDataFileName(userid)).toBeTruthy();
  });

  test('what is no data file names no user', () => {
    for (const name of ['anne', '_AAAAAA', 'anne_AAAAAA.new', 'anne_AAAAA', '.staging']) {
      expect(useridOfDataFile(name)).toBeUndefined();
    }
    expect(useridOfDataFile('anne_b_AAAAAA')).toBe('anne_b');
  });

  test('lead back to the userid after a crash, whatever its letters', () => {
    const root = mkdtempSync(path.join(os.tmpdir(), 'partition-'));
    const catalog = new Catalog(path.join(root, 'backups.db'));
    const userid = Buffer.from('łüx').toString('latin1');
    const file = dataFilePath(root, userid, true);
    const made = DataFile.create(file);
    made.unlock(); // as the end of a process does
    fs.closeSync(made.fd);
    catalog.put(userid, file);
    fs.writeFileSync(path.join(root, '.staging', '_AAAAAA'), '');
    // The catalog names one of the two staged files.
    expect(sweepStaging(root, (name) => hashFolder(name, true), catalog)).toEqual({
      published: 1,
      removed: 1,
    });
    expect(fs.existsSync(catalog.get(userid)!)).toBe(true);
    catalog.close();
    rmSync(root, { recursive: true });
  });
});
