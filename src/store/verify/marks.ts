import type { BackupIndex } from '../index/backup-index.ts';

/** Tables of the index whose rows must be found in the data file. */
export const MARKED_TABLES = ['message', 'mailbox', 'mailbox_message', 'cb_record'] as const;
export type MarkedTable = (typeof MARKED_TABLES)[number];

/** Memory of Marks, to be handed to workers. */
export type MarkMemory = Record<MarkedTable, SharedArrayBuffer>;

/** One bit for each row: whether what it says was found in the data file. Several threads set bits at once. */
export class Marks {
  readonly memory: MarkMemory;
  readonly #words: Record<MarkedTable, Int32Array>;

  constructor(memory: MarkMemory) {
    this.memory = memory;
    this.#words = mapTables((table) => new Int32Array(memory[table]));
  }

  /** All unset, for the rows that the index has now. */
  static of(index: BackupIndex): Marks {
    return new Marks(
      mapTables((table) => {
        const maxId = index.statement(`SELECT coalesce(max(id), 0) FROM ${table}`, 'pluck').get() as number;
        return new SharedArrayBuffer(4 * (Math.floor(maxId / 32) + 1));
      }),
    );
  }

  set(table: MarkedTable, id: number): void {
    Atomics.or(this.#words[table], id >>> 5, 1 << (id & 31));
  }

  has(table: MarkedTable, id: number): boolean {
    return ((this.#words[table][id >>> 5] ?? 0) & (1 << (id & 31))) !== 0;
  }
}

function mapTables<T>(make: (table: MarkedTable) => T): Record<MarkedTable, T> {
  return Object.fromEntries(MARKED_TABLES.map((table) => [table, make(table)])) as Record<MarkedTable, T>;
}
