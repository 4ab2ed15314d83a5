import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import type { Random } from '../support/random.ts';

const SECTOR_BYTES = 512;

/** Data files below a partition, those in staging folders included. */
export function dataFiles(partition: string): string[] {
  return readdirSync(partition, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /_[^_.]{6}$/.test(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name));
}

/**
 * Makes of the files of a killed server what a power failure could have left of them: nothing that was synced
 * is touched, anything else may be gone, garbled or torn.
 *
 * Synced are each data file up to its length at the last acknowledgement, and an index up to the trailer of
 * the last chunk: it is synced before that trailer is written. Where an index was written to since, all of the
 * data file is synced: that comes first. Where it was not, it is as it was when its last chunk was finished, which
 * synced it.
 */
export class PowerLoss {
  readonly #partition: string;
  readonly #random: Random;
  /** Length of each data file at the last acknowledgement, by inode: a rename of a user moves files. */
  readonly #durable = new Map<number, number>();
  /** When each index was last written to at that time, in nanoseconds, by the data file's inode. */
  readonly #indexTimes = new Map<number, bigint>();
  /** An index as it once was, by the data file's inode. */
  readonly #oldIndexes = new Map<number, Buffer>();

  constructor(partition: string, random: Random) {
    this.#partition = partition;
    this.#random = random;
  }

  /** To be called when the server has acknowledged something, and no command is under way. */
  acknowledged(): void {
    for (const file of dataFiles(this.#partition)) {
      const index = `${file}.index`;
      // First the index: the server may be finishing what RESTART ended, and then both grow.
      const indexTime = modifiedNs(index);
      const { ino, size } = statSync(file);
      this.#durable.set(ino, size);
      this.#indexTimes.set(ino, indexTime);
      if (this.#random.chance(0.2) && existsSync(index)) this.#oldIndexes.set(ino, readFileSync(index));
    }
  }

  /** The power fails: to be called when the server is dead. Returns what was done, for a failure's text. */
  strike(): string[] {
    const done: string[] = [];
    for (const file of dataFiles(this.#partition)) {
      const { ino } = statSync(file);
      const isIndexSynced = endsInWholeMember(file);
      // One that is in its folder already was synced before it came there, acknowledged or not.
      const isIndexOld = this.#indexTimes.get(ino) === modifiedNs(`${file}.index`);
      const atLeast = isIndexOld ? this.#durable.get(ino) : statSync(file).size;
      const durable = file.includes('/.staging/') ? 0 : (atLeast ?? statSync(file).size);
      const what = [...this.#damageTail(file, durable)];
      if (!isIndexSynced && !isIndexOld)
        what.push(...this.#damageIndex(`${file}.index`, this.#oldIndexes.get(ino)));
      done.push(`${path.basename(file)}: ${what.join(', ')}`);
    }
    return done;
  }

  *#damageTail(file: string, durable: number): Generator<string> {
    const bytes = readFileSync(file);
    if (bytes.length <= durable) return;
    const how = this.#random.pick(['keep', 'cut', 'cut all', 'garble', 'zero'] as const);
    yield `${bytes.length - durable} bytes not synced: ${how}`;
    if (how === 'cut all') truncateSync(file, durable);
    if (how === 'cut') truncateSync(file, this.#random.int(durable, bytes.length));
    if (how !== 'garble' && how !== 'zero') return;
    const firstSector = Math.ceil(durable / SECTOR_BYTES) * SECTOR_BYTES;
    if (how === 'garble' && firstSector > durable)
      bytes.fill(0, durable, Math.min(firstSector, bytes.length));
    for (let at = firstSector; at < bytes.length; at += SECTOR_BYTES) {
      if (this.#random.chance(0.5)) continue;
      const end = Math.min(at + SECTOR_BYTES, bytes.length);
      if (how === 'zero') bytes.fill(0, at, end);
      else bytes.set(this.#random.bytes(end - at), at);
    }
    writeFileSync(file, bytes);
  }

  *#damageIndex(index: string, old: Buffer | undefined): Generator<string> {
    if (!existsSync(index)) return;
    const how = this.#random.pick(['keep', 'torn', 'torn', 'no journal', 'cut', 'gone'] as const);
    yield `index ${how}`;
    const journal = `${index}-journal`;
    if (how !== 'keep') rmSync(journal, { force: true });
    if (how === 'gone') rmSync(index);
    if (how === 'cut') truncateSync(index, this.#random.int(0, statSync(index).size));
    if (how !== 'torn' || old === undefined) return;
    const fresh = readFileSync(index);
    const page = fresh.readUInt16BE(16) || 65_536;
    for (let at = 0; at < Math.min(old.length, fresh.length); at += page) {
      if (this.#random.chance(0.5)) old.copy(fresh, at, at, Math.min(at + page, old.length));
    }
    writeFileSync(index, fresh);
  }
}

function modifiedNs(file: string): bigint {
  return statSync(file, { bigint: true, throwIfNoEntry: false })?.mtimeNs ?? 0n;
}

/** True if the file is empty or its last member is complete, trailer and all. */
function endsInWholeMember(file: string): boolean {
  const bytes = readFileSync(file);
  if (bytes.length === 0) return true;
  try {
    zlib.gunzipSync(bytes);
    return true;
  } catch {
    return false;
  }
}
