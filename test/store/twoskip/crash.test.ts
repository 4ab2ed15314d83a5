import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { recover } from '../../../src/store/twoskip/recovery.ts';
import { createEmpty } from '../../../src/store/twoskip/transaction.ts';
import { afterCrash, type FileStep, MemoryFile } from './memory-file.ts';
import { change, changes, contentOf, type Model, newFile, sorted, transact } from './operations.ts';

/** What a disk may do with a write that was not synced. Writes within the committed part lie in one block. */
type Fate = 'kept' | 'dropped' | 'torn';

/** Reads the fates one after the other, again and again. */
function fateOf(fates: readonly Fate[], committed: number): (step: FileStep) => FileStep | undefined {
  let i = 0;
  return (step) => {
    const fate = fates[i++ % fates.length]!;
    if (fate === 'dropped') return undefined;
    if (fate === 'torn' && step.kind === 'write' && step.position >= committed) {
      return { ...step, bytes: step.bytes.subarray(0, Math.floor(step.bytes.length / 2)) };
    }
    return step;
  };
}

const ALL_KEPT: Fate[] = ['kept'];
const ALL_DROPPED: Fate[] = ['dropped'];
const fates = fc.array(fc.constantFrom<Fate>('kept', 'dropped', 'torn'), { minLength: 1, maxLength: 12 });

/** Recovers what the disk holds, crashing on the way at every step too, and returns the content. */
function recovered(disk: Buffer, more: readonly Fate[]): Model {
  const file = new MemoryFile(disk);
  const content = contentOf(file);
  for (let cut = 0; cut < file.steps.length; cut++) {
    for (const list of [ALL_KEPT, ALL_DROPPED, more]) {
      const again = new MemoryFile(afterCrash(disk, file.steps.slice(0, cut), fateOf(list, disk.length)));
      expect(sorted(contentOf(again))).toEqual(sorted(content));
    }
  }
  return content;
}

describe('a crash', () => {
  test('anywhere in a transaction leaves all of it or nothing, and everything before it', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 20 }), changes, fates, change, (base, list, disk, later) => {
        const start = newFile();
        const before = transact(start, new Map(), base);
        const file = new MemoryFile(start.bytes);
        const after = transact(file, before, list);
        for (let cut = 0; cut <= file.steps.length; cut++) {
          for (const each of [ALL_KEPT, ALL_DROPPED, disk]) {
            const held = afterCrash(start.bytes, file.steps.slice(0, cut), fateOf(each, start.size()));
            const content = recovered(held, disk);
            // Only the last write, that of the header, can be on disk or not; the last sync decides it.
            const done = cut === file.steps.length;
            const open = cut === file.steps.length - 1;
            const expected = done ? [after] : open ? [before, after] : [before];
            expect(expected.map(sorted)).toContainEqual(sorted(content));
            const next = new MemoryFile(held);
            const healed = contentOf(next);
            expect(sorted(contentOf(next))).toEqual(sorted(healed));
            expect(sorted(transact(next, healed, [later]))).toEqual(sorted(contentOf(next)));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test('of several transactions in turn, each cut off, costs none of those that were committed', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(changes, changes, fc.nat(30), fates), { maxLength: 8 }), (rounds) => {
        let file = newFile();
        let model: Model = new Map();
        for (const [committed, cutOff, steps, disk] of rounds) {
          model = transact(file, model, committed);
          const start = file.bytes;
          const torn = new MemoryFile(start);
          transact(torn, model, cutOff);
          const cut = Math.min(steps, torn.steps.length - 2);
          file = new MemoryFile(
            afterCrash(start, torn.steps.slice(0, Math.max(cut, 0)), fateOf(disk, start.length)),
          );
          expect(sorted(contentOf(file))).toEqual(sorted(model));
        }
      }),
      { numRuns: 60 },
    );
  });

  test('while the file is created leaves an empty one', () => {
    const made = new MemoryFile();
    createEmpty(made);
    for (let cut = 0; cut <= made.steps.length; cut++) {
      for (const each of [ALL_KEPT, ALL_DROPPED, ['torn'] as Fate[]]) {
        const file = new MemoryFile(afterCrash(Buffer.alloc(0), made.steps.slice(0, cut), fateOf(each, 64)));
        expect(contentOf(file).size).toBe(0);
      }
    }
  });
});

describe('recovery', () => {
  test('does nothing to a clean file', () => {
    const file = newFile();
    transact(file, new Map(), [{ put: 'a', value: '1' }]);
    const before = file.steps.length;
    expect(recover(file)).toBe(0);
    expect(file.steps.length).toBe(before);
  });

  test('cuts off bytes behind the committed size even if the header is not marked', () => {
    const file = newFile();
    const model = transact(file, new Map(), [{ put: 'a', value: '1' }]);
    const longer = new MemoryFile(Buffer.concat([file.bytes, Buffer.from('left over')]));
    expect([...contentOf(longer)]).toEqual(sorted(model));
    expect(longer.bytes).toEqual(file.bytes);
  });
});
