/**
 * A restore drill: a random sample of a backup goes the whole way that restore goes, into a scratch folder, and what lies
 * there then is compared with the backup's own records, which are read another way. So it fails wherever restore does.
 */
import fs from 'node:fs';
import type { Config } from '../../config/config.ts';
import { BackupError } from '../../platform/errors.ts';
import { indexPathOf } from '../../store/data-file.ts';
import { MaildirTarget } from '../files/maildir.ts';
import { withSource } from '../open-source.ts';
import { planRestore } from '../plan.ts';
import { RestoreReport } from '../report.ts';
import { Selection } from '../selection.ts';
import type { RestoreTarget } from '../target.ts';
import { compareMaildir, type DrillFailure } from './compare.ts';
import type { DrillRandom } from './random.ts';
import { type DrillRecord, DrillRecords } from './records.ts';
import { keepScratch, newScratch, removeScratch } from './scratch.ts';

export interface DrillOptions {
  dataPath: string;
  userid: string;
  config: Config;
  /** How many messages: a number, or a share of all (0 to 1). */
  sample: { messages: number } | { share: number };
  random: DrillRandom;
  /** Where the scratch folder is made. */
  scratchBase: string;
  /** Leave it there. */
  keep?: boolean;
  /** Gets what restore says of the backup. */
  remark?: (text: string) => void;
  /** By default a Maildir, which is what is compared. */
  openTarget?(dir: string): RestoreTarget;
}

export interface DrillReport {
  /** That were restored and compared, and their bytes. */
  messages: number;
  bytes: number;
  failures: DrillFailure[];
  /** In the sample, but something happened to them while it was restored: not compared. */
  changed: number;
  /** Live messages of the whole backup of which it has no content, and knows it. */
  absent: number;
  /** Kept on request. */
  scratch: string | undefined;
}

/** More is not put into the scratch folder at a time. */
const MAX_BYTES = 2 ** 30;

/**
 * @throws BackupError INDEX_STALE if there are no records to compare with; what restore throws: that nothing can be
 *   restored is no smaller failure than that one message cannot
 */
export async function drillBackup(options: DrillOptions): Promise<DrillReport> {
  const { dataPath, scratchBase, keep } = options;
  const records = chooseRecords(options);
  const report: DrillReport = {
    messages: 0,
    bytes: 0,
    failures: [],
    changed: 0,
    absent: records.absent,
    scratch: undefined,
  };
  if (records.chosen.length === 0) return report;
  const dir = newScratch(scratchBase);
  try {
    let chosen = records.chosen;
    let reasons: Map<string, string>;
    try {
      reasons = await restoreInto(dir, chosen, options);
    } catch (error) {
      // Compaction may have dropped some in this moment.
      if (!(error instanceof BackupError && error.code === 'NOT_FOUND')) throw error;
      const still = unchanged(dataPath, chosen);
      if (still.length === chosen.length) {
        report.messages = chosen.length;
        report.failures = chosen.map((record) => ({ kind: 'missing', text: error.message, record }));
        return report;
      }
      report.changed += chosen.length - still.length;
      chosen = still;
      fs.rmSync(dir, { recursive: true });
      fs.mkdirSync(dir, { mode: 0o700 });
      reasons = await restoreInto(dir, chosen, options);
    }
    const failures = compareMaildir(dir, chosen, options.config, (record) => reasons.get(placeOf(record)));
    settle(report, chosen, failures, dataPath);
  } finally {
    if (keep) report.scratch = keepScratch(dir);
    else removeScratch(dir);
  }
  return report;
}

function chooseRecords({ dataPath, sample, random }: DrillOptions): {
  chosen: DrillRecord[];
  absent: number;
} {
  const records = new DrillRecords(indexPathOf(dataPath));
  try {
    const count = 'messages' in sample ? sample.messages : Math.ceil(sample.share * records.count);
    const chosen: DrillRecord[] = [];
    let bytes = 0;
    for (const [table, id] of random.sample(records.ids(), count)) {
      const record = records.get(table, id);
      if (record === undefined) continue;
      if (chosen.length > 0 && bytes + record.size > MAX_BYTES) continue;
      bytes += record.size;
      chosen.push(record);
    }
    return { chosen, absent: records.absent };
  } finally {
    records.close();
  }
}

/** @returns why messages did not come back, by placeOf() */
async function restoreInto(
  dir: string,
  records: readonly DrillRecord[],
  options: DrillOptions,
): Promise<Map<string, string>> {
  const { dataPath, userid, config, remark = () => {}, openTarget = (to) => new MaildirTarget(to) } = options;
  const reasons = new Map<string, string>();
  await withSource(dataPath, { config, remark }, async (source) => {
    const selection = new Selection(source, {
      objects: records.map(placeOf),
      rules: config,
      recursive: false,
      deleted: false,
      onlyDeleted: false,
    });
    const plan = planRestore(source, {
      userid,
      rules: config,
      selection,
      into: undefined,
      withSettings: false,
    });
    const target = openTarget(dir);
    const report = new RestoreReport();
    try {
      await target.restore(plan, report);
    } finally {
      await target.close();
    }
    const uniqueids = new Map(plan.mailboxes.map(({ mailbox }) => [mailbox.mboxname, mailbox.uniqueid]));
    for (const { mailbox = '', uid, reason } of report.shortfalls) {
      reasons.set(`${uniqueids.get(mailbox)}:${uid}`, reason);
    }
  });
  return reasons;
}

/** An object as Selection takes it. */
function placeOf({ uniqueid, uid }: DrillRecord): string {
  return `${uniqueid}:${uid}`;
}

/** A failure counts only if its record is still what it was: the server may have changed it meanwhile. */
function settle(
  report: DrillReport,
  chosen: readonly DrillRecord[],
  failures: readonly DrillFailure[],
  dataPath: string,
): void {
  const failed = failures.flatMap(({ record }) => record ?? []);
  const still = new Set(failed.length === 0 ? [] : unchanged(dataPath, failed));
  const changed = new Set(failed.filter((record) => !still.has(record)));
  report.changed += changed.size;
  report.failures = failures.filter(({ record }) => record === undefined || !changed.has(record));
  for (const record of chosen) {
    if (changed.has(record)) continue;
    report.messages++;
    report.bytes += record.size;
  }
}

/** Those that stand in the index as they did. */
function unchanged(dataPath: string, chosen: readonly DrillRecord[]): DrillRecord[] {
  const records = new DrillRecords(indexPathOf(dataPath));
  try {
    return chosen.filter(
      (record) => JSON.stringify(records.get(record.table, record.id)) === JSON.stringify(record),
    );
  } finally {
    records.close();
  }
}
