import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { BackupError } from '../../src/platform/errors.ts';
import type { Job, JobResponse, JobResult } from './jobs.ts';

/** The load generator as a process of its own. */
export class LoadProcess {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { resolve: (result: JobResult) => void; reject: (error: Error) => void }
  >();
  #jobs = 0;

  constructor() {
    this.#child = fork(path.join(import.meta.dirname, 'main.ts'), {
      execArgv: ['--max-old-space-size=8192'],
    });
    this.#child.on('message', (response: JobResponse) => {
      const waiting = this.#waiting.get(response.id);
      this.#waiting.delete(response.id);
      if ('result' in response) waiting?.resolve(response.result);
      else waiting?.reject(failed(response.error));
    });
    this.#child.on('exit', (status, signal) => {
      for (const { reject } of this.#waiting.values()) reject(failed(`it ended (${signal ?? status})`));
      this.#waiting.clear();
    });
  }

  run(job: Job): Promise<JobResult> {
    const id = ++this.#jobs;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, job }, (error) => error && reject(error));
    });
  }

  stop(): void {
    this.#child.kill();
  }
}

function failed(reason: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'play',
    subject: 'the load',
    reason,
    remedy: "See the server's log, which the benchmark leaves behind with --keep",
  });
}
