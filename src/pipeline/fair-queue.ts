/**
 * A queue for Piscina in which nobody waits for more than one task of each other: whoever has put in many, as a first
 * push does with large messages, is served in turn with those who have put in one.
 */
import { type PiscinaTask, queueOptionsSymbol, type TaskQueue } from 'piscina';

/** Marks a task as that of `holder`; tasks that are not marked count as those of one. */
export function taskOf<T extends object>(task: T, holder: object): T {
  return { ...task, [queueOptionsSymbol]: { holder } };
}

export class FairQueue implements TaskQueue {
  /** Tasks of each holder in their order; whose turn is next stands first. */
  readonly #lines = new Map<unknown, PiscinaTask[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(task: PiscinaTask): void {
    const holder = holderOf(task);
    const line = this.#lines.get(holder);
    if (line === undefined) this.#lines.set(holder, [task]);
    else line.push(task);
    this.#size++;
  }

  shift(): PiscinaTask | null {
    for (const [holder, line] of this.#lines) {
      const task = line.shift()!;
      this.#lines.delete(holder);
      if (line.length > 0) this.#lines.set(holder, line);
      this.#size--;
      return task;
    }
    return null;
  }

  remove(task: PiscinaTask): void {
    const holder = holderOf(task);
    const line = this.#lines.get(holder) ?? [];
    const at = line.indexOf(task);
    if (at < 0) return;
    line.splice(at, 1);
    if (line.length === 0) this.#lines.delete(holder);
    this.#size--;
  }
}

function holderOf(task: PiscinaTask): unknown {
  return (task[queueOptionsSymbol] as { holder?: object } | null)?.holder;
}
