import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BackupError } from '../../src/platform/errors.ts';
import { CsyncRefusal } from '../../src/restore/csync-reply.ts';
import { NotYetThere } from '../../src/restore/moments.ts';
import type { RestorePlan } from '../../src/restore/plan.ts';
import { RestoreReport } from '../../src/restore/report.ts';
import { ResumeFile, type ResumeHeader } from '../../src/restore/resume-file.ts';
import {
  onlyMailboxesSince,
  onlySince,
  type Pass,
  restoreAll,
  type UserToRestore,
} from '../../src/restore/whole-server.ts';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'whole-server-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

const HEADER: ResumeHeader = {
  type: 'restore-all',
  target: 'eml:/x/{user}',
  into: 'RESTORED-1',
  at: null,
  atAgo: null,
  recentSince: null,
};

function users(count: number): UserToRestore[] {
  return Array.from({ length: count }, (_, i) => ({ userid: `u${i}`, path: `/p${i}`, changedAt: i }));
}

function unavailable(): BackupError {
  return new BackupError({ code: 'UNAVAILABLE', tried: 'x', subject: 'y', reason: 'z', remedy: 'w' });
}

async function play(
  restore: (user: UserToRestore, pass: Pass) => Promise<RestoreReport>,
  options: { count?: number; parallel?: number; passes?: Pass[]; resume?: ResumeFile } = {},
) {
  const done: string[] = [];
  const failed: string[] = [];
  const notYet: string[] = [];
  const result = await restoreAll({
    users: users(options.count ?? 3),
    passes: options.passes ?? ['recent', 'all'],
    parallel: options.parallel ?? 1,
    resume: options.resume,
    restore,
    onDone: ({ userid }, pass, report) =>
      done.push(`${report === undefined ? 'before ' : ''}${pass} ${userid}`),
    onFailed: ({ userid }, pass) => failed.push(`${pass} ${userid}`),
    onNotYetThere: ({ userid }) => notYet.push(userid),
  });
  return { result, done, failed, notYet };
}

describe('restoreAll', () => {
  test('recent mail of everybody first, those who changed last before the others', async () => {
    const { done, result } = await play(async () => new RestoreReport());
    expect(done).toEqual(['recent u2', 'recent u1', 'recent u0', 'all u2', 'all u1', 'all u0']);
    expect(result).toEqual({ complete: 3, incomplete: 0, failed: 0, notYetThere: 0 });
  });

  test('several at a time, no more than asked for, each once', async () => {
    let [now, most] = [0, 0];
    const { done } = await play(
      async () => {
        most = Math.max(most, ++now);
        await new Promise((resolve) => setTimeout(resolve, 2));
        now--;
        return new RestoreReport();
      },
      { count: 20, parallel: 3, passes: ['all'] },
    );
    expect(most).toBe(3);
    expect(done.toSorted()).toEqual(
      users(20)
        .map(({ userid }) => `all ${userid}`)
        .toSorted(),
    );
  });

  test('the failure of one does not stop the others, and a second pass can make up for it', async () => {
    const { result, failed } = await play(async ({ userid }, pass) => {
      if (userid === 'u1' || (userid === 'u0' && pass === 'recent')) throw unavailable();
      return new RestoreReport();
    });
    expect(failed).toEqual(['recent u1', 'recent u0', 'all u1']);
    expect(result).toEqual({ complete: 2, incomplete: 1, failed: 1, notYetThere: 0 });
  });

  test('who was not there yet at the moment is counted apart, told once and not tried again', async () => {
    const tried: string[] = [];
    const { result, failed, notYet } = await play(async ({ userid }, pass) => {
      tried.push(`${pass} ${userid}`);
      if (userid === 'u1') throw new NotYetThere('/p1', 5, 9, 9);
      return new RestoreReport();
    });
    expect({ failed, notYet }).toEqual({ failed: [], notYet: ['u1'] });
    expect(result).toEqual({ complete: 2, incomplete: 0, failed: 0, notYetThere: 1 });
    expect(tried.filter((text) => text.endsWith('u1'))).toEqual(['recent u1']);
  });

  test('gives up where the target is gone', async () => {
    let tries = 0;
    const playing = play(
      async () => {
        tries++;
        throw unavailable();
      },
      { count: 500 },
    );
    await expect(playing).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(tries).toBe(20);
  });

  test('goes on where the target refuses one after the other', async () => {
    const { failed } = await play(
      async () => {
        throw new CsyncRefusal({ status: 'NO', code: 'IMAP_IOERROR', text: 'System I/O error' }, 'x', 'y');
      },
      { count: 50, passes: ['all'] },
    );
    expect(failed).toHaveLength(50);
  });

  test('goes on behind what the resume file says is done; what was refused is tried again', async () => {
    const file = path.join(folder, 'resume');
    const refused = (): RestoreReport => {
      const report = new RestoreReport();
      report.shortfall({ kind: 'refused', what: 'quota', reason: 'no' });
      return report;
    };
    {
      using resume = ResumeFile.open(file, HEADER);
      expect(resume.isOld).toBe(false);
      const { result } = await play(
        async ({ userid }) => {
          if (userid === 'u0') throw unavailable();
          return userid === 'u1' ? refused() : new RestoreReport();
        },
        { resume, passes: ['all'] },
      );
      expect(result).toEqual({ complete: 1, incomplete: 2, failed: 1, notYetThere: 0 });
    }
    using resume = ResumeFile.open(file, { ...HEADER, into: 'RESTORED-2' });
    expect(resume).toMatchObject({ isOld: true, header: HEADER });
    const { done } = await play(async () => new RestoreReport(), { resume, passes: ['all'] });
    expect(done).toEqual(['before all u2', 'all u1', 'all u0']);
  });
});

