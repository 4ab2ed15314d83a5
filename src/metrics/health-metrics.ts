/** The health of the backups and the room of the partitions, into the registry. */
import type { Metrics } from './registry.ts';

/** See HealthFigures of maintenance. */
export interface HealthSample {
  backups: number;
  empty: number;
  unsurveyed: number;
  ages: Float64Array;
  stale: Readonly<Record<string, number>>;
  partitions: ReadonlyMap<string, { backups: number; storedBytes: number; contentBytes: number }>;
}

export function setHealth(m: Metrics, sample: HealthSample): void {
  m.backups.set({ state: 'live' }, sample.backups);
  m.backups.set({ state: 'empty' }, sample.empty);
  m.backups.set({ state: 'unsurveyed' }, sample.unsurveyed);
  m.backupAge.set({}, sample.ages);
  for (const [threshold, count] of Object.entries(sample.stale))
    m.staleBackups.set({ older_than: threshold }, count);
  for (const [partition, { backups, storedBytes, contentBytes }] of sample.partitions) {
    m.partitionBackups.set({ partition }, backups);
    m.partitionStored.set({ partition }, storedBytes);
    m.partitionContent.set({ partition }, contentBytes);
    if (storedBytes > 0) m.partitionCompression.set({ partition }, contentBytes / storedBytes);
    else m.partitionCompression.remove({ partition });
  }
  m.healthTimestamp.set(Date.now() / 1000);
}

export interface FilesystemSample {
  name: string;
  totalBytes: number | null;
  freeBytes: number | null;
  files: number | null;
  freeFiles: number | null;
  /** Why nothing can be stored there. */
  problem?: string;
}

/** Partitions whose filesystem cannot be asked lose their figures, so that nobody relies on old ones. */
export function setFilesystems(m: Metrics, samples: readonly FilesystemSample[]): void {
  for (const { name: partition, totalBytes, freeBytes, files, freeFiles, problem } of samples) {
    const figures = [
      [m.partitionSize, totalBytes],
      [m.partitionFree, freeBytes],
      [m.partitionFiles, files],
      [m.partitionFreeFiles, freeFiles],
    ] as const;
    for (const [gauge, value] of figures) {
      if (value === null) gauge.remove({ partition });
      else gauge.set({ partition }, value);
    }
    m.partitionReadable.set({ partition }, problem === undefined ? 1 : 0);
  }
}
