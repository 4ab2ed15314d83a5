import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GuidBudget, GuidMap } from '../../src/server/guid-map.ts';

function guid(n: number): string {
  return createHash('sha1').update(String(n)).digest('hex');
}

describe('GuidMap', () => {
  test('agrees with a Map while there is room', () => {
    const operations = fc.array(fc.record({ key: fc.nat(300), value: fc.nat(0xffff_fffe) }), {
      maxLength: 500,
    });
    fc.assert(
      fc.property(operations, (list) => {
        const budget = new GuidBudget(1 << 20);
        const map = new GuidMap(budget);
        const model = new Map<string, number>();
        for (const { key, value } of list) {
          map.set(guid(key), value);
          model.set(guid(key), value);
        }
        for (let key = 0; key <= 300; key++) expect(map.get(guid(key))).toBe(model.get(guid(key)));
        expect(map.hasForgotten).toBe(false);
        map.clear();
        expect(budget.usedBytes).toBe(0);
        expect(map.get(guid(0))).toBeUndefined();
      }),
      { numRuns: 30 },
    );
  });

  test('stays within its budget and forgets the oldest first', () => {
    const budget = new GuidBudget(200_000);
    const map = new GuidMap(budget);
    for (let n = 0; n < 20_000; n++) {
      map.set(guid(n), n);
      expect(map.get(guid(n))).toBe(n);
      expect(budget.usedBytes).toBeLessThanOrEqual(200_000);
      if (!map.hasForgotten) expect(map.get(guid(0))).toBe(0);
    }
    const known = Array.from({ length: 20_000 }, (_, n) => map.get(guid(n)) !== undefined);
    const oldest = known.indexOf(true);
    expect(20_000 - oldest).toBeGreaterThan(1500);
    expect(known.slice(oldest)).not.toContain(false);
    expect(map.hasForgotten).toBe(true);
    map.clear();
    expect(map.hasForgotten).toBe(false);
  });

  test('takes no more than there is room for where nothing may be forgotten', () => {
    const map = new GuidMap(new GuidBudget(200_000));
    const taken = Array.from({ length: 20_000 }, (_, n) => map.setIfRoom(guid(n), n));
    const count = taken.indexOf(false);
    expect(count).toBeGreaterThan(1500);
    for (let n = 0; n < 20_000; n++) expect(map.get(guid(n))).toBe(n < count ? n : undefined);
    expect(map.hasForgotten).toBe(false);
    expect(taken.slice(count)).not.toContain(true);
  });

  test('without any budget it remembers nothing, and takes no memory', () => {
    const budget = new GuidBudget(100);
    const map = new GuidMap(budget);
    map.set(guid(1), 1);
    expect(map.get(guid(1))).toBeUndefined();
    expect(map.hasForgotten).toBe(true);
    expect(budget.usedBytes).toBe(0);
  });

  test('maps share one budget', () => {
    const budget = new GuidBudget(100_000);
    const maps = Array.from({ length: 20 }, () => new GuidMap(budget));
    for (let n = 0; n < 4000; n++) maps[n % 20]!.set(guid(n), n);
    expect(budget.usedBytes).toBeLessThanOrEqual(100_000);
    for (const map of maps) map.clear();
    expect(budget.usedBytes).toBe(0);
  });
});
