import { isUtf8 } from 'node:buffer';
import { randomInt } from 'node:crypto';
import { statfsSync } from 'node:fs';
import path from 'node:path';
import type { Config, PartitionConfig } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';

/** Room on the filesystem of a partition. */
export interface PartitionUsage {
  /** Bytes that an ordinary user may still write. */
  availableBytes: number;
  totalBytes: number;
}

type SelectConfig = Pick<
  Config,
  | 'partitions'
  | 'partitionSelectMode'
  | 'partitionSelectExclude'
  | 'partitionSelectSoftUsageLimit'
  | 'partitionSelectUsageReinit'
>;

interface Candidate {
  partition: PartitionConfig;
  usage: PartitionUsage;
  availablePercent: number;
}

/** With partition_select_usage_reinit 0. */
const USAGE_LIFETIME_MS = 60_000;

/** Characters of the random part of names, as mkstemp(3) takes them. */
const NAME_CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const RANDOM_CHARACTERS = 6;
/** NAME_MAX is 255; the index and the copies that are kept have suffixes. */
const LONGEST_USERID_BYTES = 200;
/** Added to each weight of freespace-percent-weighted-delta, so that the fullest partition does not starve. */
const DELTA_PERCENT = 0.5;

/**
 * Chooses partitions for new users in the way that partition_select_mode says (imap/partlist.c of Cyrus):
 *
 * - `random`: each is as likely, whatever is free;
 * - `freespace-most`, `freespace-percent-most`: where most is free, the first of those that are equal;
 * - `freespace-percent-weighted`: at random, weighted by the per cent that is free;
 * - `freespace-percent-weighted-delta`: weighted by what is free beyond the fullest one, so that all become as full.
 *
 * partition_select_exclude leaves partitions out; those in use beyond partition_select_soft_usage_limit are left
 * out while there are others. Usage is looked up once and then after every partition_select_usage_reinit choices;
 * with 0 of these, which in Cyrus is once for each of its short-lived processes, when it is a minute old.
 * A partition whose filesystem gives no figures is left out (Cyrus then chooses among all at random).
 */
export class PartitionSelector {
  readonly #config: SelectConfig;
  readonly #usageOf: (partition: PartitionConfig) => PartitionUsage;
  readonly #random: () => number;
  #weights: { partition: PartitionConfig; weight: number }[] | undefined;
  #choices = 0;
  #measuredMs = 0;
  readonly #now: () => number;

  constructor(
    config: SelectConfig,
    usageOf = filesystemUsage,
    random: () => number = Math.random,
    now: () => number = () => performance.now(),
  ) {
    this.#config = config;
    this.#usageOf = usageOf;
    this.#random = random;
    this.#now = now;
  }

  /** @throws BackupError UNAVAILABLE when there is none to choose from */
  choose(): PartitionConfig {
    const { partitionSelectUsageReinit: reinit } = this.#config;
    const isOld = reinit > 0 ? this.#choices >= reinit : this.#now() - this.#measuredMs >= USAGE_LIFETIME_MS;
    if (isOld) this.#weights = undefined;
    if (!this.#weights) {
      this.#measuredMs = this.#now();
      this.#weights = this.#weigh();
      this.#choices = 0;
    }
    this.#choices++;
    const weights = this.#weights;
    const total = weights.reduce((sum, { weight }) => sum + weight, 0);
    let point = this.#random() * total;
    for (const { partition, weight } of weights) {
      point -= weight;
      if (point < 0) return partition;
    }
    return weights.at(-1)!.partition; // rounding
  }

  #weigh(): { partition: PartitionConfig; weight: number }[] {
    const { partitionSelectMode: mode, partitionSelectExclude: exclude } = this.#config;
    const allowed = this.#config.partitions.filter(({ name }) => !exclude.includes(name));
    if (allowed.length === 0) throw noPartition('every partition is in partition_select_exclude');
    if (mode === 'random') return allowed.map((partition) => ({ partition, weight: 1 }));

    const { candidates, failure } = this.#lookUp(allowed);
    if (candidates.length === 0) throw noPartition('the usage of no partition could be looked up', failure);
    const limit = 100 - this.#config.partitionSelectSoftUsageLimit;
    const limited = this.#config.partitionSelectSoftUsageLimit > 0;
    const below = candidates.filter(({ availablePercent }) => !limited || availablePercent > limit);
    const eligible = below.length > 0 ? below : candidates;

