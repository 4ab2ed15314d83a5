/**
 * Many files, none of which is seen under its name before its bytes are on disk: they are written under other names,
 * the file system is synced, they get their names. One sync serves thousands, and runs while the next are written. So
 * what a run that was killed has left under its name is whole, and the next run need not look into it.
 */
import fs from 'node:fs';
import path from 'node:path';
import { crashPoint } from '../../platform/crash-points.ts';
import { writeAllSync } from '../../platform/durable.ts';
import { hasErrno } from '../../platform/errors.ts';
import { syncFilesystems } from '../../platform/sync-filesystems.ts';
import { NAMES_FILE, namesTable } from './file-names.ts';
import { targetError } from './target-error.ts';

const MAX_BATCH_FILES = 4096;
const MAX_BATCH_BYTES = 128 << 20;
const { O_CREAT, O_NOFOLLOW, O_TRUNC, O_WRONLY } = fs.constants;

interface Batch {
  /** Name now, name then. */
  renames: [part: string, file: string][];
  bytes: number;
}

export class DurableFiles {
  /** A folder of each file system that is written to, by device. */
  readonly #devices = new Map<number, string>();
  readonly #folders = new Set<string>();
  #batch: Batch = { renames: [], bytes: 0 };
  #running: Promise<void> | undefined;

  /** @param root folder around all that is written; it is made if need be */
  constructor(root: string) {
    this.folder(root);
  }

  /** Makes a folder for the user alone, unless it is there. */
  folder(folder: string): void {
    if (this.#folders.has(folder)) return;
    try {
      makeFolder(folder);
      this.#devices.set(fs.statSync(folder).dev, folder);
    } catch (error) {
      throw targetError(error, 'make the folder', folder);
    }
    if (this.#folders.size > MAX_BATCH_FILES) this.#folders.clear();
    this.#folders.add(folder);
  }

  /**
   * Writes a file that gets its name later; nothing is left of it if `pieces` throws.
   *
   * @param part the name it has until then
   * @param nameFor its name, which may depend on how many bytes it has
   * @param time of modification, in seconds
   * @returns its size
   */
  write(
    part: string,
    nameFor: string | ((size: number) => string),
    pieces: Iterable<Uint8Array>,
    time?: number,
  ): number {
    const size = this.#writePart(part, pieces, time);
    crashPoint('restore-file-written');
    this.add(part, typeof nameFor === 'string' ? nameFor : nameFor(size), size);
    return size;
  }

  /** Takes a file that was written already, of this size. */
  add(part: string, file: string, size: number): void {
    this.#batch.renames.push([part, file]);
    this.#batch.bytes += size;
  }

  /** Call it between files: has a batch that is full synced. */
  async settle(): Promise<void> {
    if (this.#batch.bytes < MAX_BATCH_BYTES && this.#batch.renames.length < MAX_BATCH_FILES) return;
    await this.#running;
    const batch = this.#batch;
    this.#batch = { renames: [], bytes: 0 };
    this.#running = this.#finishBatch(batch);
    // Whoever waits for it sees the error.
    this.#running.catch(() => {});
  }

  /** All files have their names, and those are on disk. */
  async finish(): Promise<void> {
    await this.#running;
    this.#running = undefined;
    await this.#finishBatch(this.#batch);
    this.#batch = { renames: [], bytes: 0 };
    await this.#sync();
  }

  /** After an error: what is whole gets its name, so that the next run finds it there, and nothing else is left. */
  async abandon(): Promise<void> {
    try {
      await this.finish();
    } catch {
      // The error that led here says more than that of a disk that is still full.
      for (const [part] of this.#batch.renames) fs.rmSync(part, { force: true });
    }
  }

  async #finishBatch({ renames }: Batch): Promise<void> {
    if (renames.length === 0) return;
    await this.#sync();
    crashPoint('restore-files-synced');
    for (const [part, file] of renames) {
      try {
        fs.renameSync(part, file);
      } catch (error) {
        throw targetError(error, 'write', file);
      }
      crashPoint('restore-file-renamed');
    }
    crashPoint('restore-files-renamed');
  }

  async #sync(): Promise<void> {
    await syncFilesystems([...this.#devices.values()]);
  }

  #writePart(part: string, pieces: Iterable<Uint8Array>, time: number | undefined): number {
    const failed = (error: unknown) => targetError(error, 'write', part);
    const fd = attempt(() => fs.openSync(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600), failed);
    let size = 0;
    let isWhole = false;
    try {
      for (const piece of pieces) {
        attempt(() => writeAllSync(fd, [piece], size), failed);
        size += piece.length;
      }
      if (time !== undefined) attempt(() => fs.futimesSync(fd, time, time), failed);
      isWhole = true;
    } finally {
      fs.closeSync(fd);
      if (!isWhole) fs.rmSync(part, { force: true });
    }
    return size;
  }
}

/** With those around it. (The recursive form of node:fs does not end where no folder can be made, as in /proc.) */
function makeFolder(folder: string): void {
  try {
    fs.mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (hasErrno(error, 'EEXIST') && fs.statSync(folder).isDirectory()) return;
    if (!hasErrno(error, 'ENOENT') || path.dirname(folder) === folder) throw error;
    makeFolder(path.dirname(folder));
    fs.mkdirSync(folder, { mode: 0o700 });
  }
}

/** Errors of the file, and not those of what is written into it. */
export function attempt<T>(call: () => T, failed: (error: unknown) => Error): T {
  try {
    return call();
  } catch (error) {
    throw failed(error);
  }
}

/** Whether it is there, whatever it is. */
export function isThere(file: string): boolean {
  return fs.lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}

/** Of a folder, one after the other; none if it is not there. */
export function* namesIn(folder: string): Generator<string, void> {
  let dir: fs.Dir;
  try {
    dir = fs.opendirSync(folder, { bufferSize: 1024 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw targetError(error, 'read the folder', folder);
  }
  try {
    for (let entry = dir.readSync(); entry !== null; entry = dir.readSync()) yield entry.name;
  } finally {
    dir.closeSync();
  }
}

/** Says in a file of its own which names had to be cut, what earlier runs said included. */
export function writeNames(files: DurableFiles, dir: string, cut: ReadonlyMap<string, string>): void {
  if (cut.size === 0) return;
  const file = path.join(dir, NAMES_FILE);
  const before = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n') : [];
  const known = before
    .filter((line) => line.includes('\t'))
    .map((line) => line.split('\t', 2) as [string, string]);
  files.write(`${file}.part`, file, [namesTable(new Map([...known, ...cut]))]);
}
