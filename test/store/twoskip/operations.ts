import fc from 'fast-check';
import { writeCheckpoint } from '../../../src/store/twoskip/checkpoint.ts';
import type { TwoskipFile } from '../../../src/store/twoskip/file.ts';
import { TwoskipReader } from '../../../src/store/twoskip/reader.ts';
import { recover } from '../../../src/store/twoskip/recovery.ts';
import { createEmpty, neverCreated, Transaction } from '../../../src/store/twoskip/transaction.ts';
import { MemoryFile } from './memory-file.ts';

export type Change = { put: string; value: string } | { delete: string };
/** What a file should hold. */
export type Model = Map<string, string>;

/** Few keys, so that they are replaced and deleted often; some with every byte value, some long. */
const key = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...'abcdefghijklmnop'.split(''), 'aa', 'a.b', 'ab', '%SHARED') },
  { weight: 2, arbitrary: latin1(1, 20) },
);
const value = fc.oneof({ weight: 9, arbitrary: latin1(0, 40) }, { weight: 1, arbitrary: latin1(400, 700) });

export const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ put: key, value }) },
  { weight: 2, arbitrary: fc.record({ delete: key }) },
);
export const changes = fc.array(change, { minLength: 1, maxLength: 5 });

function latin1(minLength: number, maxLength: number): fc.Arbitrary<string> {
  return fc.uint8Array({ minLength, maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));
}

export function bytesOf(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

export function newFile(): MemoryFile {
  const file = new MemoryFile();
  createEmpty(file);
  return new MemoryFile(file.bytes);
}

/** Carries the changes out in one transaction, on the file and on a copy of the model. */
export function transact(
  file: TwoskipFile,
  model: Model,
  list: readonly Change[],
  random = Math.random,
): Model {
  const transaction = new Transaction(new TwoskipReader(file), random);
  const after = new Map(model);
  for (const each of list) {
    if ('put' in each) {
      transaction.put(bytesOf(each.put), bytesOf(each.value));
      after.set(each.put, each.value);
    } else {
      transaction.delete(bytesOf(each.delete));
      after.delete(each.delete);
    }
  }
  transaction.commit();
  return after;
}

/** Recovers, checks every link and reads everything. */
export function contentOf(file: TwoskipFile): Model {
  if (neverCreated(file)) return new Map();
  recover(file);
  const reader = new TwoskipReader(file);
  reader.check();
  const list = [...reader.records()].map((record): [string, string] => [
    record.key.toString('latin1'),
    record.value.toString('latin1'),
  ]);
  return new Map(list);
}

export function checkpointed(file: TwoskipFile): MemoryFile {
  const target = new MemoryFile();
  writeCheckpoint(new TwoskipReader(file), target);
  return target;
}

/** In the order of bytes, as a file lists them. */
export function sorted(model: Model): [string, string][] {
  return [...model].sort(([a], [b]) => bytesOf(a).compare(bytesOf(b)));
}