describe('recent mail', () => {
  const mailbox = (folders: string[], lastAppenddate: number, dates: number[]) => ({
    mailbox: { lastAppenddate },
    folders,
    *records() {
      for (const internaldate of dates) yield { internaldate };
    },
  });
  const plan = {
    mailboxes: [mailbox([], 5, [1, 5]), mailbox(['Old'], 9, [9, 2]), mailbox(['New'], 10, [10, 3, 11])],
  } as unknown as RestorePlan;

  test('is what is as new as that', () => {
    const dates = onlySince(plan, 9).mailboxes.map(({ records }) =>
      [...records()].map(({ internaldate }) => internaldate),
    );
    expect(dates).toEqual([[], [9], [10, 11]]);
  });

  test('or the INBOX and mailboxes to which something came since, whole', () => {
    const { mailboxes } = onlyMailboxesSince(plan, 10);
    expect(mailboxes.map(({ folders }) => folders.join('/'))).toEqual(['', 'New']);
    expect([...mailboxes[1]!.records()]).toHaveLength(3);
  });
});

describe('ResumeFile', () => {
  test('cut at any place it knows all whole lines, and goes on', () => {
    const file = path.join(folder, 'resume');
    {
      using resume = ResumeFile.open(file, HEADER);
      for (let i = 0; i < 4; i++) resume.done({ userid: `über ${i}`, pass: 'all' });
    }
    const whole = fs.readFileSync(file);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: whole.length }), (length) => {
        fs.writeFileSync(file, whole.subarray(0, length));
        const lines = whole.subarray(0, length).toString('latin1').split('\n').length - 1;
        {
          using resume = ResumeFile.open(file, HEADER);
          for (let i = 0; i < 4; i++) {
            expect(resume.isDone({ userid: `über ${i}`, pass: 'all' })).toBe(i < lines - 1);
          }
          resume.done({ userid: 'last', pass: 'recent' });
        }
        using resume = ResumeFile.open(file, HEADER);
        expect(resume.isDone({ userid: 'last', pass: 'recent' })).toBe(true);
        expect(resume.isDone({ userid: 'last', pass: 'all' })).toBe(false);
      }),
      { numRuns: 60 },
    );
  });

  test('how long ago the moment was is counted from the first run', () => {
    const file = path.join(folder, 'resume');
    const first = { ...HEADER, at: 1000, atAgo: '-2d' };
    ResumeFile.open(file, first)[Symbol.dispose]();
    {
      using resume = ResumeFile.open(file, { ...first, at: 1700 });
      expect(resume.header.at).toBe(1000);
    }
    {
      using resume = ResumeFile.open(file, { ...HEADER, at: 1000 });
      expect(resume.header.at).toBe(1000);
    }
    for (const wanted of [{ at: 1700, atAgo: '-3d' }, { at: 1700 }, { at: null }]) {
      expect(() => ResumeFile.open(file, { ...HEADER, ...wanted })).toThrow(
        /it is of a restore at 1970-01-01T00:16:40Z\. .*--at -2d/,
      );
    }
  });

  test.each([
    ['another target', `${JSON.stringify({ ...HEADER, target: 'imap://h' })}\n`, 'to imap://h'],
    ['a restore in place', `${JSON.stringify({ ...HEADER, into: null })}\n`, 'in place'],
    ['another moment', `${JSON.stringify({ ...HEADER, at: 5 })}\n`, 'at 1970-01-01T00:00:05Z'],
    ['something else', 'Dear diary,\n', 'no resume file'],
    ['other JSON', '7\n', 'no resume file'],
  ])('refuses %s and leaves it alone', (_, text, reason) => {
    const file = path.join(folder, 'resume');
    fs.writeFileSync(file, text);
    expect(() => ResumeFile.open(file, HEADER)).toThrow(reason);
    expect(fs.readFileSync(file, 'utf8')).toBe(text);
  });
});
