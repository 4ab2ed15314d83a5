import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { useLockKind } from '../../src/platform/file-lock.ts';
import type { Catalog } from '../../src/store/catalog.ts';
import { DataFile, stagedPathOf } from '../../src/store/data-file.ts';
import { sweepStaging } from '../../src/store/sweep-staging.ts';

let folder: string;
let dataPath: string;
let staged: string;
const catalog = new Map<string, string>();
const asCatalog = {
  put: (userid: string, file: string) => catalog.set(userid, file),
  get: (userid: string) => catalog.get(userid),
  entries: () => catalog.entries(),
} as unknown as Catalog;

beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'data-file-'));
  dataPath = path.join(folder, 'a', 'anne_x1Y2z3');
  staged = stagedPathOf(dataPath);
  catalog.clear();
});
afterEach(() => {
  useLockKind('auto');
  fs.rmSync(folder, { recursive: true });
});

const sweep = () => sweepStaging(folder, () => 'a', asCatalog);

test('a file that somebody who found it in the catalog has put into its place is published', () => {
  const file = DataFile.create(dataPath);
  const finishes = { put: () => DataFile.open(dataPath).close() } as unknown as Catalog;
  file.publish('anne', finishes);
  expect(file.staged).toBe(false);
  expect(file.isCurrent()).toBe(true);
  file.close();
  expect(fs.existsSync(dataPath)).toBe(true);
});

test('one that has gone is not', () => {
  const file = DataFile.create(dataPath);
  fs.rmSync(staged);
  expect(() => file.publish('anne', asCatalog)).toThrow(/ENOENT/);
  file.close();
});

describe.each(['auto', 'lockfile'] as const)('with locks of kind %s', (kind) => {
  beforeEach(() => useLockKind(kind));

  test('a new file is locked from its birth through its publication until it is closed', () => {
    const file = DataFile.create(dataPath);
    expect(sweep()).toEqual({ published: 0, removed: 0 });
    expect(fs.existsSync(staged)).toBe(true);
    file.publish('anne', asCatalog);
    const other = DataFile.open(dataPath);
    expect(other.lock()).toBe(false);
    file.close();
    expect(other.lock()).toBe(true);
    other.close();
    expect(fs.readdirSync(path.dirname(dataPath))).toEqual(['anne_x1Y2z3']);
    expect(fs.readdirSync(path.dirname(staged))).toEqual([]);
  });

  test('closing unlocks, whether it was published, released or given up', () => {
    DataFile.create(dataPath).close();
    expect(fs.readdirSync(path.dirname(staged))).toEqual([]);
    fs.writeFileSync(dataPath, '');
    const file = DataFile.open(dataPath);
    file.lock();
    file.close();
    expect(fs.readdirSync(path.dirname(dataPath))).toEqual(['anne_x1Y2z3']);
  });
});

describe('with lock files', () => {
  beforeEach(() => useLockKind('lockfile'));

  const DEAD = '4194305 1 0123456789abcdef 0011223344556677';

  test('a file does not get a name that somebody has locked', () => {
    const file = DataFile.create(dataPath);
    fs.writeFileSync(dataPath, '');
    const other = DataFile.open(dataPath);
    other.lock();
    fs.rmSync(dataPath);
    expect(() => file.publish('anne', asCatalog)).toThrow(
      expect.objectContaining({ code: 'LOCKED' }) as Error,
    );
    expect(catalog.size).toBe(0);
    other.close();
    file.publish('anne', asCatalog);
    file.close();
    expect(catalog.get('anne')).toBe(dataPath);
  });

  test('the sweep clears those of dead processes away, and leaves the others and their files', () => {
    const held = DataFile.create(path.join(folder, 'a', 'bert_A1b2C3'));
    fs.writeFileSync(staged, 'never committed');
    fs.writeFileSync(`${staged}.lock`, DEAD);
    fs.writeFileSync(path.join(path.dirname(staged), 'carl_Z9y8X7.lock'), DEAD);
    expect(sweep()).toEqual({ published: 0, removed: 1 });
    expect(fs.readdirSync(path.dirname(staged)).sort()).toEqual(['bert_A1b2C3', 'bert_A1b2C3.lock']);
    held.close();
  });
});
