/**
 * What each thread knows of itself: how long its event loop keeps waiting what becomes due, and its garbage
 * collections. Threads write it into memory that all share, so that the one that answers a scrape need not ask
 * those that are busy.
 */
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { threadId } from 'node:worker_threads';
import { DELAY_BOUNDS, GC_BOUNDS } from './bounds.ts';
import { HistogramTotals, histogramLength } from './histogram-totals.ts';

const GC_KINDS = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak_callbacks',
} as Record<number, GcKind>;
const KINDS = ['minor', 'major', 'incremental', 'weak_callbacks'] as const;
export type GcKind = (typeof KINDS)[number];

/** Between two looks at the event loop. Each wakes the thread, which takes 0.1 ms of CPU time: an idle server stays idle. */
const LOOK_MS = 1000;
/** A delay longer than this (a machine that slept) is one of this length. */
const LONGEST_DELAY_MS = 60_000;

/** Threads that have a place, dead ones included: those behind them go without. */
const PLACES = 256;
const HEADER_BYTES = 8;
const PLACE_LENGTH = 1 + histogramLength(DELAY_BOUNDS) + KINDS.length * histogramLength(GC_BOUNDS);

export interface ThreadFigures {
  delay: HistogramTotals;
  gc: Record<GcKind, HistogramTotals>;
}

export function createThreadMemory(): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_BYTES + PLACES * PLACE_LENGTH * Float64Array.BYTES_PER_ELEMENT);
}

/** A place begins with the number of its thread and 1, so that 0 says that nobody has it. */
function placeOf(memory: SharedArrayBuffer, place: number): Float64Array<SharedArrayBuffer> {
  const bytes = PLACE_LENGTH * Float64Array.BYTES_PER_ELEMENT;
  return new Float64Array(memory, HEADER_BYTES + place * bytes, PLACE_LENGTH);
}

function figuresOf(numbers: Float64Array<ArrayBufferLike>): ThreadFigures {
  let at = 1;
  const next = (bounds: readonly number[]): HistogramTotals => {
    const length = histogramLength(bounds);
    at += length;
    return new HistogramTotals(bounds, numbers.subarray(at - length, at));
  };
  const delay = next(DELAY_BOUNDS);
  const gc = Object.fromEntries(KINDS.map((kind) => [kind, next(GC_BOUNDS)])) as ThreadFigures['gc'];
  return { delay, gc };
}

/**
 * From now on the figures of this thread are kept in the memory. It does not keep the thread alive.
 *
 * @param lookMs between two looks at the event loop
 * @returns ends it
 */
export function watchThread(memory: SharedArrayBuffer, lookMs = LOOK_MS): () => void {
  const place = Atomics.add(new Int32Array(memory, 0, 1), 0, 1);
  if (place >= PLACES) return () => {};
  const numbers = placeOf(memory, place);
  const figures = figuresOf(numbers);
  numbers[0] = threadId + 1;
  const sampler = new GcSampler(figures.gc);
  const stopDelays = watchDelays(figures.delay, lookMs, () => sampler.next());
  return () => {
    stopDelays();
    sampler.stop();
  };
}

/** A timer that comes late says how long anything else that became due had to wait. */
function watchDelays(totals: HistogramTotals, lookMs: number, onLook: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    const dueMs = performance.now() + lookMs;
    timer = setTimeout(() => {
      let delayMs = Math.min(LONGEST_DELAY_MS, Math.max(0, performance.now() - dueMs));
      // Looks that could not be taken meanwhile would have waited for the rest of it.
      for (totals.observe(delayMs / 1000); delayMs > lookMs; ) {
        delayMs -= lookMs;
        totals.observe(delayMs / 1000);
      }
      onLook();
      look();
    }, lookMs).unref();
  };
  look();
  return () => clearTimeout(timer);
}

/**
 * To be told of a collection costs 50 µs, a third of what a small one takes itself, and a busy thread has a hundred
 * a second. So one is told for one period of so many, and each counts for that many.
 */
const GC_PERIODS = 10;

class GcSampler {
  readonly #gc: ThreadFigures['gc'];
  readonly #observer: PerformanceObserver;
  #period = 0;

  constructor(gc: ThreadFigures['gc']) {
    this.#gc = gc;
    this.#observer = new PerformanceObserver((list) => this.#note(list.getEntries()));
  }

  /** A period has ended. */
  next(): void {
    const period = this.#period++ % GC_PERIODS;
    if (period === 0) this.#observer.observe({ entryTypes: ['gc'] });
    else if (period === 1) this.stop();
  }

  stop(): void {
    this.#note(this.#observer.takeRecords());
    this.#observer.disconnect();
  }

  #note(entries: PerformanceEntry[]): void {
    for (const entry of entries) {
      const { duration, detail } = entry as typeof entry & { detail?: { kind?: number } };
      const kind = GC_KINDS[detail?.kind ?? 0];
      if (kind !== undefined) this.#gc[kind].observe(duration / 1000, GC_PERIODS);
    }
  }
}

/** Of the thread with this number (threadId); undefined if it has not begun to keep any. */
export function threadFigures(memory: SharedArrayBuffer, id: number): ThreadFigures | undefined {
  const taken = Math.min(PLACES, Atomics.load(new Int32Array(memory, 0, 1), 0));
  for (let place = taken - 1; place >= 0; place--) {
    const numbers = placeOf(memory, place);
    if (numbers[0] === id + 1) return figuresOf(numbers);
  }
  return undefined;
}
