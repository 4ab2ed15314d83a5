/**
 * Figures of one backup, for `list` and `stat`: sizes, times and how much would remain after compaction. Reads
 * without a lock, since nothing that an index names is ever changed in place; where another program replaced the
 * files meanwhile it looks again.
 */
import fs from 'node:fs';
import { BackupError, hasErrno } from '../platform/errors.ts';
import { lockHolder } from '../platform/file-lock.ts';
import { ioError } from '../platform/io-error.ts';
import { indexPathOf } from '../store/data-file.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { indexError } from '../store/index/index-error.ts';
import { TableFile, type TableValue } from '../store/index/table-file.ts';
import { checkLastChunk, type LastChunk } from './stat-check.ts';

export interface StatOptions {
  /** Count what would remain if what was expunged up to this time (seconds since 1970) went; absent: do not count. */
  compactableSince?: number;
  /** Check the last whole chunk against the index. */
  check?: boolean;
  /** What to do about a backup that is being written to. */
  locked: 'read' | 'refuse' | 'wait';
}

export interface BackupStat {
  /** Of the data file, in bytes; null where it is missing. */
  sizeBytes: number | null;
  /** Null where it is missing. */
  indexSizeBytes: number | null;
  chunks: number;
  /** Length of all chunks uncompressed. */
  contentBytes: number;
  /** Length of the messages that are live, or were until `compactableSince`; null if not asked for. */
  compactableBytes: number | null;
  /** When the latest chunk was begun, in seconds since 1970; null without chunks. */
  lastStart: number | null;
  /** When the latest line that the index knows was stored; null without chunks. */
  lastEnd: number | null;
  /** Why figures are missing or doubtful. */
  problem?: StatProblem;
}

export interface StatProblem {
  /** As in BackupError. */
  code: string;
  text: string;
}

interface IndexFigures {
  chunks: number;
  contentBytes: number;
  compactableBytes: number | null;
  latest: { tsStart: number | null; tsEnd: number | null } | undefined;
  lastWhole: LastChunk | undefined;
}

const RETRIES = 3;
const LOCK_POLL_MS = 20;

/** Never throws for what is wrong with the backup: that is `problem`. */
export function statBackup(path: string, options: StatOptions): BackupStat {
  const stat = emptyStat();
  for (let tries = 1; ; tries++) {
    let fd: number | undefined;
    try {
      fd = fs.openSync(path, 'r');
      const file = fs.fstatSync(fd);
      stat.sizeBytes = file.size;
      waitForLock(fd, path, options.locked);
      fill(stat, path, file.size, fd, options);
      if (stat.problem === undefined || tries === RETRIES || isSame(path, file)) return stat;
      Object.assign(stat, emptyStat());
    } catch (error) {
      stat.problem = problemOf(error, path);
      return stat;
    } finally {
      if (fd !== undefined) fs.closeSync(fd);
    }
  }
}

function emptyStat(): BackupStat {
  return {
    sizeBytes: null,
    indexSizeBytes: null,
    chunks: 0,
    contentBytes: 0,
    compactableBytes: null,
    lastStart: null,
    lastEnd: null,
    problem: undefined,
  };
}

function fill(stat: BackupStat, path: string, sizeBytes: number, fd: number, options: StatOptions): void {
  const indexPath = indexPathOf(path);
  stat.indexSizeBytes = fs.statSync(indexPath, { throwIfNoEntry: false })?.size ?? null;
  if (sizeBytes === 0 && !stat.indexSizeBytes) {
    // Made by a lock or a session that has not stored anything yet.
    if (options.compactableSince !== undefined) stat.compactableBytes = 0;
    return;
  }
  const figures =
    fromTables(indexPath, options.compactableSince) ?? fromSql(indexPath, options.compactableSince);
  stat.chunks = figures.chunks;
  stat.contentBytes = figures.contentBytes;
  stat.compactableBytes = figures.compactableBytes;
  stat.lastStart = figures.latest?.tsStart ?? null;
  // A chunk under construction has no end yet.
  stat.lastEnd = figures.latest?.tsEnd ?? stat.lastStart;
  if (!options.check || figures.lastWhole === undefined) return;
  const wrong = checkLastChunk(fd, sizeBytes, figures.lastWhole);
  if (wrong !== undefined) stat.problem = { code: 'CHUNK_CORRUPT', text: `${path}: ${wrong}` };
}

