import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { syncCrcs } from '../../../src/restore/csync-crc.ts';
import { BackupIndex } from '../../../src/store/index/backup-index.ts';
import { isHidden } from '../../../src/store/index/parts.ts';
import { mailboxByUniqueid, mailboxMessages } from '../../../src/store/index/queries.ts';
import { everything, guidOf, IndexRig } from './index-rig.ts';
import { type MailboxText, mailboxText, type RecordText } from './mailbox-text.ts';
import { storedSum, wholeSum } from './sums.ts';

let rig: IndexRig;
beforeEach(() => {
  rig = new IndexRig();
});
afterEach(() => rig.remove());

const DAY = 86_400;
const INBOX = { uniqueid: 'u1', mboxname: 'user.anne' };

/** What Cyrus says of a mailbox that has more to come: no checksum. */
function partOf(part: Partial<MailboxText>): string {
  return mailboxText({ ...INBOX, ...part, crc: 0 }).replace('SYNC_CRC_ANNOT 12345678 ', '');
}

/** What a mail server has of a mailbox. */
interface Mail {
  records: Map<number, RecordText & { modseq: number; flags: string[]; updated: number }>;
  modseq: number;
  lastUid: number;
}

/** Of the records that are not expunged, counted as the code for restoring does, which knows nothing of the index. */
function crcOf(records: Iterable<RecordText & { updated?: number }>): number {
  const counted = [...records].map((record) => ({
    uid: record.uid,
    modseq: record.modseq ?? record.uid,
    lastUpdated: record.updated ?? 1_700_000_000,
    flags: [...(record.expunged ? ['\\Expunged'] : []), ...(record.flags ?? [])],
    internaldate: 1_690_000_000,
    size: 0,
    guid: record.guid,
  }));
  return syncCrcs(counted).basic;
}

