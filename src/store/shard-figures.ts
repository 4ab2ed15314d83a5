/** Counters and observations of one shard, fetched by the main thread for /metrics. */
import { type BackupChange, joinChanges, type ShardStats } from '../pipeline/messages.ts';

/** More observations than this between two scrapes are counted but not kept. */
const MAX_OBSERVATIONS = 20_000;

export class ShardFigures {
  readonly #values: Record<string, number> = {};
  #observations: Record<string, number[]> = {};
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
    const list = (this.#observations[name] ??= []);
    if (list.length < MAX_OBSERVATIONS) list.push(seconds);
  }

  /** Chunks were added to this data file. */
  changed(path: string, change: BackupChange): void {
    this.#changes.set(path, joinChanges(this.#changes.get(path), change));
  }

  /** Values so far; observations and changes since the last call. */
  take(): ShardStats {
    const observations = this.#observations;
    const changes = this.#changes;
    this.#observations = {};
    this.#changes = new Map();
    return { values: { ...this.#values }, observations, changes };
  }
}
