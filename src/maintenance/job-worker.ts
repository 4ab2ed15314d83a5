/**
 * Entry of the maintenance process: one job after the other, each sent by the server over the IPC channel and
 * answered with its result. The server ends it by a signal.
 */
import os from 'node:os';
import { governReads } from '../platform/read-governor.ts';
import type { JobRequest, JobResult } from './job.ts';

/** Told by the server, which may be gone before this line is reached. */
const parent = Number(process.argv[2]);
const CHECK_PARENT_MS = 200;
let checkedMs = Number.NEGATIVE_INFINITY;

/** A server that was killed takes its maintenance along: it must not go on holding a lock. */
function endWithParent(): void {
  const nowMs = performance.now();
  if (nowMs - checkedMs < CHECK_PARENT_MS) return;
  checkedMs = nowMs;
  if (process.ppid !== parent) process.exit(0);
}

os.setPriority(os.constants.priority.PRIORITY_LOW);
const governor = governReads(endWithParent);
// Only now, so that what they read is governed.
const { runJob } = await import('./run-job.ts');

// A terminal or systemd may send these to all processes of the server; the server decides when this one ends.
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
process.on('disconnect', () => process.exit(0));
process.on('message', (request: JobRequest) => {
  governor.limit(request.bytesPerSecond);
  governor.takeRead();
  void carryOut(request).then((result) => process.send!({ ...result, readBytes: governor.takeRead() }));
});

/** Modules of other layers by the kind of job that they register, read when the first of these comes. */
const modules = new Map(process.argv.slice(3).map((text) => text.split('=', 2) as [string, string]));

async function carryOut(request: JobRequest): Promise<JobResult> {
  const module = modules.get(request.kind);
  if (module !== undefined) await import(module);
  return await runJob(request);
}
