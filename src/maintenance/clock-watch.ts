/**
 * Whether the machine's clock may be believed. By one that is ahead the retention of everything is over, and by one that has gone
 * back nothing is due until the wrong time has come again.
 */
import type { Logger } from 'pino';

/** The clock may be corrected by so much without a word. */
const SLACK_MS = 60_000;
/** One that jumps ahead by more is believed after a day. */
const JUMP_MS = 6 * 3600_000;
const TRUST_MS = 24 * 3600_000;
/** A server that knows of nothing younger was off for so long, or its clock is ahead. */
const LONG_OFF_MS = 7 * 24 * 3600_000;

export class ClockWatch {
  readonly #log: Logger;
  /** As of the last look, by the clock and by performance.now(). */
  #clockMs = Date.now();
  #steadyMs: number = performance.now();
  /** By performance.now(). */
  #trustedFromMs = 0;

  /** @param latestMs the latest time that was noted before; 0: none was */
  constructor(latestMs: number, log: Logger) {
    this.#log = log;
    if (latestMs > 0 && this.#clockMs - latestMs > LONG_OFF_MS) this.#distrust(this.#clockMs - latestMs);
  }

  /** Whether the clock may be believed where something is dropped because of its age. */
  get isTrusted(): boolean {
    return performance.now() >= this.#trustedFromMs;
  }

  /** @returns by how many milliseconds the clock has gone back since the last look, or 0 */
  look(nowMs: number): number {
    const steadyMs = performance.now();
    const aheadMs = nowMs - this.#clockMs - (steadyMs - this.#steadyMs);
    const backMs = this.#clockMs - nowMs;
    this.#clockMs = nowMs;
    this.#steadyMs = steadyMs;
    if (aheadMs > JUMP_MS) this.#distrust(aheadMs);
    if (backMs > SLACK_MS) this.#log.warn({ seconds: backMs / 1000 }, 'the clock has gone back');
    return Math.max(0, backMs);
  }

  #distrust(aheadMs: number): void {
    this.#trustedFromMs = performance.now() + TRUST_MS;
    const text = 'the clock is far ahead of what was last known; nothing is compacted by schedule for a day';
    this.#log.warn({ seconds: Math.round(aheadMs / 1000) }, text);
  }
}
