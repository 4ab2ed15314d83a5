/**
 * A limit on what this whole process reads from files, for a process that does nothing but maintenance: every
 * reader is slowed, whichever module it is in, by replacing the reading calls of node:fs. A token bucket of a quarter
 * of a second; who takes more sleeps, the thread standing still, as there is nothing else to do in it.
 *
 * Modules that keep such a call in a variable have to be imported afterwards. Threads have a node:fs of their own.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

/** Tokens that can be saved up. */
const BURST_SECONDS = 0.25;
/** Sleeps this short are put together. */
const SHORTEST_SLEEP_MS = 2;
/** Between them it is looked whether to go on at all. */
const LONGEST_SLEEP_MS = 200;

export interface ReadGovernor {
  /** From now on; 0: no limit. */
  limit(bytesPerSecond: number): void;
  /** Bytes that were read since it was last asked. */
  takeRead(): number;
}

/** @param onRead called at each read, and again and again while it is held up */
export function governReads(onRead: () => void): ReadGovernor {
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  let rate = 0;
  let tokens = 0;
  let readBytes = 0;
  let refilledMs = performance.now();

  function take(bytes: number): void {
    onRead();
    readBytes += bytes;
    if (rate === 0 || bytes <= 0) return;
    const nowMs = performance.now();
    tokens = Math.min(rate * BURST_SECONDS, tokens + ((nowMs - refilledMs) / 1000) * rate);
    refilledMs = nowMs;
    tokens -= bytes;
    let waitMs = (-tokens / rate) * 1000;
    for (; waitMs > SHORTEST_SLEEP_MS; waitMs -= LONGEST_SLEEP_MS) {
      Atomics.wait(sleeper, 0, 0, Math.min(waitMs, LONGEST_SLEEP_MS));
      onRead();
    }
  }

  const { readSync, readvSync, read } = fs;
  const replaced = fs as unknown as Record<string, unknown>;
  replaced.readSync = (...args: Parameters<typeof readSync>): number => {
    const count = (readSync as (...args: unknown[]) => number)(...args);
    take(count);
    return count;
  };
  replaced.readvSync = (...args: Parameters<typeof readvSync>): number => {
    const count = readvSync(...args);
    take(count);
    return count;
  };
  const governed = (...args: unknown[]): void => {
    const done = args.pop() as (error: Error | null, count: number, buffer: unknown) => void;
    (read as (...args: unknown[]) => void)(...args, (error: Error | null, count: number, buffer: unknown) => {
      if (error === null) take(count);
      done(error, count, buffer);
    });
  };
  // promisify(read) gives an object with both values, by a symbol that only Node knows.
  for (const key of Object.getOwnPropertySymbols(read)) {
    Object.defineProperty(governed, key, Object.getOwnPropertyDescriptor(read, key)!);
  }
  replaced.read = governed;
  syncBuiltinESMExports();

  return {
    takeRead() {
      const taken = readBytes;
      readBytes = 0;
      return taken;
    },
    limit(bytesPerSecond) {
      rate = bytesPerSecond;
      tokens = rate * BURST_SECONDS;
      refilledMs = performance.now();
    },
  };
}