describe('a mailbox', () => {
  const three: RecordText[] = [1, 2, 3].map((uid) => ({ uid, guid: guidOf(uid) }));
  beforeEach(() => {
    const place = { chunkId: rig.chunkId, lineOffset: 29, contentOffset: 129, partition: 'default', size: 1 };
    for (const { guid } of three) rig.index.addMessage({ guid, ...place });
  });

  const send = (records: RecordText[], crc: number, more: Partial<MailboxText> = {}, time?: number) =>
    rig.apply(mailboxText({ ...INBOX, ...more, crc, records }), {
      acceptMissing: true,
      ...(time !== undefined && { time }),
    });
  const verdict = (outcome: ReturnType<typeof send>): unknown =>
    outcome.type === 'ok' ? outcome.verdict?.type : outcome;

  test('that is as the mail server has it says nothing, and so does one of which it does not know', () => {
    expect(verdict(send(three, crcOf(three)))).toBeUndefined();
    const seen = { ...three[0]!, modseq: 7, flags: ['\\Seen', '$Later'] };
    const now = [seen, three[1]!, three[2]!];
    expect(verdict(send([seen], crcOf(now), { highestmodseq: 11 }))).toBeUndefined();
    const without = mailboxText({ ...INBOX, crc: 0, highestmodseq: 12, records: [{ ...seen, modseq: 8 }] });
    expect(verdict(rig.apply(without.replace('SYNC_CRC_ANNOT 12345678 ', '')))).toBeUndefined();
    expect(storedSum(rig.index, 'u1')).toBe(wholeSum(rig.index, 'u1'));
    // And the next one is compared as ever.
    const later = [{ ...seen, modseq: 8 }, ...three.slice(1)];
    expect(verdict(send([], crcOf(later), { highestmodseq: 13 }))).toBeUndefined();
    expect(verdict(send([], crcOf(later) + 1, { highestmodseq: 14 }))).toBe('ask');
  });

  test('that is empty there, and not here, differs although its checksum is 0', () => {
    send(three, crcOf(three));
    expect(verdict(send([], 0, { highestmodseq: 11 }))).toBe('ask');
  });

  test('that differs is asked for once; if all of it has come and it differs still, not again, until it fits', () => {
    const day = 1_800_000_000;
    send(three, crcOf(three), {}, day);
    expect(verdict(send([], 77, { highestmodseq: 11 }, day))).toBe('ask');
    rig.heal('u1', []);
    expect(verdict(send(three, 78, { highestmodseq: 12 }, day + 1))).toBe('unusable');
    expect(rig.index.healMark('u1')).toBeUndefined();
    for (const days of [0, 1, 2, 30]) {
      const change = { ...three[0]!, modseq: 20 + days };
      const sent = send([change], 79 + days, { highestmodseq: 20 + days }, day + days * DAY);
      expect(verdict(sent)).toBeUndefined();
    }
    const last = { ...three[0]!, modseq: 60 };
    const fits = crcOf([last, three[1]!, three[2]!]);
    expect(verdict(send([last], fits, { highestmodseq: 60 }, day + 40 * DAY))).toBeUndefined();
    expect(verdict(send([], 80, { highestmodseq: 61 }, day + 40 * DAY))).toBe('ask');
  });

  test('whose checksum fits only when all of it has come is asked for once a day at most', () => {
    const day = 1_800_000_000;
    send(three, crcOf(three), {}, day);
    let modseq = 10;
    const verdicts: unknown[] = [];
    for (let hour = 0; hour < 50; hour++) {
      const time = day + hour * 3600;
      const asked = verdict(send([], 1000 + hour, { highestmodseq: ++modseq }, time));
      verdicts.push(asked);
      if (asked !== 'ask') continue;
      rig.heal('u1', []);
      expect(verdict(send(three, crcOf(three), { highestmodseq: ++modseq }, time))).toBeUndefined();
    }
    expect(verdicts.flatMap((one, hour) => (one === 'ask' ? [hour] : []))).toEqual([0, 24, 48]);
    expect(verdicts.filter((one) => one === 'differs')).toHaveLength(47);
  });

  test('that has fitted since, as something in it changed, is asked for at once: the mail server was put back twice in a day', () => {
    const day = 1_800_000_000;
    send(three, crcOf(three), {}, day);
    expect(verdict(send([], 77, { highestmodseq: 11 }, day))).toBe('ask');
    rig.heal('u1', []);
    expect(verdict(send(three, crcOf(three), { highestmodseq: 12 }, day + 1))).toBeUndefined();
    // That it fits still when nothing has changed says nothing.
    expect(verdict(send([], crcOf(three), { highestmodseq: 13 }, day + 2))).toBeUndefined();
    expect(verdict(send([], 78, { highestmodseq: 14 }, day + 3))).toBe('differs');
    const seen = { ...three[0]!, modseq: 15, flags: ['\\Seen'] };
    const now = crcOf([seen, ...three.slice(1)]);
    expect(verdict(send([seen], now, { highestmodseq: 15 }, day + 4))).toBeUndefined();
    expect(verdict(send([], 79, { highestmodseq: 16 }, day + 5))).toBe('ask');
  });

  test('that comes in parts when it is asked for, and differs still, is asked for once more only', () => {
    const day = 1_800_000_000;
    send(three, crcOf(three), {}, day);
    expect(verdict(send([], 77, { highestmodseq: 11 }, day))).toBe('ask');
    for (const [modseq, last] of [
      [11, 'ask'],
      [21, 'unusable'],
    ] as const) {
      rig.heal('u1', []);
      for (const uid of [1, 2]) {
        const part = partOf({ highestmodseq: modseq + uid, lastUid: uid, records: [three[uid - 1]!] });
        expect(verdict(rig.apply(part, { time: day, acceptMissing: true }))).toBeUndefined();
        expect(mailboxByUniqueid(rig.index, 'u1')).toMatchObject({ underHeal: true, partUid: uid });
      }
      expect(verdict(send([three[2]!], 78, { highestmodseq: modseq + 3 }, day))).toBe(last);
      expect(mailboxByUniqueid(rig.index, 'u1')).toMatchObject({ underHeal: false, partUid: null });
    }
    expect(verdict(send([], 79, { highestmodseq: 34 }, day + 9 * DAY))).toBeUndefined();
  });

  test('that compaction has written in several lines is known when the last of them is read', () => {
    for (const part of [three.slice(0, 2), three.slice(2)]) {
      const text = mailboxText({ ...INBOX, crc: crcOf(three), records: part });
      rig.replay([{ time: 1_700_000_000, command: 'APPLY', text }]);
    }
    expect(storedSum(rig.index, 'u1')).toBe(crcOf(three));
    expect(verdict(send([], crcOf(three), { highestmodseq: 11 }, 1_800_000_000))).toBeUndefined();
    expect(verdict(send([], 5, { highestmodseq: 12 }, 1_800_000_000))).toBe('ask');
  });

  test('that does not fit from the beginning is never asked for', () => {
    expect(verdict(send(three, 1))).toBe('unusable');
    expect(verdict(send([{ ...three[0]!, modseq: 11 }], 2, { highestmodseq: 11 }))).toBeUndefined();
  });

  test('that has come as a whole without some messages, and fits so, has lost these', () => {
    send(three, crcOf(three));
    rig.heal('u1', []);
    const rest = three.slice(0, 2);
    const outcome = send(rest, crcOf(rest), { highestmodseq: 11 });
    expect(outcome).toMatchObject({
      verdict: { uniqueid: 'u1', mboxname: 'user.anne', type: 'gone', uids: [3] },
    });
    rig.apply('EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (3))');
    expect(storedSum(rig.index, 'u1')).toBe(crcOf(rest));
    expect(verdict(send([], crcOf(rest), { highestmodseq: 12 }))).toBeUndefined();
  });

  test('of an index from before is counted once, when something comes for it', () => {
    send(three, crcOf(three));
    rig.apply(mailboxText({ uniqueid: 'u2', mboxname: 'user.anne.a', crc: 0, more: 'FOLDERMODSEQ 7' }));
    rig.index.commit();
    rig.index.close();
    const db = new Database(rig.path);
    db.exec(`ALTER TABLE cb_mailbox DROP COLUMN crc; ALTER TABLE cb_mailbox DROP COLUMN crc_asked;
      ALTER TABLE cb_mailbox DROP COLUMN crc_state;
      ALTER TABLE cb_heal DROP COLUMN part_uid; ALTER TABLE cb_heal DROP COLUMN unsaid;
      UPDATE cb_state SET value = 1 WHERE name = 'version'; DELETE FROM cb_mailbox WHERE fields = '';`);
    db.close();
    rig.index = BackupIndex.open(rig.path, { readonly: true });
    expect(mailboxByUniqueid(rig.index, 'u1')?.syncCrc).toBe(crcOf(three));
    rig.reopen();
    expect([storedSum(rig.index, 'u1'), storedSum(rig.index, 'u2')]).toEqual(['not counted', 'not counted']);
    expect(mailboxByUniqueid(rig.index, 'u2')?.fields).toBe('FOLDERMODSEQ 7');
    const now = [...three, { uid: 4, guid: guidOf(4) }];
    expect(verdict(send(now.slice(3), crcOf(now), { highestmodseq: 11 }))).toBeUndefined();
    expect(storedSum(rig.index, 'u1')).toBe(crcOf(now));
    rig.reopen();
    expect(storedSum(rig.index, 'u1')).toBe(crcOf(now));
    expect(verdict(send([], 5, { highestmodseq: 12 }))).toBe('ask');
  });
});

