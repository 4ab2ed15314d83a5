/**
 * Slowdowns to be planted into the product while it is measured, to show that the gate sees them: every call of one
 * function takes a third of its CPU time more, or writes and syncs twice more.
 */
export interface Plant {
  /** Source file, relative to the checkout. */
  file: string;
  /** Text in it, and what it becomes; `SLOWER` and `SLOWER_ASYNC` are in scope there: see plant-hook.ts. */
  from: string;
  to: string;
  /** Benchmarks that have to fail then, and one that must not. */
  fails: readonly string[];
  passes: string;
}

export const PLANTS: Record<string, Plant> = {
  decoder: {
    file: 'src/csync/decoder.ts',
    from: 'push(bytes: Uint8Array, start: number, end: number): number {',
    to: `push(bytes: Uint8Array, start: number, end: number): number {
      return SLOWER(() => this.pushAsEver(bytes, start, end));
    }
    pushAsEver(bytes: Uint8Array, start: number, end: number): number {`,
    fails: ['decoder-records', 'decoder-messages'],
    passes: 'dlist-events',
  },
  deflate: {
    file: 'src/platform/deflate.ts',
    from: '    deflateSegment(raw, out) {',
    to: `    deflateSegment(raw, out) {
      return SLOWER(() => this.asEver(raw, out));
    },
    asEver(raw: Uint8Array, out: Uint8Array) {`,
    fails: ['segment-best-ingest', 'segment-zlib-compact'],
    passes: 'segment-inflate',
  },
  sha1: {
    file: 'src/platform/sha1.ts',
    from: '    this.#engine.update(this.#context, bytes);',
    to: '    SLOWER(() => this.#engine.update(this.#context, bytes));',
    fails: ['sha1-file'],
    passes: 'sha1-guid',
  },
  verify: {
    file: 'src/maintenance/verify.ts',
    from: 'export async function verifyBackup(options: VerifyOptions): Promise<VerifyReport> {',
    to: `export function verifyBackup(options: VerifyOptions): Promise<VerifyReport> {
      return SLOWER_ASYNC(() => asEver(options));
    }
    async function asEver(options: VerifyOptions): Promise<VerifyReport> {`,
    fails: ['verify'],
    passes: 'reindex',
  },
  sync: {
    file: 'src/store/disk-sync.ts',
    from: '    const startedMs = performance.now();',
    // A sync of what is synced already is free; the first byte of a member is always 31.
    to: `    const startedMs = performance.now();
    for (let extra = 0; extra < 2; extra++) {
      process.getBuiltinModule('node:fs').writeSync(fd, Buffer.of(31), 0, 1, 0);
      fdatasyncSync(fd);
    }`,
    fails: ['append-small-wall'],
    passes: 'sha1-content',
  },
};
