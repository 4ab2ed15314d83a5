import fs from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BackupError } from '../../src/platform/errors.ts';
import { withSource } from '../../src/restore/open-source.ts';
import type { BackupSource } from '../../src/restore/source.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import type { Moment } from '../../src/store/past-index.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { A, B, C, CORRUPTIONS, corruptible, type Layout } from '../maintenance/corruptions.ts';
import { Random } from '../support/random.ts';

const CONTENTS = [A, B, C];
const LAST = 1_700_000_020;
const MOMENTS: Moment[] = [
  { kind: 'latest' },
  ...[0, 10, 20].map((n) => ({ kind: 'time' as const, time: LAST - 20 + n })),
];

function layoutOf(backup: SampleBackup): Layout {
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  const [first, second, third] = index.chunks().map(({ offset }) => offset) as [number, number, number];
  index.close();
  return { first, second, third, end: backup.bytes().length };
}

/** Messages of chunks that stand somewhere in the file as they were. */
function untouched(whole: Buffer, { first, second, third, end }: Layout, now: Buffer): string[] {
  const chunks = [whole.subarray(first, second), whole.subarray(second, third), whole.subarray(third, end)];
  return CONTENTS.filter((_, i) => now.includes(chunks[i]!));
}

/** Messages that come back, and how many are named but lost. */
function read(source: BackupSource): { back: string[]; lost: number } {
  const back: string[] = [];
  let lost = 0;
  for (const mailbox of source.mailboxes()) {
    for (const { guid } of source.records(mailbox)) {
      try {
        back.push(source.message(guid).toString('latin1'));
      } catch (error) {
        if (!(error instanceof BackupError && ['CHUNK_CORRUPT', 'NOT_FOUND'].includes(error.code)))
          throw error;
        lost++;
      }
    }
  }
  return { back, lost };
}

async function readAt(backup: SampleBackup, moment: Moment) {
  const remarks: string[] = [];
  const config = { backupStagingPath: backup.folder };
  const remark = (text: string): void => void remarks.push(text);
  return { ...(await withSource(backup.dataPath, { config, moment, remark }, read)), remarks };
}

/** Each of the moments gives back what is untouched and came by then, and says so if anything else is not. */
async function expectAllThatIsThere(
  backup: SampleBackup,
  whole: Buffer,
  layout: Layout,
  isNamed = true,
): Promise<void> {
  const there = untouched(whole, layout, backup.bytes());
  for (const moment of MOMENTS) {
    const count = moment.kind === 'time' ? 1 + (moment.time - LAST + 20) / 10 : 3;
    const wanted = CONTENTS.slice(0, count);
    let result: Awaited<ReturnType<typeof readAt>>;
    try {
      result = await readAt(backup, moment);
    } catch (error) {
      // Of a file whose beginning is lost no state before what is left can be had.
      expect(error).toMatchObject({ code: 'NOT_FOUND' });
      expect(there.filter((content) => wanted.includes(content))).toEqual([]);
      continue;
    }
    const { back, lost, remarks } = result;
    for (const content of back) expect(wanted).toContain(content);
    for (const content of there) if (wanted.includes(content)) expect(back).toContain(content);
    if (isNamed && back.length < wanted.length) expect(lost + remarks.length).toBeGreaterThan(0);
  }
}

test('a message behind damage that only the index can find comes back as of a moment, too', async () => {
  const random = new Random('behind damage');
  const contents = Array.from({ length: 4 }, () => random.bytes(75_000).toString('hex'));
  const records = contents.map((content, i) => ({ uid: i + 1, content }));
  using backup = new SampleBackup([
    [messageLine(contents, LAST)],
    // Of another chunk, so that it is not lost which messages there are.
    [mailboxLine('user.anne', records, { time: LAST })],
    [`${LAST + 1000} APPLY SUB %(USERID anne MBOXNAME user.anne)\r\n`],
  ]);
  const bytes = backup.bytes();
  backup.write(bytes.fill(0, 70_000, 73_000));
  for (const moment of [{ kind: 'latest' }, { kind: 'time', time: LAST + 10 }] as const) {
    const { back, lost } = await readAt(backup, moment);
    expect([moment.kind, back.includes(contents[3]!), back.includes(contents[0]!)]).toEqual([
      moment.kind,
      true,
      false,
    ]);
    expect(lost).toBe(4 - back.length);
  }
  // Without an index nothing tells where it is, and that is said.
  fs.rmSync(backup.indexPath);
  const { back, lost, remarks } = await readAt(backup, { kind: 'time', time: LAST + 10 });
  expect(back.length + lost).toBe(4);
  expect(remarks.join()).toContain('is damaged');
});

describe('what is left of a damaged backup comes back, now and as of each moment', () => {
  const data = CORRUPTIONS.filter(
    ({ name }) => !/lacks a message|never sent|another user's data file/.test(name),
  );
  test.each(data)('$name', async ({ name, apply }) => {
    using backup = corruptible();
    const [whole, layout] = [backup.bytes(), layoutOf(backup)];
    apply(backup, layout);
    await expectAllThatIsThere(backup, whole, layout);
    fs.rmSync(backup.indexPath, { force: true });
    // Then nothing is left that knows of whole chunks that are gone.
    await expectAllThatIsThere(backup, whole, layout, !/ends|cut out/.test(name));
  });

  test('flipped bits anywhere', async () => {
    using sound = corruptible();
    const [whole, layout] = [sound.bytes(), layoutOf(sound)];
    const flips = fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(7)), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(flips, fc.boolean(), async (places, hasIndex) => {
        using backup = corruptible();
        const bytes = Buffer.from(whole);
        for (const [at, bit] of places) bytes[at]! ^= 1 << bit;
        backup.write(bytes);
        if (!hasIndex) fs.rmSync(backup.indexPath);
        await expectAllThatIsThere(backup, whole, layout);
      }),
      {
        numRuns: Number(process.env.DAMAGE_RUNS ?? '25'),
        // The headers before and behind a sound chunk, the time of the first line, the last chunk as if never finished.
        examples: [
          [
            [
              [1172, 0],
              [1605, 0],
            ],
            false,
          ],
          [[[64, 0]], false],
          [
            [
              [layout.first, 0],
              [layout.third, 0],
            ],
            false,
          ],
          [
            [
              [layout.first + 1, 3],
              [layout.third + 30, 7],
            ],
            true,
          ],
        ],
      },
    );
  });
});
