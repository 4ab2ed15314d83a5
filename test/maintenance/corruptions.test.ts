import fs from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { noteVerified } from '../../src/maintenance/heal.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { isReadable } from '../../src/store/heal.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { messages } from '../../src/store/index/queries.ts';
import { guidOf, type SampleBackup } from './backup-files.ts';
import { A, B, C, CORRUPTIONS, corruptible, type Layout } from './corruptions.ts';

const engine = loadDeflateEngine('auto');

function layoutOf(backup: SampleBackup): Layout {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  const [first, second, third] = index.chunks().map(({ offset }) => offset) as [number, number, number];
  index.close();
  return { first, second, third, end: backup.bytes().length };
}

/** Whatever the index counts as there can be read. */
function expectReadable(backup: SampleBackup): void {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  const fd = fs.openSync(backup.dataPath, 'r');
  for (const { guid } of [...messages(index)]) {
    expect(isReadable(fd, index, index.findMessage(guid)!), guid).toBe(true);
  }
  fs.closeSync(fd);
  index.close();
}

/** Notes what verify finds; what is left is the index's (`left` at most), and making it anew mends that. */
async function expectMended(backup: SampleBackup, left?: readonly string[]): Promise<void> {
  await noteVerified(await backup.verify(), { engine });
  const noted = await backup.verify();
  if (!noted.ok) {
    const codes = noted.findings.filter(({ severity }) => severity === 'fault').map(({ code }) => code);
    if (left !== undefined) expect(left).toEqual(expect.arrayContaining(codes));
    await reindexBackup({ dataPath: backup.dataPath, engine, keepPrevious: false });
  }
  const { findings } = await backup.verify();
  expect(findings.filter(({ severity }) => severity === 'fault')).toEqual([]);
  expectReadable(backup);
}

describe('each corruption is reported exactly, and mended', () => {
  it.each(CORRUPTIONS)('$name', async ({ apply, expected }) => {
    using backup = corruptible();
    const layout = layoutOf(backup);
    apply(backup, layout);
    const { findings } = await backup.verify();
    const wanted = expected(layout);
    expect(findings.map(({ code }) => code)).toEqual(wanted.map(({ code }) => code));
    expect(findings).toMatchObject(wanted);
    await expectMended(backup);
  });
});

/** Bits that are flipped, and whether there is an index: what was not mended once. */
const EXAMPLES: [[at: number, bit: number][], boolean][] = [
  // The second calls itself the last deflate block of its chunk, before a segment that can be read.
  [
    [
      [0, 0],
      [574, 0],
    ],
    false,
  ],
];

describe('flipped bits anywhere', () => {
  it('are all reported, and cost nothing that can still be read', async () => {
    using sound = corruptible();
    const whole = sound.bytes();
    const { first, second, third, end } = layoutOf(sound);
    const chunks = [
      { from: first, to: second, content: A },
      { from: second, to: third, content: B },
      { from: third, to: end, content: C },
    ];
    const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(7)), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(flips, fc.boolean(), async (places, hasIndex) => {
        using backup = corruptible();
        const bytes = Buffer.from(whole);
        for (const [at, bit] of places) bytes[at]! ^= 1 << bit;
        // Two flips can undo each other.
        if (bytes.equals(whole)) return;
        backup.write(bytes);
        if (hasIndex) expect((await backup.verify()).ok).toBe(false);
        else fs.rmSync(backup.indexPath);
        // The boot tag in the header of a chunk means nothing to its content.
        await expectMended(backup, ['FILE_SHA1_WRONG', 'INDEX_STALE']);
        const index = BackupIndex.open(backup.indexPath, { readonly: true });
        for (const { from, to, content } of chunks) {
          if (places.some(([at]) => at >= from && at < to)) continue;
          expect(index.messageId(guidOf(content)), content).toBeDefined();
        }
        index.close();
      }),
      {
        numRuns: Number(process.env.CORRUPTION_RUNS ?? '60'),
        examples: EXAMPLES,
      },
    );
  });
});
