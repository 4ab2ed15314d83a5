/** Upper bounds of histograms, in seconds. */

/** From 0.1 ms, which a command without a sync takes, to half a minute. */
export const LATENCY_BOUNDS: readonly number[] = [
  0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30,
];

/** Of what takes a sync_client from the first command to RESTART, and of work on a whole backup. */
export const SYNC_BOUNDS: readonly number[] = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800,
];

/** Of an event loop; a timer may be 1 ms late by itself. */
export const DELAY_BOUNDS: readonly number[] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

export const GC_BOUNDS: readonly number[] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2];

const HOUR = 3600;
const DAY = 24 * HOUR;

/** Of the ages of backups. */
export const AGE_BOUNDS: readonly number[] = [
  600,
  HOUR,
  6 * HOUR,
  12 * HOUR,
  DAY,
  2 * DAY,
  3 * DAY,
  7 * DAY,
  14 * DAY,
  30 * DAY,
  90 * DAY,
  365 * DAY,
];
