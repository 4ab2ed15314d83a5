/**
 * A histogram as bare numbers: observations by bucket and their sum, of one fixed size however many there are, so
 * that a thread can keep it for nothing and another one can read it.
 */

/** Numbers that a histogram with these bounds takes: one for each bucket, one for what is above all, the sum. */
export function histogramLength(bounds: readonly number[]): number {
  return bounds.length + 2;
}

export class HistogramTotals {
  readonly bounds: readonly number[];
  /** Observations in each bucket (not cumulative), those above the last bound, and their sum. */
  readonly numbers: Float64Array<ArrayBufferLike>;

  /** @param numbers to keep it in, of histogramLength(bounds) */
  constructor(
    bounds: readonly number[],
    numbers: Float64Array<ArrayBufferLike> = new Float64Array(histogramLength(bounds)),
  ) {
    this.bounds = bounds;
    this.numbers = numbers;
  }

  /** @param times how often */
  observe(value: number, times = 1): void {
    const { bounds, numbers } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > bounds[bucket]!) bucket++;
    numbers[bucket]! += times;
    numbers[numbers.length - 1]! += value * times;
  }
}
