/** Gathers, while a backup is verified, what healBackup() is to take note of. */
import type { CopyPlace } from '../store/heal.ts';
import type { ChunkRow } from '../store/index/backup-index.ts';
import type { ChunkReport } from '../store/verify/chunk-check.ts';
import type { Finding, FindingCode } from '../store/verify/finding.ts';

/** What is lost by damage that was not known. */
export interface FoundLosses {
  guids: string[];
  uniqueids: string[];
  chunkOffsets: number[];
  /** Sound copies of some of the messages. */
  copies: CopyPlace[];
}

/** What says that bytes of a chunk are not what they were, and not only that the index is wrong. */
const DAMAGE: ReadonlySet<FindingCode> = new Set<FindingCode>([
  'CHUNK_CORRUPT',
  'CHUNK_CRC_WRONG',
  'CHUNK_MISSING',
  'CHUNK_UNFINISHED',
  'MESSAGE_DAMAGED',
]);

/** Copies of messages that are remembered, 200 bytes each: a lost one of which there are more is sent again. */
const MAX_COPIES = 50_000;

export class LossCollector {
  /** Offsets of damaged chunks by id. */
  readonly #damaged = new Map<number, number>();
  readonly #guids = new Set<string>();
  readonly #uniqueids = new Set<string>();
  readonly #chunkOffsets = new Set<number>();
  readonly #copies = new Map<string, CopyPlace>();

  isDamaged(chunkId: number): boolean {
    return this.#damaged.has(chunkId);
  }

  /** A chunk of the index that does not begin in the file. */
  takeMissing({ offset }: ChunkRow): void {
    this.#chunkOffsets.add(offset);
  }

  takeChunk({ id, offset }: ChunkRow, { findings, lost, copies }: ChunkReport): void {
    for (const [guid, lineOffset, contentOffset, size] of copies) {
      if (this.#copies.size >= MAX_COPIES) break;
      this.#copies.set(guid, { guid, chunkId: id, lineOffset, contentOffset, size });
    }
    const damage = findings.filter(({ code }) => DAMAGE.has(code));
    if (damage.length === 0) return;
    this.#damaged.set(id, offset);
    // Of a chunk that is known to be damaged only what is new.
    if (damage.some(({ severity }) => severity === 'fault')) this.#chunkOffsets.add(offset);
    for (const guid of lost) this.#guids.add(guid);
  }

  /** A row that was not found: lost if its chunk is damaged; else the index is wrong. */
  takeMissingRow({ code, severity, chunk, guid, uniqueid }: Finding, rows: readonly ChunkRow[]): void {
    if (severity !== 'fault' || chunk === undefined) return;
    const offset = this.#damaged.get(chunk);
    if (offset === undefined && rows.some(({ id }) => id === chunk)) return;
    if (offset !== undefined) this.#chunkOffsets.add(offset);
    if (code === 'MESSAGE_MISSING' && guid !== undefined) this.#guids.add(guid);
    else if (uniqueid !== undefined) this.#uniqueids.add(uniqueid);
  }

  /** The file as a whole is not what the index says. Perhaps only more of a known chunk has changed, which nobody needs. */
  takeChangedFile(chunks: readonly ChunkRow[], known: ReadonlyMap<number, number>): void {
    const chunk = chunks.find(({ id }) => known.has(id));
    if (chunk !== undefined && this.#chunkOffsets.size === 0) this.#chunkOffsets.add(chunk.offset);
  }

  get found(): FoundLosses {
    const guids = [...this.#guids];
    const copies = guids.map((guid) => this.#copies.get(guid)).filter((copy) => copy !== undefined);
    return { guids, uniqueids: [...this.#uniqueids], chunkOffsets: [...this.#chunkOffsets], copies };
  }
}