/** What a mail server and its client do, with snapshots of its disks. */
class World {
  readonly rig: IndexRig;
  saved: Mail | undefined;
  now = 1_800_000_000;
  messages = 0;

  constructor(rig: IndexRig) {
    this.rig = rig;
  }

  /** Up to now, in as many parts as it takes. */
  sync(mail: Mail): void {
    while (this.syncOnce(mail)) {
      // The next part follows.
    }
  }

  /**
   * As a rolling sync_client does: what is above the backup's modseq, or everything if it knows nothing of the mailbox; of
   * many new messages a part (sync_support.c, calculate_intermediate_state).
   *
   * @returns whether more is to come
   */
  syncOnce(mail: Mail, repeated = false): boolean {
    this.now += 2 * DAY;
    const stored = mailboxByUniqueid(this.rig.index, 'u1');
    const remote = stored === undefined || isHidden(stored) ? undefined : stored;
    const crc = crcOf(mail.records.values());
    if (
      remote !== undefined &&
      Number(remote.highestmodseq) === mail.modseq &&
      remote.lastUid === mail.lastUid &&
      (crc === 0 || !remote.syncCrc || remote.crcStale || remote.syncCrc === crc)
    )
      return false;
    const part = partBehind(mail, remote);
    const records = [...mail.records.values()]
      .filter(({ uid, modseq }) => {
        if (remote !== undefined && BigInt(modseq) <= remote.highestmodseq) return false;
        if (part === undefined) return true;
        return uid <= part.lastUid && (modseq <= part.modseq || remote === undefined || uid > remote.lastUid);
      })
      .map((record) => ({ ...record, modseq: Math.min(record.modseq, part?.modseq ?? record.modseq) }))
      .sort((a, b) => a.uid - b.uid);
    if (records.length > 0) this.rig.message(...new Set(records.map(({ guid }) => guid)));
    const numbers = { lastUid: mail.lastUid, highestmodseq: mail.modseq };
    let text =
      part === undefined
        ? mailboxText({ ...INBOX, ...numbers, crc, records })
        : partOf({ lastUid: part.lastUid, highestmodseq: part.modseq, records });
    for (const { uid, modseq, updated } of records) {
      text = text.replace(
        `UID ${uid} MODSEQ ${modseq} LAST_UPDATED 1700000000`,
        `UID ${uid} MODSEQ ${modseq} LAST_UPDATED ${updated}`,
      );
    }
    const outcome = this.rig.apply(text, { time: this.now });
    if (outcome.type === 'reject') {
      expect(repeated).toBe(false);
      this.rig.heal('u1', []);
      return this.syncOnce(mail, true);
    }
    expect(outcome.type).toBe('ok');
    const checksum = outcome.type === 'ok' ? outcome.verdict : undefined;
    expect(checksum?.type).not.toBe('unusable');
    if (checksum?.type === 'ask') this.rig.heal('u1', []);
    if (checksum?.type === 'gone') {
      this.rig.apply(`EXPUNGE %(MBOXNAME user.anne UNIQUEID u1 UID (${checksum.uids.join(' ')}))`);
    }
    return part !== undefined;
  }
}

