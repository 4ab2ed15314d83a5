/**
 * How a shard waits for the disk. A sync in another thread lets other users' requests go on meanwhile, but to
 * hand it over and to be woken again costs as much as a fast disk takes: where nobody else would use the time
 * and the disk is fast, the shard's own thread waits.
 */
import { fdatasyncSync } from 'node:fs';
import { fdatasync } from '../platform/durable.ts';

/** A disk that takes longer than this is never waited for. */
const FAST_MS = 1;
/** Weight of the latest sync in the running mean. */
const LATEST = 1 / 8;

export class DiskSync {
  /** Requests that the shard has begun. */
  underWay = 0;
  #meanMs = FAST_MS;

  /** @returns seconds that it took; the bytes of the file and its length are on disk then */
  async sync(fd: number): Promise<number> {
    const startedMs = performance.now();
    if (this.underWay <= 1 && this.#meanMs <= FAST_MS) fdatasyncSync(fd);
    else await fdatasync(fd);
    const tookMs = performance.now() - startedMs;
    this.#meanMs += (tookMs - this.#meanMs) * LATEST;
    return tookMs / 1000;
  }
}
