import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type SlabHolder, SlabPool, SMALL_BUFFERS_BYTES } from '../../src/pipeline/slab-pool.ts';

function holder(): SlabHolder {
  return { slabsHeld: 0 };
}

describe('SlabPool', () => {
  test('gives each slab once, and the one given back last first', () => {
    const pool = new SlabPool(4);
    const [a, b] = [holder(), holder()];
    const slabs = [pool.tryTake(a)!, pool.tryTake(b)!];
    expect(new Set(slabs).size).toBe(2);
    pool.release(a, slabs[0]!);
    expect(pool.tryTake(b)).toBe(slabs[0]);
    expect(pool.freeCount).toBe(2);
  });

  test('leaves half of them to others even if nobody waits', () => {
    const pool = new SlabPool(4);
    const greedy = holder();
    expect([1, 2, 3].map(() => pool.tryTake(greedy) !== undefined)).toEqual([true, true, false]);
    expect(pool.tryTake(holder())).toBeDefined();
  });

  test('a pool of one slab can still be used', () => {
    const pool = new SlabPool(1);
    const [a, b] = [holder(), holder()];
    const slab = pool.tryTake(a)!;
    let granted: number | undefined;
    pool.wait(b, (given) => (granted = given));
    expect(granted).toBeUndefined();
    pool.release(a, slab);
    expect(granted).toBe(slab);
    expect(b.slabsHeld).toBe(1);
  });

  test('who waits first gets first, and who has none before who has some', () => {
    const pool = new SlabPool(2);
    const [a, b, c] = [holder(), holder(), holder()];
    const first = pool.tryTake(a)!;
    const second = pool.tryTake(b)!;
    const order: string[] = [];
    pool.wait(a, () => order.push('a'));
    pool.wait(c, () => order.push('c'));
    pool.release(b, second);
    expect(order).toEqual(['c']);
    pool.release(a, first);
    expect(order).toEqual(['c', 'a']);
  });

  test('who leaves the line is not given anything', () => {
    const waited: number[] = [];
    const pool = new SlabPool(1, { waited: (seconds) => waited.push(seconds) });
    const [a, b, c] = [holder(), holder(), holder()];
    const slab = pool.tryTake(a)!;
    const leave = pool.wait(b, () => expect.unreachable());
    let granted = false;
    pool.wait(c, () => (granted = true));
    leave();
    leave();
    pool.release(a, slab);
    expect(granted).toBe(true);
    expect(waited).toHaveLength(1);
    expect(pool.waitingCount).toBe(0);
  });

  test('small buffers have a ceiling of their own', () => {
    const pool = new SlabPool(1);
    expect(pool.takeSmall(SMALL_BUFFERS_BYTES)).toBe(true);
    expect(pool.takeSmall(1)).toBe(false);
    pool.releaseSmall(1);
    expect(pool.takeSmall(1)).toBe(true);
  });

  test('whatever happens, no slab is lost or given twice, and everybody who waits is served', () => {
    const step = fc.record({ who: fc.nat(4), what: fc.constantFrom('take', 'release', 'leave') });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(step, { maxLength: 60 }), (count, steps) => {
        const pool = new SlabPool(count);
        const people = Array.from({ length: 5 }, () => ({
          holder: holder(),
          slabs: [] as number[],
          leave: undefined as (() => void) | undefined,
        }));
        const check = () => {
          const held = people.flatMap(({ slabs }) => slabs);
          expect(new Set(held).size).toBe(held.length);
          expect(held.length + pool.freeCount).toBe(count);
          for (const person of people) expect(person.holder.slabsHeld).toBe(person.slabs.length);
        };
        for (const { who, what } of steps) {
          const person = people[who]!;
          if (what === 'take' && person.leave === undefined) {
            const slab = pool.tryTake(person.holder);
            if (slab !== undefined) person.slabs.push(slab);
            else
              person.leave = pool.wait(person.holder, (given) => {
                person.leave = undefined;
                person.slabs.push(given);
              });
          } else if (what === 'release') {
            const slab = person.slabs.pop();
            if (slab !== undefined) pool.release(person.holder, slab);
          } else if (what === 'leave') {
            person.leave?.();
            person.leave = undefined;
          }
          check();
        }
        // Everybody gives back what they have, over and over, as finished commands do.
        for (let round = 0; round < 100 && pool.waitingCount > 0; round++) {
          for (const person of people) {
            const slab = person.slabs.pop();
            if (slab !== undefined) pool.release(person.holder, slab);
            check();
          }
        }
        expect(pool.waitingCount).toBe(0);
      }),
    );
  });
});
