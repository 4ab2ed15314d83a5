/** The health of the backups and the room of the partitions, into the registry. */
import type { Metrics } from './registry.ts';

/** See HealthFigures of maintenance. */
export interface HealthSample {
  backups: number;
  empty: number;
  unsurveyed: number;
  ages: readonly number[];
  stale: Readonly<Record<string, number>>;
  partitions: ReadonlyMap<string, { backups: number; storedBytes: number; contentBytes: number }>;
}

/** @param bounds of `ages`, in seconds */
export function setHealth(m: Metrics, sample: HealthSample, bounds: readonly number[]): void {
  m.backups.set({ state: 'live' }, sample.backups);
  m.backups.set({ state: 'empty' }, sample.empty);
  m.backups.set({ state: 'unsurveyed' }, sample.unsurveyed);
  bounds.forEach((bound, i) => {
    m.backupsUpdatedWithin.set({ le: String(bound) }, sample.ages[i]!);
  });
  m.backupsUpdatedWithin.set({ le: '+Inf' }, sample.backups);
  for (const [threshold, count] of Object.entries(sample.stale))
    m.staleBackups.set({ older_than: threshold }, count);
  for (const [partition, { backups, storedBytes, contentBytes }] of sample.partitions) {
    m.partitionBackups.set({ partition }, backups);
    m.partitionStored.set({ partition }, storedBytes);
    m.partitionContent.set({ partition }, contentBytes);
  }
  m.healthTimestamp.set(Date.now() / 1000);
}

export interface FilesystemSample {
  name: string;
  totalBytes: number | null;
  freeBytes: number | null;
  files: number | null;
  freeFiles: number | null;
}

/** Partitions whose filesystem cannot be asked lose their figures, so that nobody relies on old ones. */
export function setFilesystems(m: Metrics, samples: readonly FilesystemSample[]): void {
  for (const { name: partition, totalBytes, freeBytes, files, freeFiles } of samples) {
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
    m.partitionReadable.set({ partition }, totalBytes === null ? 0 : 1);
  }
}
