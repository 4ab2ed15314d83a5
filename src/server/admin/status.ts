/** What `csync-backup status` tells of a server: read from its metrics and from the disk, never by a scan of the store. */
import { access, constants, statfs } from 'node:fs/promises';
import type { Registry } from 'prom-client';
import type { Config } from '../../config/config.ts';
import { PREFIX } from '../../metrics/registry.ts';
import { readOnlyReason } from '../../platform/mounts.ts';

/**
 * A partition of the configuration with the state of its filesystem; null where that cannot be read. `problem` is why
 * the server cannot store anything there: a filesystem that does not answer, or that has become read-only.
 */
export interface PartitionStatus {
  name: string;
  path: string;
  totalBytes: number | null;
  freeBytes: number | null;
  files: number | null;
  freeFiles: number | null;
  usedPercent: number | null;
  problem?: string;
}

export async function partitionStatus(
  config: Pick<Config, 'partitions'>,
  mayWrite: (path: string) => Promise<void> = requireWritable,
): Promise<PartitionStatus[]> {
  return await Promise.all(
    config.partitions.map(async ({ name, path }) => {
      try {
        const { bsize, blocks, bavail, bfree, files, ffree: freeFiles } = await statfs(path);
        const used = blocks - bfree;
        // As df counts: what is reserved for root is neither used nor free.
        const usedPercent = used + bavail === 0 ? 0 : Math.ceil((used * 100) / (used + bavail));
        const [totalBytes, freeBytes] = [blocks * bsize, bavail * bsize];
        const status = { name, path, totalBytes, freeBytes, files, freeFiles, usedPercent };
        const problem = await mayWrite(path).then(() => undefined, messageOf);
        return problem === undefined ? status : { ...status, problem };
      } catch (error) {
        const problem = messageOf(error);
        const unknown = {
          totalBytes: null,
          freeBytes: null,
          files: null,
          freeFiles: null,
          usedPercent: null,
        };
        return { name, path, ...unknown, problem };
      }
    }),
  );
}

async function requireWritable(path: string): Promise<void> {
  await access(path, constants.W_OK);
  const reason = readOnlyReason(path);
  if (reason !== undefined) throw new Error(reason);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Figures of the store since the server started, from the registry. */
export async function storeFigures(registry: Registry): Promise<Record<string, number>> {
  const names: Record<string, string> = {
    openBackups: 'store_open_backups',
    recoveries: 'store_recoveries_total',
    indexRebuilds: 'store_index_rebuilds_total',
    damagedChunks: 'store_damaged_chunks_total',
    failures: 'store_failures_total',
    locksRefused: 'store_locks_refused_total',
    healsRequested: 'store_heals_requested_total',
  };
  const figures: Record<string, number> = {};
  for (const [field, name] of Object.entries(names)) figures[field] = await sumOf(registry, name);
  return figures;
}

/** A counter or gauge, all its labels added up; 0 if it is not there. */
export async function sumOf(registry: Registry, name: string): Promise<number> {
  const metric = await registry.getSingleMetric(PREFIX + name)?.get();
  return metric?.values.reduce((sum, { value }) => sum + value, 0) ?? 0;
}
