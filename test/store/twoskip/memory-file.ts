import type { TwoskipFile } from '../../../src/store/twoskip/file.ts';

/** What was done to a file, in order. */
export type FileStep =
  | { kind: 'write'; position: number; bytes: Buffer }
  | { kind: 'truncate'; size: number }
  | { kind: 'sync' };

/** A file in memory that notes every write and sync, so that a crash can be played at each. */
export class MemoryFile implements TwoskipFile {
  readonly path = 'memory.db';
  readonly steps: FileStep[] = [];
  #bytes: Buffer;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = Buffer.from(bytes);
  }

  get bytes(): Buffer {
    return Buffer.from(this.#bytes);
  }

  size(): number {
    return this.#bytes.length;
  }

  read(position: number, length: number): Buffer {
    return Buffer.from(this.#bytes.subarray(position, position + length));
  }

  write(position: number, bytes: Uint8Array): void {
    this.steps.push({ kind: 'write', position, bytes: Buffer.from(bytes) });
    this.#bytes = apply(this.#bytes, this.steps.at(-1)!);
  }

  truncate(size: number): void {
    this.steps.push({ kind: 'truncate', size });
    this.#bytes = apply(this.#bytes, this.steps.at(-1)!);
  }

  sync(): void {
    this.steps.push({ kind: 'sync' });
  }
}

/** The file after one more step. A write behind its end leaves zeros in between, as filesystems do. */
export function apply(bytes: Buffer, step: FileStep): Buffer {
  if (step.kind === 'sync') return bytes;
  if (step.kind === 'truncate') return Buffer.concat([bytes], step.size);
  const result = Buffer.concat([bytes], Math.max(bytes.length, step.position + step.bytes.length));
  step.bytes.copy(result, step.position);
  return result;
}

/** What a disk may hold after a crash behind `steps`: all that was synced, and of the rest what `fate` says. */
export function afterCrash(
  before: Buffer,
  steps: readonly FileStep[],
  fate: (step: FileStep) => FileStep | undefined,
): Buffer {
  const synced = steps.findLastIndex((step) => step.kind === 'sync');
  let bytes = before;
  steps.forEach((step, i) => {
    const kept = i <= synced ? step : fate(step);
    if (kept) bytes = apply(bytes, kept);
  });
  return bytes;
}