function waitForLock(fd: number, path: string, locked: StatOptions['locked']): void {
  if (locked === 'read') return;
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (;;) {
    const holder = lockHolder(fd, 'shared');
    if (holder === undefined) return;
    if (locked === 'refuse') {
      throw new BackupError({
        code: 'LOCKED',
        tried: 'read',
        subject: path,
        reason: holder === 0 ? 'it is being written to' : `process ${holder} has it locked`,
        remedy: 'Try again later',
      });
    }
    Atomics.wait(sleeper, 0, 0, LOCK_POLL_MS);
  }
}

function problemOf(error: unknown, path: string): StatProblem {
  if (hasErrno(error, 'ENOENT')) return { code: 'NOT_FOUND', text: `${path} does not exist` };
  const known = error instanceof BackupError ? error : ioError(error, 'open', path);
  return { code: known.code, text: known.message };
}

/** Whether the path still names the file that was read. */
function isSame(path: string, file: fs.Stats): boolean {
  const now = fs.statSync(path, { throwIfNoEntry: false });
  return now?.ino === file.ino && now.dev === file.dev;
}

/** From the index's bytes; undefined where SQLite has to be asked. */
function fromTables(indexPath: string, since: number | undefined): IndexFigures | undefined {
  let tables: TableFile | undefined;
  try {
    tables = TableFile.read(indexPath);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return undefined;
    throw ioError(error, 'read', indexPath);
  }
  if (tables === undefined) return undefined;
  const figures: IndexFigures = {
    chunks: 0,
    contentBytes: 0,
    compactableBytes: null,
    latest: undefined,
    lastWhole: undefined,
  };
  const complete = tables.rows('chunk', 7, (id, [, tsStart, tsEnd, offset, length, , dataSha1]) => {
    figures.chunks++;
    figures.contentBytes += number(length) ?? 0;
    figures.latest = { tsStart: number(tsStart), tsEnd: number(tsEnd) };
    if (typeof length !== 'number' || typeof dataSha1 !== 'string') return;
    figures.lastWhole = { id, offset: Number(offset), length, dataSha1 };
  });
  if (!complete) return undefined;
  if (since === undefined) return figures;
  const live = new Set<number>();
  const linked = tables.rows('mailbox_message', 11, (_, values) => {
    const expunged = values[10];
    if (expunged === null || Number(expunged) > since) live.add(Number(values[2]));
  });
  let compactableBytes = 0;
  const summed = tables.rows('message', 6, (id, values) => {
    if (live.has(id)) compactableBytes += number(values[5]) ?? 0;
  });
  return linked && summed ? { ...figures, compactableBytes } : undefined;
}

function number(value: TableValue | undefined): number | null {
  return typeof value === 'number' ? value : null;
}

/** By SQLite, for indexes that are large or in the middle of a change. */
function fromSql(indexPath: string, since: number | undefined): IndexFigures {
  const index = BackupIndex.open(indexPath, { readonly: true });
  try {
    const [chunks, contentBytes] = index
      .statement('SELECT count(*), coalesce(sum(length), 0) FROM chunk', 'raw')
      .get() as [number, number];
    const latest = index.statement(LATEST_CHUNK).get() as IndexFigures['latest'];
    const lastWhole = index.statement(LAST_WHOLE_CHUNK).get() as LastChunk | undefined;
    const compactableBytes =
      since === undefined ? null : (index.statement(COMPACTABLE, 'pluck').get(since) as number);
    return { chunks, contentBytes, compactableBytes, latest, lastWhole };
  } catch (error) {
    throw indexError(error, 'read the index', indexPath);
  } finally {
    index.close();
  }
}

const LATEST_CHUNK = 'SELECT ts_start AS tsStart, ts_end AS tsEnd FROM chunk ORDER BY id DESC LIMIT 1';
const LAST_WHOLE_CHUNK = `SELECT id, offset, length, data_sha1 AS dataSha1 FROM chunk
  WHERE length IS NOT NULL AND data_sha1 IS NOT NULL ORDER BY id DESC LIMIT 1`;
/** As Cyrus counts it: messages that are in a mailbox, or were until then. */
const COMPACTABLE = `SELECT coalesce(sum(size), 0) FROM message WHERE id IN
  (SELECT message_id FROM mailbox_message WHERE expunged IS NULL OR expunged > ?)`;
