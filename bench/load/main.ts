/** The load process: takes jobs over the IPC channel of `fork`, so that its work is nobody else's. */
import type { JobRequest, JobResponse } from './jobs.ts';
import { JobRunner } from './runner.ts';

const runner = new JobRunner();
let turn: Promise<void> = Promise.resolve();

process.on('message', ({ id, job }: JobRequest) => {
  turn = turn.then(async () => {
    let response: JobResponse;
    try {
      response = { id, result: await runner.run(job) };
    } catch (error) {
      response = { id, error: error instanceof Error ? error.message : String(error) };
    }
    process.send!(response);
  });
});
process.on('disconnect', () => process.exit(0));
