/** Runs tasks with the same key one after the other, those with different keys at the same time. */
export class SerialQueues {
  readonly #tails = new Map<string, Promise<unknown>>();

  /** Resolves or rejects as the task does, once all earlier tasks of the key have ended. */
  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key);
    const run = before === undefined ? task() : before.then(task, task);
    const tail = run.then(
      () => undefined,
      () => undefined,
    );
    this.#tails.set(key, tail);
    try {
      return await run;
    } finally {
      if (this.#tails.get(key) === tail) this.#tails.delete(key);
    }
  }
}
