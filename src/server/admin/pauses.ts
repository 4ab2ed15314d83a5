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
  /** With the moment of performance.now() at which each ends: a clock that is set must not make it last for years. */
  readonly #byUser = new Map<string, { pause: Pause; endsMs: number }>();

  /** Pauses that have not ended, oldest first. */
  list(): Pause[] {
    const now = performance.now();
    for (const [userid, { endsMs }] of [...this.#byUser]) if (endsMs <= now) this.#byUser.delete(userid);
    return [...this.#byUser.values()].map(({ pause }) => pause);
  }

  /** Begins a pause, or gives one that is on another end. */
  set(pause: Pause): void {
    this.#byUser.set(pause.userid, { pause, endsMs: performance.now() + pause.untilMs - pause.sinceMs });
  }

  /** @returns whether there was one */
  end(userid: string): boolean {
    const isOn = this.#isOn(userid);
    this.#byUser.delete(userid);
    return isOn;
  }

  /** What clients of this user are told; undefined if the user is not paused. */
  refusal(userid: string): string | undefined {
    if (this.#byUser.size === 0) return undefined;
    if (this.#isOn(userid)) return `the backup of ${userid} is paused by the administrator`;
    this.#byUser.delete(userid);
    return undefined;
  }

  #isOn(userid: string): boolean {
    const one = this.#byUser.get(userid);
    return one !== undefined && one.endsMs > performance.now();
  }
}
