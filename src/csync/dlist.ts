import { BackupError } from '../platform/errors.ts';
import { latin1 } from './bytes.ts';
import { DlistScanner, type ScalarKind, type ScanEvents, type ScanLimits } from './scanner.ts';

/**
 * A value of the protocol as a tree. Bytes stay bytes; keys are strings of one character per byte, as sent.
 * Whether an atom was sent quoted or as a literal is not kept: it means the same.
 */
export type Dlist =
  | { kind: 'nil' }
  | { kind: 'atom'; value: Buffer }
  /** With its backslash. */
  | { kind: 'flag'; value: Buffer }
  | { kind: 'list'; items: Dlist[] }
  | { kind: 'kvlist'; entries: [key: string, value: Dlist][] }
  | { kind: 'file'; partition: string; guid: string; content: Buffer };

export const NIL: Dlist = Object.freeze({ kind: 'nil' });

/** An atom of these bytes, or of this string with one byte per character. */
export function atom(value: string | number | bigint | Uint8Array): Dlist {
  if (typeof value === 'object') return { kind: 'atom', value: Buffer.from(value) };
  return { kind: 'atom', value: Buffer.from(String(value), 'latin1') };
}

export function list(items: Dlist[]): Dlist {
  return { kind: 'list', items };
}

/** Named values; keys whose value is undefined are left out. */
export function kvlist(fields: Record<string, Dlist | undefined>): Dlist {
  const entries: [string, Dlist][] = [];
  for (const [key, value] of Object.entries(fields)) if (value !== undefined) entries.push([key, value]);
  return { kind: 'kvlist', entries };
}

/** The first value of a kvlist with this key, upper case or not; undefined also if `value` is no kvlist. */
export function child(value: Dlist, key: string): Dlist | undefined {
  if (value.kind !== 'kvlist') return undefined;
  const wanted = key.toUpperCase();
  return value.entries.find(([name]) => name.toUpperCase() === wanted)?.[1];
}

/** An atom or flag as a string of one character per byte; null for NIL; undefined if absent or a list. */
export function textOf(value: Dlist | undefined): string | null | undefined {
  if (value?.kind === 'nil') return null;
  return value?.kind === 'atom' || value?.kind === 'flag' ? value.value.toString('latin1') : undefined;
}

/** Unsigned decimal of up to 64 bits, or undefined. */
export function numberOf(value: Dlist | undefined): bigint | undefined {
  return value?.kind === 'atom' ? parseNumber(value.value.toString('latin1')) : undefined;
}

const MAX_UINT64 = 2n ** 64n - 1n;

/** Unsigned decimal of up to 64 bits, or undefined; never rounded. */
export function parseNumber(text: string): bigint | undefined {
  if (!/^[0-9]{1,20}$/.test(text)) return undefined;
  const value = BigInt(text);
  return value <= MAX_UINT64 ? value : undefined;
}

const PARSE_LIMITS: ScanLimits = {
  maxWordBytes: Number.MAX_SAFE_INTEGER,
  maxQuotedBytes: Number.MAX_SAFE_INTEGER,
  maxLiteralBytes: Number.MAX_SAFE_INTEGER,
  maxFileBytes: Number.MAX_SAFE_INTEGER,
  maxDepth: 1024,
  keepBytes: Number.MAX_SAFE_INTEGER,
};

/**
 * Parses one whole value, all of whose bytes are given; `{n}` and `{n+}` mean the same.
 * @throws BackupError BAD_PARAMETERS if the bytes are not exactly one value.
 */
export function parseDlist(bytes: Uint8Array): Dlist {
  const builder = new TreeBuilder();
  const scanner = new DlistScanner(builder, PARSE_LIMITS);
  let at = scanner.push(bytes, 0, bytes.length);
  if (scanner.needsNextByte) {
    scanner.push(Buffer.of(0x20), 0, 1);
    at = bytes.length;
  }
  if (scanner.done && at === bytes.length && builder.root !== undefined) return builder.root;
  throw new BackupError({
    code: 'BAD_PARAMETERS',
    tried: 'parse',
    subject: `a dlist of ${bytes.length} bytes`,
    reason: scanner.failure?.text ?? (scanner.done ? 'more than one value' : 'the value is not complete'),
    remedy: 'The sender has to send a value of the csync grammar',
  });
}

class TreeBuilder implements ScanEvents {
  root: Dlist | undefined;
  readonly #open: Dlist[] = [];
  #key = '';
  readonly #keys: string[] = [];
  #file: { kind: 'file'; partition: string; guid: string; content: Buffer } | undefined;
  #filled = 0;

  begin(kind: 'list' | 'kvlist'): void {
    this.#open.push(kind === 'list' ? { kind, items: [] } : { kind, entries: [] });
    this.#keys.push(this.#key);
  }

  end(): void {
    const value = this.#open.pop();
    this.#key = this.#keys.pop() ?? '';
    if (value !== undefined) this.#add(value);
  }

  key(bytes: Uint8Array, from: number, to: number): void {
    this.#key = latin1(bytes, from, to);
  }

  scalar(kind: ScalarKind, bytes: Uint8Array, from: number, to: number): void {
    if (kind === 'nil') this.#add({ kind: 'nil' });
    else this.#add({ kind: kind === 'flag' ? 'flag' : 'atom', value: Buffer.from(bytes.subarray(from, to)) });
  }

  file(file: { partition: string; guid: string; size: number }): void {
    this.#file = {
      kind: 'file',
      partition: file.partition,
      guid: file.guid,
      content: Buffer.alloc(file.size),
    };
    this.#filled = 0;
  }

  fileBytes(bytes: Uint8Array, from: number, to: number): void {
    this.#file?.content.set(bytes.subarray(from, to), this.#filled);
    this.#filled += to - from;
  }

  fileEnd(): void {
    if (this.#file !== undefined) this.#add(this.#file);
  }

  plus(): void {}
  bareLf(): void {}
  literal(): void {}

  #add(value: Dlist): void {
    const parent = this.#open.at(-1);
    if (parent === undefined) this.root = value;
    else if (parent.kind === 'list') parent.items.push(value);
    else if (parent.kind === 'kvlist') parent.entries.push([this.#key, value]);
  }
}
