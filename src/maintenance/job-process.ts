/**
 * The process that does maintenance beside the server: of low priority, started with the first job and ended when
 * there are no more, so that neither its memory nor its work burdens those who serve clients.
 */
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { emptyResult, type JobKind, type JobRequest, type JobResult } from './job.ts';

/** What carries jobs out, one at a time. */
export interface JobRunner {
  /** Never rejects. */
  run(request: JobRequest): Promise<JobResult>;
  /** Ends the job that is being carried out; resolves when nothing of it goes on. */
  cancel(): Promise<void>;
}

/** A module's own extension says whether sources or a build are running. */
const WORKER = fileURLToPath(new URL(`./job-worker${path.extname(import.meta.url)}`, import.meta.url));

/** Without a job for this long the process ends. */
const IDLE_MS = 10_000;

export class JobProcess implements JobRunner {
  readonly #modules: Partial<Record<JobKind, string>>;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #idleTimer: NodeJS.Timeout | undefined;
  #isCancelled = false;

  /** @param modules URLs of modules that register jobs of other layers (registerJob()) */
  constructor(modules: Partial<Record<JobKind, string>> = {}) {
    this.#modules = modules;
  }

  /** Of the process; undefined while there is none. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  async run(request: JobRequest): Promise<JobResult> {
    clearTimeout(this.#idleTimer);
    this.#isCancelled = false;
    const child = this.#child ?? this.#start();
    const result = await new Promise<JobResult>((resolve) => {
      const take = (answer: unknown) => done(answer as JobResult);
      const ended = (status: number | null, signal: string | null) => {
        const text = `its process ended with ${signal ?? `status ${status}`}`;
        done(emptyResult(this.#isCancelled ? 'cancelled' : 'failed', { code: 'INTERNAL', text }));
      };
      const done = (answer: JobResult) => {
        child.off('message', take).off('exit', ended);
        resolve(answer);
      };
      child.on('message', take).on('exit', ended);
      child.send(request, (error) => {
        if (error !== null) done(emptyResult('failed', { code: 'INTERNAL', text: error.message }));
      });
    });
    this.#idleTimer = setTimeout(() => void this.cancel(), IDLE_MS);
    this.#idleTimer.unref();
    return result;
  }

  async cancel(): Promise<void> {
    clearTimeout(this.#idleTimer);
    this.#isCancelled = true;
    // What it does can be cut off anywhere: that is what docs/crash-safety.md is about.
    this.#child?.kill('SIGKILL');
    await this.#exited;
  }

  #start(): ChildProcess {
    const child = fork(
      WORKER,
      [String(process.pid), ...Object.entries(this.#modules).map((one) => one.join('='))],
      {
        serialization: 'advanced',
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        execArgv: ['--max-semi-space-size=1'],
      },
    );
    this.#child = child;
    this.#exited = new Promise((resolve) => {
      const gone = () => {
        if (this.#child === child) this.#child = undefined;
        resolve();
      };
      child.on('exit', gone);
      child.on('error', () => {
        if (child.pid === undefined) gone(); // it could not be started
      });
    });
    return child;
  }
}
