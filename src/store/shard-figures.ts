/** Counters and observations of one shard, fetched by the main thread for /metrics. */
import { LATENCY_BOUNDS } from '../metrics/bounds.ts';
import { HistogramTotals } from '../metrics/histogram-totals.ts';
import { type BackupChange, joinChanges, packChanges } from '../pipeline/backup-changes.ts';
import type { ShardStats } from '../pipeline/messages.ts';

export class ShardFigures {
  readonly #values: Record<string, number> = {};
  readonly #histograms: Record<string, HistogramTotals> = {};
  #changes = new Map<string, BackupChange>();

  /** Adds to a counter. */
  count(name: string, by = 1): void {
    this.#values[name] = (this.#values[name] ?? 0) + by;
  }

  /** Sets a gauge. */
  set(name: string, value: number): void {
    this.#values[name] = value;
  }

  /** Seconds that something took. */
  observe(name: string, seconds: number): void {
    (this.#histograms[name] ??= new HistogramTotals(LATENCY_BOUNDS)).observe(seconds);
  }

  /** Chunks were added to the backup with this key of backups.db. */
  changed(userid: string, change: BackupChange): void {
    this.#changes.set(userid, joinChanges(this.#changes.get(userid), change));
  }

  /** Values so far; changes since the last call. */
  take(): ShardStats {
    const changes = this.#changes;
    this.#changes = new Map();
    const histograms = Object.fromEntries(
      Object.entries(this.#histograms).map(([name, { numbers }]) => [name, numbers]),
    );
    return { values: this.#values, histograms, changes: packChanges(changes) };
  }
}