/** Of so many new messages not all are sent at once. */
const BATCH = 4;

/** How the mailbox would be with the first of what is new, or undefined. */
function partBehind(
  mail: Mail,
  remote: { lastUid: number; highestmodseq: bigint } | undefined,
): { lastUid: number; modseq: number } | undefined {
  const fresh = [...mail.records.values()].filter(({ uid }) => uid > (remote?.lastUid ?? 0));
  if (fresh.length <= BATCH) return undefined;
  fresh.sort((a, b) => a.uid - b.uid);
  const modseq = Math.min(mail.modseq, ...fresh.slice(BATCH).map((record) => record.modseq - 1));
  if (BigInt(modseq) <= (remote?.highestmodseq ?? 0n) || modseq >= mail.modseq) return undefined;
  return { lastUid: fresh[BATCH - 1]!.uid, modseq };
}

function copyOf(mail: Mail): Mail {
  return { ...mail, records: new Map([...mail.records].map(([uid, record]) => [uid, { ...record }])) };
}

const pick = fc.nat(20);
type Step = (mail: Mail, world: World) => Mail | undefined;

const append: Step = (mail, world) => {
  const uid = ++mail.lastUid;
  const guid = createHash('sha1')
    .update(String(++world.messages))
    .digest('hex');
  mail.records.set(uid, { uid, guid, modseq: ++mail.modseq, flags: [], updated: ++world.now });
  return undefined;
};

