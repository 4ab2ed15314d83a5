import type { BackupIndex } from '../index/backup-index.ts';

/** Tables of the index whose rows must be found in the data file. */
export const MARKED_TABLES = ['message', 'mailbox', 'mailbox_message', 'cb_record'] as const;
export type MarkedTable = (typeof MARKED_TABLES)[number];

/** Memory of Marks, to be handed to workers. */
export type MarkMemory = Record<MarkedTable, SharedArrayBuffer>;

/** What those who check lines do with marks. */
export interface MarkSet {
  set(table: MarkedTable, id: number): void;
  has(table: MarkedTable, id: number): boolean;
}

/** Marks that count only when they are kept: the reading of a chunk may have to begin again. */
export class TentativeMarks implements MarkSet {
  readonly #marks: Marks;
  readonly #ids: Record<MarkedTable, Set<number>> = mapTables(() => new Set<number>());

  constructor(marks: Marks) {
    this.#marks = marks;
  }

  set(table: MarkedTable, id: number): void {
    this.#ids[table].add(id);
  }

  has(table: MarkedTable, id: number): boolean {
    return this.#ids[table].has(id) || this.#marks.has(table, id);
  }

  keep(): void {
    for (const table of MARKED_TABLES) for (const id of this.#ids[table]) this.#marks.set(table, id);
  }
}

/** One bit for each row: whether what it says was found in the data file. Several threads set bits at once. */
export class Marks implements MarkSet {
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