    if (mode === 'freespace-most') return [best(eligible, ({ usage }) => usage.availableBytes)];
    if (mode === 'freespace-percent-most')
      return [best(eligible, ({ availablePercent }) => availablePercent)];
    const least = Math.min(...eligible.map(({ availablePercent }) => availablePercent));
    const offset = mode === 'freespace-percent-weighted-delta' ? DELTA_PERCENT - least : 0;
    const weights = eligible.map(({ partition, availablePercent }) => ({
      partition,
      weight: availablePercent + offset,
    }));
    // All are full to the last byte: one is as good as another, and the error comes from writing to it.
    if (weights.every(({ weight }) => weight === 0)) return weights.map((each) => ({ ...each, weight: 1 }));
    return weights;
  }

  #lookUp(partitions: PartitionConfig[]): { candidates: Candidate[]; failure?: unknown } {
    const candidates: Candidate[] = [];
    let failure: unknown;
    for (const partition of partitions) {
      try {
        const usage = this.#usageOf(partition);
        const availablePercent = (usage.availableBytes * 100) / usage.totalBytes;
        if (availablePercent >= 0 && availablePercent <= 100) {
          candidates.push({ partition, usage, availablePercent });
        }
      } catch (error) {
        failure = error;
      }
    }
    return { candidates, failure };
  }
}

/** The first of those with the greatest value, as the only choice. */
function best(
  candidates: Candidate[],
  rank: (candidate: Candidate) => number,
): { partition: PartitionConfig; weight: number } {
  const found = candidates.reduce((one, other) => (rank(other) > rank(one) ? other : one));
  return { partition: found.partition, weight: 1 };
}

function filesystemUsage(partition: PartitionConfig): PartitionUsage {
  const { bavail, blocks, bsize } = statfsSync(partition.path);
  return {
    availableBytes: bavail * bsize,
    totalBytes: blocks * bsize,
  };
}

function noPartition(reason: string, cause?: unknown): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'choose',
    subject: 'a partition for a new user',
    reason,
    remedy: 'Mount the partitions, or change partition_select_exclude',
    cause,
  });
}

const selectors = new WeakMap<SelectConfig, PartitionSelector>();

/** Partition for a new user. Usage figures are kept per configuration and thread. @throws BackupError UNAVAILABLE */
export function choosePartition(config: Config): PartitionConfig {
  let selector = selectors.get(config);
  if (!selector) selectors.set(config, (selector = new PartitionSelector(config)));
  return selector.choose();
}

/**
 * Folder of a user's files within a partition: one letter, found in the same way as Cyrus does.
 *
 * @param userid its bytes as characters (latin1)
 * @param full `fulldirhash`: A to W by a hash of what comes before the first dot; otherwise a to z by the first
 *   letter, q for everything else
 */
export function hashFolder(userid: string, full: boolean): string {
  if (!full) {
    const first = userid.slice(0, 1).toLowerCase();
    return /^[a-z]$/.test(first) ? first : 'q';
  }
  let hash = 0;
  for (let i = 0; i < userid.length && userid[i] !== '.'; i++) {
    hash = ((hash << 3) ^ (hash >>> 5) ^ userid.charCodeAt(i)) >>> 0;
  }
  return String.fromCharCode('A'.charCodeAt(0) + (hash % 23));
}

/**
 * A name for a new data file, `USERID_XXXXXX`: unique enough that a file can be created with O_EXCL at the first
 * or second try.
 *
 * @param userid its bytes as characters (latin1)
 * @throws BackupError BAD_PARAMETERS for a userid that is no file name: with a slash it could lead out of the
 *   partition (Cyrus makes folders of it), with control characters it could not be shown
 */
export function newDataFileName(userid: string): string {
  const bytes = Buffer.from(userid, 'latin1');
  const reason =
    userid === ''
      ? 'it is empty'
      : // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what is looked for
        /[\0-\x1f\x7f/]/.test(userid)
        ? 'it has a slash or a control character'
        : bytes.length > LONGEST_USERID_BYTES
          ? `it is longer than ${LONGEST_USERID_BYTES} bytes`
          : !isUtf8(bytes) || bytes.toString('latin1') !== userid
            ? 'its bytes are not UTF-8'
            : undefined;
  if (reason !== undefined) {
    throw new BackupError({
      code: 'BAD_PARAMETERS',
      tried: 'name a data file after the userid',
      subject: JSON.stringify(userid),
      reason,
      remedy: 'Rename the user on the mail server',
    });
  }
  let name = `${bytes.toString('utf8')}_`;
  for (let i = 0; i < RANDOM_CHARACTERS; i++) name += NAME_CHARACTERS[randomInt(NAME_CHARACTERS.length)];
  return name;
}

/** The userid (bytes as characters) after which a data file or its index is named; undefined for other names. */
export function useridOfDataFile(name: string): string | undefined {
  const userid = /^(.+)_[A-Za-z0-9]{6}(?:\.index)?$/s.exec(name)?.[1];
  return userid === undefined ? undefined : Buffer.from(userid, 'utf8').toString('latin1');
}

/** Path of a new data file: `ROOT/H/USERID_XXXXXX`. @throws BackupError BAD_PARAMETERS as newDataFileName() */
export function dataFilePath(root: string, userid: string, full: boolean): string {
  return path.join(root, hashFolder(userid, full), newDataFileName(userid));
}