const steps: Record<string, fc.Arbitrary<Step>> = {
  append: fc.constant(append),
  flag: fc.tuple(pick, fc.subarray(['\\Seen', '\\Flagged', '$Label', 'NonJunk'])).map(([n, flags]) => {
    return (mail, world) => {
      const record = [...mail.records.values()][n % (mail.records.size || 1)];
      if (record !== undefined && !record.expunged)
        Object.assign(record, { flags, modseq: ++mail.modseq, updated: ++world.now });
      return undefined;
    };
  }),
  expunge: pick.map((n) => (mail, world) => {
    const record = [...mail.records.values()][n % (mail.records.size || 1)];
    if (record !== undefined && !record.expunged)
      Object.assign(record, { expunged: true, modseq: ++mail.modseq, updated: ++world.now });
    return undefined;
  }),
  /** Expired for good; only what a client would not look after (its deletedmodseq is not above our modseq). */
  purge: fc.constant((mail, world) => {
    const known = mailboxByUniqueid(world.rig.index, 'u1')?.highestmodseq ?? 0n;
    for (const [uid, record] of mail.records) {
      if (record.expunged && BigInt(record.modseq) <= known) mail.records.delete(uid);
    }
    return undefined;
  }),
  save: fc.constant((mail, world) => {
    world.saved = copyOf(mail);
    return undefined;
  }),
  putBack: fc.constant((mail, world) => (world.saved === undefined ? mail : copyOf(world.saved))),
  sync: fc.constant((mail, world) => {
    world.sync(mail);
    return undefined;
  }),
  /** The connection dies behind the first part. */
  syncPart: fc.constant((mail, world) => {
    world.syncOnce(mail);
    return undefined;
  }),
};

const step = fc.oneof(
  ...Object.entries(steps).map(([name, arbitrary]) => ({
    weight: name === 'append' ? 4 : name === 'sync' || name === 'flag' ? 2 : 1,
    arbitrary: arbitrary.map((run) => Object.assign(run, { [fc.toStringMethod]: () => name })),
  })),
);

test('random histories of a mail server that is put back now and then: after new mail two more syncs, and all is as it has it', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 50, size: 'max' }), (run) => {
      const one = new IndexRig();
      try {
        const world = new World(one);
        let mail: Mail = { records: new Map(), modseq: 1, lastUid: 0 };
        for (const next of run) {
          mail = next(mail, world) ?? mail;
          const sum = storedSum(one.index, 'u1');
          expect(sum).toBe(wholeSum(one.index, 'u1'));
        }
        append(mail, world);
        world.sync(mail);
        // Behind a part there is no checksum: one that was put back to just its numbers looks unchanged to the client.
        append(mail, world);
        world.sync(mail);
        world.sync(mail);
        const { id } = mailboxByUniqueid(one.index, 'u1')!;
        const live = [...mailboxMessages(one.index, id)].filter(({ expunged }) => expunged === null);
        expect(live.map(({ uid, guid, modseq }) => [uid, guid, Number(modseq)])).toEqual(
          [...mail.records.values()]
            .filter(({ expunged }) => !expunged)
            .map(({ uid, guid, modseq }) => [uid, guid, modseq])
            .sort(([a], [b]) => Number(a) - Number(b)),
        );
        // All that was said stands in the history.
        const replayed = one.replayed();
        try {
          for (const message of one.pending.values()) one.index.addMessage(message);
          expect(everything(replayed.index)).toEqual(everything(one.index));
          expect(storedSum(replayed.index, 'u1')).toBe(wholeSum(one.index, 'u1'));
        } finally {
          replayed.remove();
        }
      } finally {
        one.remove();
      }
    }),
    { numRuns: Number(process.env.CHECKSUM_RUNS ?? '40') },
  );
});
