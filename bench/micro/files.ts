/** What is done with whole backups: recovery, verify, reindex, compact. */
import { copyFileSync, mkdirSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import pino from 'pino';
import { type CompactConfig, compactBackup } from '../../src/maintenance/compact/compact.ts';
import { PooledCompressor } from '../../src/maintenance/compact/compressors.ts';
import { MemberPool } from '../../src/maintenance/member-pool.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { VerifyPool } from '../../src/maintenance/verify-pool.ts';
import { bootTag } from '../../src/platform/boot.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { DataFile } from '../../src/store/data-file.ts';
import { openTrusted } from '../../src/store/recovery.ts';
import { ShardFigures } from '../../src/store/shard-figures.ts';
import { BackupFile } from './backup-file.ts';
import type { Benchmark, Prepared, Size } from './benchmark.ts';

/** Chunks, and bytes of content in each. */
const SHAPE: Record<Size, { chunks: number; bytes: number }> = {
  small: { chunks: 3, bytes: 2 << 20 },
  full: { chunks: 12, bytes: 16 << 20 },
};
const COMPACT: CompactConfig = {
  backupRetentionMs: 7 * 86_400_000,
  backupKeepPrevious: false,
  backupCompactMinSizeBytes: 0,
  backupCompactMaxSizeBytes: 0,
  backupCompactWorkThreshold: 1,
  chunkMaxBytes: 64 << 20,
  deflateEngine: 'auto',
};

async function makeBackup(size: Size): Promise<BackupFile> {
  const backup = new BackupFile();
  const { chunks, bytes } = SHAPE[size];
  for (let at = 0; at < chunks; at++) backup.addChunk(bytes);
  await backup.reindex();
  return backup;
}

/** The last of the chunks is a server's that was killed: nothing of it is in the index. */
async function recovery(size: Size): Promise<Prepared> {
  const backup = await makeBackup(size);
  const indexed = `${backup.dataPath}.index`;
  const saved = path.join(backup.folder, 'saved');
  copyFileSync(indexed, saved);
  const contentBefore = backup.contentBytes;
  backup.addChunk(SHAPE[size].bytes, false);
  const { dataPath, sizeBytes } = backup;
  const env = {
    config: { backupKeepPrevious: false },
    engine: loadDeflateEngine('auto'),
    bootTag: bootTag(),
    figures: new ShardFigures(),
    log: pino({ level: 'silent' }),
  };
  return {
    bytes: backup.contentBytes - contentBefore,
    isAsync: true,
    before() {
      truncateSync(dataPath, sizeBytes);
      copyFileSync(saved, indexed);
    },
    async run() {
      const file = DataFile.open(dataPath);
      try {
        const { index, fileEnd } = await openTrusted(file, 'many', env);
        index.close();
        if (fileEnd <= sizeBytes) throw new Error('nothing was recovered');
      } finally {
        file.close();
      }
    },
    close: () => backup.remove(),
  };
}

async function verify(size: Size): Promise<Prepared> {
  const backup = await makeBackup(size);
  const pool = size === 'full' ? new VerifyPool() : undefined;
  return {
    bytes: backup.sizeBytes,
    isAsync: true,
    async run() {
      const { ok, findings } = await verifyBackup({ dataPath: backup.dataPath, ...(pool && { pool }) });
      if (!ok) throw new Error(JSON.stringify(findings[0]));
    },
    async close() {
      await pool?.stop();
      backup.remove();
    },
  };
}

async function reindex(size: Size): Promise<Prepared> {
  const backup = await makeBackup(size);
  const readers = size === 'full' ? new MemberPool() : undefined;
  const engine = loadDeflateEngine('auto');
  return {
    bytes: backup.sizeBytes,
    isAsync: true,
    async run() {
      const { dataPath } = backup;
      const report = await reindexBackup({
        dataPath,
        engine,
        keepPrevious: false,
        ...(readers && { readers }),
      });
      if (report.damagedChunks > 0 || (report.messages ?? 0) === 0) throw new Error(JSON.stringify(report));
    },
    async close() {
      await readers?.stop();
      backup.remove();
    },
  };
}

/** Each time the same backup: what is compacted is no longer what it was. */
async function compact(size: Size): Promise<Prepared> {
  const backup = await makeBackup(size);
  const threads =
    size === 'full' ? { readers: new MemberPool(), compressor: new PooledCompressor('auto') } : {};
  const folder = path.join(backup.folder, 'copy');
  const dataPath = path.join(folder, path.basename(backup.dataPath));
  return {
    bytes: backup.sizeBytes,
    isAsync: true,
    before() {
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder);
      for (const suffix of ['', '.index']) copyFileSync(backup.dataPath + suffix, dataPath + suffix);
    },
    async run() {
      const { compacted } = await compactBackup({ dataPath, config: COMPACT, force: true, ...threads });
      if (!compacted) throw new Error('nothing was compacted');
    },
    async close() {
      await threads.readers?.stop();
      await threads.compressor?.stop();
      backup.remove();
    },
  };
}

const FACTS = ['inflate', 'sha1', 'cpuFlags'] as const;

export const FILES: readonly Benchmark[] = [
  {
    name: 'recovery',
    clock: 'process',
    calibrations: { javascript: 20, sqlite: 3, zlib: 3, sha1: 3 },
    facts: FACTS,
    prepare: recovery,
  },
  {
    name: 'verify',
    clock: 'process',
    calibrations: { javascript: 8, sqlite: 3, zlib: 3, sha1: 6, memcpy: 1 },
    facts: FACTS,
    prepare: verify,
  },
  {
    name: 'reindex',
    clock: 'process',
    calibrations: { javascript: 6, sqlite: 4, zlib: 3, sha1: 6, memcpy: 1, fdatasync: 5 },
    facts: FACTS,
    prepare: reindex,
  },
  {
    name: 'compact',
    clock: 'process',
    calibrations: { zlib: 50, javascript: 25, sqlite: 8, sha1: 12, memcpy: 4, fdatasync1m: 4 },
    facts: [...FACTS, 'deflate'],
    prepare: compact,
  },
];
