/**
 * Connections over which parts of a mailbox are brought to the target at the same time. It syncs each message to its disk before
 * it takes the next one of the connection, so more connections wait for the disk together.
 */
import type { CsyncClient } from '../csync-client.ts';
import { isBroken } from './refusals.ts';

export class Lanes {
  readonly #open: () => Promise<CsyncClient>;
  #most: number;
  #first: CsyncClient;
  #free: CsyncClient[];
  #others: CsyncClient[] = [];
  #opening = 0;
  #waiting: (() => void)[] = [];
  /** Why there are fewer than there might be. */
  problem: string | undefined;

  /**
   * @param first is lent, and stays whoever's it is
   * @param open makes the others, when they are first wanted
   */
  constructor(first: CsyncClient, open: () => Promise<CsyncClient>, most: number) {
    this.#first = first;
    this.#free = [first];
    this.#open = open;
    this.#most = most;
  }

  get most(): number {
    return this.#most;
  }

  /** One that nobody uses. */
  async take(): Promise<CsyncClient> {
    for (;;) {
      const free = this.#free.pop();
      if (free !== undefined) return free;
      if (1 + this.#others.length + this.#opening < this.#most) {
        const client = await this.#another();
        if (client !== undefined) return client;
      } else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  give(client: CsyncClient): void {
    this.#free.push(client);
    this.#wake();
  }

  /** What it holds, or whether it works, is not known. */
  drop(client: CsyncClient): void {
    if (client === this.#first) this.give(client);
    else {
      client.close();
      this.#others = this.#others.filter((other) => other !== client);
      this.#wake();
    }
  }

  /** The first one was replaced. */
  reset(first: CsyncClient): void {
    this.close();
    this.#first = first;
    this.#free = [first];
  }

  /** All but the first. */
  close(): void {
    for (const client of this.#others) client.close();
    this.#others = [];
    this.#free = this.#free.filter((client) => client === this.#first);
  }

  async #another(): Promise<CsyncClient | undefined> {
    this.#opening++;
    try {
      const client = await this.#open();
      this.#others.push(client);
      return client;
    } catch (error) {
      if (!isBroken(error)) throw error;
      // It takes no more than these.
      this.#most = 1 + this.#others.length;
      this.problem = error.reason;
      return undefined;
    } finally {
      this.#opening--;
      this.#wake();
    }
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

/**
 * Parts of one mailbox: staged over several lanes at the same time, each committed over its own lane when those before it are.
 */
export class LaneQueue<Staged> {
  readonly #lanes: Lanes;
  #last: Promise<void> = Promise.resolve();
  #hasFailed = false;

  constructor(lanes: Lanes) {
    this.#lanes = lanes;
  }

  /** Comes back when staging has begun. @throws what an earlier part failed of */
  async add(
    stage: (client: CsyncClient) => Promise<Staged>,
    commit: (client: CsyncClient, staged: Staged) => Promise<void>,
  ): Promise<void> {
    const client = await this.#lanes.take();
    if (this.#hasFailed) {
      this.#lanes.give(client);
      return await this.#last;
    }
    const staged = stage(client);
    // Its failure is met when its turn comes.
    staged.catch(() => {});
    this.#last = this.#commitAfter(this.#last, client, staged, commit);
    this.#last.catch(() => {});
  }

  /**
   * Runs what adds the parts, and waits until all are committed.
   *
   * @throws what it, or the first of the parts, failed of; then nobody uses the lanes any more
   */
  async run(adding: () => Promise<void>): Promise<void> {
    try {
      await adding();
    } catch (error) {
      await this.#last.catch(() => {});
      throw error;
    }
    await this.#last;
  }

  async #commitAfter(
    before: Promise<void>,
    client: CsyncClient,
    staged: Promise<Staged>,
    commit: (client: CsyncClient, staged: Staged) => Promise<void>,
  ): Promise<void> {
    try {
      await before;
      await commit(client, await staged);
    } catch (error) {
      this.#hasFailed = true;
      await staged.catch(() => {});
      this.#lanes.drop(client);
      throw error;
    }
    this.#lanes.give(client);
  }
}
