/**
 * Damage that a checksum tells of and that leaves the text what it seems to be, as a bit that flips in a time, a name or a number:
 * compaction takes a backup for what it says, and is never refused for it.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { noteVerified } from '../../src/maintenance/heal.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { uncompressed } from './backup-files.ts';
import { history } from './compact-history.ts';
import { compact, nowFor } from './compact-runs.ts';

const engine = loadDeflateEngine('zlib');

/** Where in the file or in the times of its lines, which bit, and what is done when it has flipped. */
const flip = fc.record({
  inTimes: fc.boolean(),
  place: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  bit: fc.nat(7),
  next: fc.constantFrom('nothing', 'verify', 'verify', 'reindex'),
});

/** Offsets of the digits of UNIXTIME in all lines. */
function digitsOfTimes(bytes: Buffer): number[] {
  const lines = bytes.toString('latin1').matchAll(/\d{10} APPLY /g);
  return [...lines].flatMap(({ index }) => Array.from({ length: 10 }, (_, i) => index + i));
}

test('flipped bits of text keep no backup from being compacted, and what it writes is sound', async () => {
  await fc.assert(
    fc.asyncProperty(
      history,
      fc.array(flip, { minLength: 1, maxLength: 4 }),
      fc.nat(1000),
      async (past, flips, since) => {
        using backup = uncompressed(...past.chunks);
        const { dataPath } = backup;
        for (const { inTimes, place, bit, next } of flips) {
          const bytes = backup.bytes();
          if (bytes.length === 0) return; // all of it had been one torn end
          const digits = inTimes ? digitsOfTimes(bytes) : [];
          const at = digits[Math.floor(place * digits.length)] ?? Math.floor(place * bytes.length);
          bytes[at]! ^= 1 << (inTimes ? bit % 4 : bit);
          backup.write(bytes);
          if (next === 'verify') await noteVerified(await backup.verify(), { engine, wait: true });
          if (next === 'reindex') await reindexBackup({ dataPath, engine, keepPrevious: false });
        }
        const { times } = past;
        await compact(backup, { now: nowFor(times[since % times.length]! - (since % 2)) });
        const { findings } = await backup.verify();
        expect(findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
      },
    ),
    { numRuns: 15 },
  );
});
