import { afterAll, describe, expect, test } from 'vitest';
import { nextDaily, nextVerification } from '../../src/maintenance/schedule.ts';

const zone = process.env.TZ;
process.env.TZ = 'Europe/Berlin';

afterAll(() => {
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const at = (text: string): number => new Date(text).getTime();

describe('nextDaily', () => {
  const four = [{ hour: 4, minute: 0 }];

  test.each([
    ['later today', '2026-11-25T03:59:59+01:00', '2026-11-25T04:00:00+01:00'],
    ['tomorrow, at the very minute', '2026-11-25T04:00:00+01:00', '2026-11-26T04:00:00+01:00'],
    ['in the next year', '2026-12-31T23:00:00+01:00', '2027-01-01T04:00:00+01:00'],
    ['over the end of summer time', '2026-10-24T12:00:00+02:00', '2026-10-25T04:00:00+01:00'],
  ])('%s', (_what, now, next) => {
    expect(nextDaily(four, at(now))).toBe(at(next));
  });

  test('the nearest of several; none of none', () => {
    const times = [
      { hour: 4, minute: 0 },
      { hour: 22, minute: 30 },
    ];
    expect(nextDaily(times, at('2026-11-25T12:00:00+01:00'))).toBe(at('2026-11-25T22:30:00+01:00'));
    expect(nextDaily([], 0)).toBeUndefined();
  });

  test('a time that the clocks leave out comes after the gap, and once', () => {
    const half = [{ hour: 2, minute: 30 }];
    const next = nextDaily(half, at('2026-03-29T01:59:00+01:00'))!;
    expect(next).toBe(at('2026-03-29T03:30:00+02:00'));
    expect(nextDaily(half, next)).toBe(at('2026-03-30T02:30:00+02:00'));
  });

  test('a time that comes twice is taken once', () => {
    const half = [{ hour: 2, minute: 30 }];
    const next = nextDaily(half, at('2026-10-25T01:00:00+02:00'))!;
    expect(nextDaily(half, next)).toBe(at('2026-10-26T02:30:00+01:00'));
  });
});

describe('nextVerification', () => {
  const day = 86_400_000;

  test('backups come one after the other, evenly spread', () => {
    const of = { everyMs: 30 * day, backups: 27, oldestMs: 0, lastMs: 5 * day };
    expect(nextVerification(of)).toBe(6 * day);
  });

  test('one whose time is over comes at once', () => {
    const of = { everyMs: 30 * day, backups: 3, oldestMs: 0, lastMs: 29 * day };
    expect(nextVerification(of)).toBe(30 * day);
  });

  test('each is verified within the period, and the work of a day does not change much', () => {
    const count = 100;
    const everyMs = 10 * day;
    const verified = Array.from({ length: count }, () => 0);
    const perDay: number[] = [];
    let lastMs = 0;
    for (;;) {
      const oldest = verified.indexOf(Math.min(...verified));
      const now = nextVerification({ everyMs, backups: count, oldestMs: verified[oldest]!, lastMs });
      if (now > 50 * day) break;
      if (verified[oldest]! > 0) expect(now - verified[oldest]!).toBeLessThanOrEqual(everyMs);
      verified[oldest] = lastMs = now;
      perDay[Math.floor(now / day)] = (perDay[Math.floor(now / day)] ?? 0) + 1;
    }
    expect(Math.min(...perDay.slice(0, -1))).toBeGreaterThanOrEqual(10);
    expect(Math.max(...perDay)).toBeLessThanOrEqual(13);
  });
});
