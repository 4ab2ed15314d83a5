/** Carrying out a job, in the process that was started for it. */
import fs from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { SHARED_USERID } from '../csync/mailbox-name.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { createLogger } from '../platform/log.ts';
import { Catalog } from '../store/catalog.ts';
import { compactBackup } from './compact/compact.ts';
import { type CompactReport, freedBytes } from './compact/report.ts';
import { isExpired, parseDeletedKey, removeBackup } from './delete.ts';
import { noteVerified } from './heal.ts';
import { emptyResult, type JobKind, type JobRequest, type JobResult } from './job.ts';
import { resultOfMissingFile } from './lost-file.ts';
import { configuredPuller, lastChangeMs, type Puller } from './pull.ts';
import { verifyBackup } from './verify.ts';

/** A session answers its end before it has given up the lock; finishing a chunk takes a moment. */
const LOCK_PATIENCE_MS = 1000;
const LOCK_POLL_MS = 50;

/** Never rejects: what goes wrong is in the result. */
export async function runJob(request: JobRequest): Promise<JobResult> {
  const sizeBytes = fs.statSync(request.path, { throwIfNoEntry: false })?.size ?? 0;
  try {
    const work = JOBS[request.kind];
    if (work === undefined) throw unknown(request.kind);
    const result = await patiently(() => work(request)).catch(resultOfError);
    return { ...(result.outcome === 'gone' ? resultOfMissingFile(request) : result), sizeBytes };
  } catch (error) {
    return { ...resultOfError(error), sizeBytes };
  }
}

function resultOfError(error: unknown): JobResult {
  const code = error instanceof BackupError ? error.code : 'INTERNAL';
  const text = error instanceof Error ? error.message : String(error);
  const outcome = code === 'LOCKED' ? 'busy' : code === 'NOT_FOUND' ? 'gone' : 'failed';
  return emptyResult(outcome, { code, text });
}

async function patiently(work: () => Promise<JobResult>): Promise<JobResult> {
  for (const fromMs = Date.now(); ; ) {
    try {
      return await work();
    } catch (error) {
      const isLocked = error instanceof BackupError && error.code === 'LOCKED';
      if (!isLocked || Date.now() - fromMs >= LOCK_PATIENCE_MS) throw error;
    }
    await sleep(LOCK_POLL_MS);
  }
}

type JobWork = (request: JobRequest) => Promise<JobResult>;

/** For work of layers above this one: a module that the process is told to load says what it can do. */
export function registerJob(kind: JobKind, work: JobWork): void {
  JOBS[kind] = work;
}

const JOBS: Partial<Record<JobKind, JobWork>> = {
  async verify({ path, userid, config }) {
    const report = await verifyBackup({ dataPath: path, wait: false, owner: { userid, rules: config } });
    const { ok, faults, codes } = report;
    if (ok) return { ...emptyResult('ok'), codes: { ...codes } };
    const found = { faults, codes: { ...codes } };
    try {
      // What is lost is asked for again; whoever has come meanwhile goes first.
      const noted = await noteVerified(report, {
        userid,
        engine: loadDeflateEngine(config.deflateEngine),
        wait: true,
        log: jobLog(),
      });
      const isMended = noted?.pendingMailboxes === 0;
      return { ...emptyResult('faulty'), ...found, ...(isMended && { isMended }) };
    } catch (error) {
      // The damage is there all the same. It is not asked for yet.
      const { outcome, code, text } = resultOfError(error);
      if (outcome !== 'failed') throw error; // somebody has it, or has moved it
      return { ...emptyResult('faulty', { code: code!, text: text! }), ...found };
    }
  },

  async compact({ path, userid, config }) {
    const removedBytes = await removeIfExpired(userid, path, config);
    if (removedBytes !== undefined) return { ...emptyResult('removed'), freedBytes: removedBytes };
    const report = await compactBackup({ dataPath: path, userid, config, log: jobLog() });
    if (!report.compacted && report.lost === null) return emptyResult('unneeded');
    return { ...resultOfCompaction(report), freedBytes: freedBytes(report) };
  },

  async pull({ userid, path, config, doneMs, isForced }) {
    const isNobodys = userid.startsWith('%') && userid !== SHARED_USERID;
    const now = Date.now();
    // A line from when the clock was ahead says nothing of how old the backup is.
    const lastMs = Math.max(...[doneMs, lastChangeMs(path)].filter((ms) => ms <= now), 0);
    const isFresh = !isForced && now - lastMs < config.pullOlderThanMs;
    if (isNobodys || isFresh) return emptyResult('unneeded');
    const result = await pullerOf(config).pull(userid, path);
    if (result.ok) return emptyResult('ok');
    const text = `${result.server}: ${result.text}`;
    return emptyResult('failed', { code: result.code ?? 'UNAVAILABLE', text });
  },
};

let log: Logger | undefined;

/** Standard error of the process is that of the server: what is found on the way, and put aside, stands in its log. */
function jobLog(): Logger {
  log ??= createLogger('warn');
  return log;
}

/** As `csync-backup compact` ends with 65. */
function resultOfCompaction(report: CompactReport): JobResult {
  const { damagedChunks, damagedMessages, damagedPath, keptAll, lost } = report;
  if (keptAll !== null) {
    const text = `nothing was dropped: ${keptAll}`;
    return { ...emptyResult('faulty', { code: 'INTERNAL', text }), faults: 1 };
  }
  if (lost !== null) {
    const text = `what was there is lost in part: its index did not fit, and was made anew (${lost.damagedChunks} chunks damaged, ${lost.lostBytes} bytes lost)`;
    return {
      ...emptyResult('faulty', { code: 'CHUNK_CORRUPT', text }),
      faults: 1,
      codes: { CHUNK_MISSING: 1 },
    };
  }
  if (damagedChunks === 0) return emptyResult('ok');
  const text = `${damagedChunks} damaged chunks, kept as ${damagedPath}`;
  return {
    ...emptyResult('faulty', { code: 'CHUNK_CORRUPT', text }),
    faults: damagedChunks + damagedMessages,
    codes: { CHUNK_CORRUPT: damagedChunks, ...(damagedMessages > 0 && { MESSAGE_DAMAGED: damagedMessages }) },
  };
}

/** @returns bytes that are free now; undefined for a backup that is to be kept */
async function removeIfExpired(key: string, dataPath: string, config: Config): Promise<number | undefined> {
  const parsed = parseDeletedKey(key);
  if (parsed === undefined) return undefined;
  const catalog = new Catalog(config.backupDbPath);
  try {
    const isOver = isExpired(
      { key, dataPath, ...parsed },
      { catalog, retentionMs: config.backupRetentionMs },
    );
    return isOver ? (await removeBackup({ catalog, userid: key, dataPath })).removedBytes : undefined;
  } finally {
    catalog.close();
  }
}

/** Its connections stay open from one job to the next. */
let puller: { of: string; puller: Puller } | undefined;

function pullerOf(config: Config): Puller {
  const { pullServers, pullAuthname, pullPasswordFile, pullChannel, tlsServerCa } = config;
  const of = JSON.stringify([pullServers, pullAuthname, pullPasswordFile, pullChannel, tlsServerCa]);
  if (puller?.of !== of) {
    void puller?.puller.close();
    puller = { of, puller: configuredPuller(config) };
  }
  return puller.puller;
}

function unknown(kind: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'do',
    subject: kind,
    reason: 'this version knows no such job',
    remedy: 'Restart the server: its files were probably replaced while it ran',
  });
}
