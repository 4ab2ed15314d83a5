/** What a benchmark is to those who measure and judge it. */
import type { CalibrationName } from './calibrations.ts';
import type { Fact } from './machine.ts';

export type Size = 'small' | 'full';

/**
 * `thread`: CPU time of the thread, for work that this thread does alone. `process`: CPU time of all threads, for work
 * that is shared out. `wall`: time that passes, for what waits for the disk.
 */
export type Clock = 'thread' | 'process' | 'wall';

export interface Benchmark {
  /** Key in results, baseline and history. */
  name: string;
  clock: Clock;
  /**
   * Loops whose time, so many times each, the result is divided by: about what it is made of. What the machine does to
   * them at this moment it does to the benchmark too, and another machine runs both faster or slower.
   */
  calibrations: Calibrations;
  /** Facts of the machine without which the quotient means something else: see compare(). */
  facts?: readonly Fact[];
  /** Measured and reported, but not compared with the baseline. */
  onlyTold?: true;
  /** Only of this size. */
  only?: Size;
  /**
   * Measured in so many processes, of which the median counts: what V8 compiles to what differs from process to process,
   * by a tenth for a tight loop. 1 if absent.
   */
  processes?: number;
  /** Instead of TOLERANCE, with the reason in docs/benchmarks.md. */
  tolerance?: number;
  /** Undefined where the machine lacks what it needs. */
  prepare(size: Size): Promise<Prepared | undefined> | Prepared | undefined;
}

export type Calibrations = Partial<Record<CalibrationName, number>>;

export interface Prepared {
  /** The work of one sample; some milliseconds or more. */
  run(): unknown;
  /** True if `run` returns a promise. */
  isAsync?: boolean;
  /** Brings about what `run` needs; not measured. */
  before?(): Promise<void> | void;
  /** What one sample is about: one of the two. */
  bytes?: number;
  items?: number;
  close?(): Promise<void> | void;
}

/** A slowdown above this share fails the gate, if a second run confirms it. */
export const TOLERANCE = 0.15;
