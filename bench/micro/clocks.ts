/**
 * The clocks of benchmarks, in milliseconds. CPU time comes from clock_gettime: getrusage, which Node offers, counts
 * that of a running thread in ticks of 4 ms.
 */
import { bind, loadLibrary } from '../../src/platform/ffi.ts';
import type { Clock } from './benchmark.ts';

/** Of <time.h>. */
const CLOCK_PROCESS_CPUTIME_ID = 2;
const CLOCK_THREAD_CPUTIME_ID = 3;

export const NOW: Record<Clock, () => number> = {
  thread: cpuClock(CLOCK_THREAD_CPUTIME_ID),
  process: cpuClock(CLOCK_PROCESS_CPUTIME_ID),
  wall: () => performance.now(),
};

function cpuClock(id: number): () => number {
  const library = loadLibrary(null);
  const read =
    library &&
    bind<(clock: number, time: Uint8Array) => number>(library, 'int clock_gettime(int clock, void *time)');
  if (!read) throw new Error('clock_gettime cannot be called: the benchmarks need koffi and 64-bit Linux');
  const time = Buffer.alloc(16);
  return () => {
    if (read(id, time) !== 0) throw new Error(`there is no clock ${id}`);
    return Number(time.readBigInt64LE(0)) * 1e3 + Number(time.readBigInt64LE(8)) / 1e6;
  };
}
