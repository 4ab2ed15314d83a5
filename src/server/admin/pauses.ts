/** Users whose clients are told to come back later, so that somebody can work on their backups. */

export interface Pause {
  userid: string;
  by: string;
  sinceMs: number;
  /** Unix time in ms at which it ends by itself. */
  untilMs: number;
}

/** Each may stay for a day; more than so many users are not paused one by one. */
export const MAX_PAUSE_MS = 24 * 3600_000;
export const MAX_PAUSES = 10_000;

export class Pauses {
  readonly #byUser = new Map<string, Pause>();

  /** Pauses that have not ended, oldest first. */
  list(nowMs = Date.now()): Pause[] {
    for (const { userid, untilMs } of [...this.#byUser.values()])
      if (untilMs <= nowMs) this.#byUser.delete(userid);
    return [...this.#byUser.values()];
  }

  /** Begins a pause, or gives one that is on another end. */
  set(pause: Pause): void {
    this.#byUser.set(pause.userid, pause);
  }

  /** @returns whether there was one */
  end(userid: string): boolean {
    const pause = this.#byUser.get(userid);
    this.#byUser.delete(userid);
    return pause !== undefined && pause.untilMs > Date.now();
  }

  /** What clients of this user are told; undefined if the user is not paused. */
  refusal(userid: string): string | undefined {
    if (this.#byUser.size === 0) return undefined;
    const pause = this.#byUser.get(userid);
    if (pause === undefined) return undefined;
    if (pause.untilMs > Date.now()) return `the backup of ${userid} is paused by the administrator`;
    this.#byUser.delete(userid);
    return undefined;
  }
}
