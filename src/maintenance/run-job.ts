/** Carrying out a job, in the process that was started for it. */
import fs from 'node:fs';
import { BackupError } from '../platform/errors.ts';
import { emptyResult, type JobKind, type JobRequest, type JobResult } from './job.ts';
import { verifyBackup } from './verify.ts';

/** Never rejects: what goes wrong is in the result. */
export async function runJob(request: JobRequest): Promise<JobResult> {
  const sizeBytes = fs.statSync(request.path, { throwIfNoEntry: false })?.size ?? 0;
  try {
    const work = JOBS[request.kind];
    if (work === undefined) throw unknown(request.kind);
    return { ...(await work(request)), sizeBytes };
  } catch (error) {
    const code = error instanceof BackupError ? error.code : 'INTERNAL';
    const text = error instanceof Error ? error.message : String(error);
    const outcome = code === 'LOCKED' ? 'busy' : code === 'NOT_FOUND' ? 'gone' : 'failed';
    return { ...emptyResult(outcome, { code, text }), sizeBytes };
  }
}

const JOBS: Partial<Record<JobKind, (request: JobRequest) => Promise<JobResult>>> = {
  async verify({ path }) {
    const { ok, faults, codes } = await verifyBackup({ dataPath: path, wait: false });
    return { ...emptyResult(ok ? 'ok' : 'faulty'), faults, codes: { ...codes } };
  },
};

function unknown(kind: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'do',
    subject: kind,
    reason: 'this version knows no such job',
    remedy: 'Restart the server: its files were probably replaced while it ran',
  });
}
