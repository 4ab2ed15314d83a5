/**
 * Whether commands of a session may begin to work on backups. While somebody holds the gate they wait, unanswered;
 * one that has begun is carried to its end.
 */
export class SessionGate {
  #holds = 0;
  #isInside = false;
  #entering: (() => void)[] = [];
  #leaving: (() => void)[] = [];

  /** A command that works on backups is under way. */
  get isInside(): boolean {
    return this.#isInside;
  }

  /** A command waits to begin. */
  get isWaiting(): boolean {
    return this.#entering.length > 0;
  }

  /** Before a command's first request to the store; resolves at once for one that has begun. */
  async enter(): Promise<void> {
    while (this.#holds > 0 && !this.#isInside) await new Promise<void>((go) => this.#entering.push(go));
    this.#isInside = true;
  }

  /** The command is done or forgotten. */
  leave(): void {
    this.#isInside = false;
    const leaving = this.#leaving;
    this.#leaving = [];
    for (const go of leaving) go();
  }

  /** No command begins until the function that is returned is called. */
  hold(): () => void {
    let isHeld = true;
    this.#holds++;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      if (--this.#holds > 0) return;
      const entering = this.#entering;
      this.#entering = [];
      for (const go of entering) go();
    };
  }

  /** Resolves when no command is under way. */
  async quiet(): Promise<void> {
    while (this.#isInside) await new Promise<void>((go) => this.#leaving.push(go));
  }
}
