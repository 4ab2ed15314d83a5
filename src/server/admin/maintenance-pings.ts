/**
 * `backup_ping_url`: tells a dead man's switch, such as healthchecks.io, that maintenance has done its work. It
 * raises the alarm when it hears nothing for too long, whatever the reason: so nothing is sent of what went wrong.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Config } from '../../config/config.ts';
import type { JobKind } from '../../maintenance/job.ts';
import type { Metrics } from '../../metrics/registry.ts';
import { BackupError } from '../../platform/errors.ts';
import { sendRequest } from '../../platform/http-request.ts';

export interface MaintenancePingsOptions {
  config(): Pick<Config, 'pingUrl' | 'tlsServerCa'>;
  metrics: Metrics;
  log: Logger;
  /** Before each further try. */
  retriesMs?: readonly number[];
  timeoutMs?: number;
}

/** One lost ping must not wake somebody, nor one that is late by a few minutes. */
const RETRIES_MS = [5000, 30_000, 120_000];
const TIMEOUT_MS = 10_000;
/** Verification goes on all the time. */
const VERIFY_EVERY_MS = 3600_000;

export class MaintenancePings {
  readonly #o: MaintenancePingsOptions;
  /** What is being told now, by task. */
  readonly #sending = new Map<JobKind, AbortController>();
  #verifyMs = Number.NEGATIVE_INFINITY;
  #faulty = 0;

  constructor(o: MaintenancePingsOptions) {
    this.#o = o;
  }

  /** Backups in which the last verification found faults. */
  set faulty(count: number) {
    this.#faulty = count;
  }

  /** A backup was verified and is whole: told at most once an hour, and while all others are so, too. */
  verified(nowMs: number): void {
    if (this.#faulty > 0 || nowMs - this.#verifyMs < VERIFY_EVERY_MS) return;
    this.#verifyMs = nowMs;
    this.succeeded('verify');
  }

  /** A run over all backups ended well. */
  succeeded(task: JobKind): void {
    const { pingUrl, tlsServerCa } = this.#o.config();
    if (pingUrl === undefined) return;
    // A new success is told in place of one that could not be told yet.
    this.#sending.get(task)?.abort();
    const control = new AbortController();
    this.#sending.set(task, control);
    void this.#tell(task, new URL(pingUrl.replaceAll('{task}', task)), tlsServerCa, control.signal).finally(
      () => {
        if (this.#sending.get(task) === control) this.#sending.delete(task);
      },
    );
  }

  /** No more tries. */
  stop(): void {
    for (const control of this.#sending.values()) control.abort();
  }

  async #tell(task: JobKind, url: URL, caFile: string | undefined, signal: AbortSignal): Promise<void> {
    const { metrics, log, retriesMs = RETRIES_MS, timeoutMs = TIMEOUT_MS } = this.#o;
    const remedy =
      'Nothing else depends on it; see that backup_ping_url is right and can be reached from here';
    const request = { url, method: 'GET', timeoutMs, caFile, tried: 'ping', remedy } as const;
    for (let tries = 1; ; tries++) {
      try {
        await sendRequest(request);
        metrics.maintenancePings.inc({ task, result: 'ok' });
        log.debug({ task, tries }, 'told that maintenance went well');
        return;
      } catch (error) {
        if (signal.aborted) return;
        const pauseMs = retriesMs[tries - 1];
        if (pauseMs === undefined) {
          metrics.maintenancePings.inc({ task, result: 'failed' });
          const code = error instanceof BackupError ? error.code : 'INTERNAL';
          log.warn({ err: error, task, tries, code }, 'nobody could be told that maintenance went well');
          return;
        }
        const isOver = await sleep(pauseMs, false, { signal, ref: false }).catch(() => true);
        if (isOver) return;
      }
    }
  }
}
