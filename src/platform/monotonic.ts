/** Seconds of the machine's monotonic clock: the same in every thread, other than performance.now(). */
export function monotonicSeconds(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds + nanoseconds / 1e9;
}
