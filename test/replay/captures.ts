import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';

/**
 * Captured sessions as they lie in test/fixtures/captures: one JSON file each, an array of events. Bytes are
 * latin1 strings. A message that is in the pool is left out of `c`; MARK stands in its place.
 */
export type CaptureEvent =
  | { conn: number; ev: 'open' | 'close' | 'tls' }
  /** All that the client said in one turn, and all that the server said next. */
  | { conn: number; c: string; s: string };

export const CAPTURES = path.join(import.meta.dirname, '..', 'fixtures', 'captures');

/** Stands for a message's bytes; no latin1 character. */
export const MARK = '\u0100';

const FILE_HEAD = /%\{[^\s{}]+ ([0-9a-f]{40}) (\d+)\}\r\n/g;

/** Messages by GUID: the file `messages.gz` holds `GUID SIZE\n` and the bytes of each, one after the other. */
export function readPool(): Map<string, Buffer> {
  const bytes = zlib.gunzipSync(readFileSync(path.join(CAPTURES, 'messages.gz')));
  const pool = new Map<string, Buffer>();
  for (let at = 0; at < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, at);
    const [guid, size] = bytes.toString('latin1', at, newline).split(' ');
    at = newline + 1 + Number(size);
    pool.set(guid!, bytes.subarray(newline + 1, at));
  }
  return pool;
}

export function writePool(pool: Map<string, Buffer>): Buffer {
  const parts: Buffer[] = [];
  for (const [guid, bytes] of pool) parts.push(Buffer.from(`${guid} ${bytes.length}\n`), bytes);
  return zlib.gzipSync(Buffer.concat(parts), { level: 9 });
}

export function readCapture(name: string): CaptureEvent[] {
  return JSON.parse(readFileSync(path.join(CAPTURES, `${name}.json`), 'utf8')) as CaptureEvent[];
}

/** Puts marks in the place of messages, which go into the pool. Messages that belie their GUID stay. */
export function takeOutMessages(text: string, pool: Map<string, Buffer>): string {
  let out = '';
  let from = 0;
  FILE_HEAD.lastIndex = 0;
  for (let match = FILE_HEAD.exec(text); match !== null; match = FILE_HEAD.exec(text)) {
    const start = FILE_HEAD.lastIndex;
    const bytes = Buffer.from(text.slice(start, start + Number(match[2])), 'latin1');
    FILE_HEAD.lastIndex = start + bytes.length;
    if (createHash('sha1').update(bytes).digest('hex') !== match[1]) continue;
    pool.set(match[1]!, bytes);
    out += text.slice(from, start) + MARK;
    from = start + bytes.length;
  }
  return out + text.slice(from);
}

/** The opposite of `takeOutMessages`. */
export function putInMessages(text: string, pool: Map<string, Buffer>): Buffer {
  const parts: Buffer[] = [];
  for (const [i, piece] of text.split(MARK).entries()) {
    if (i > 0) {
      const heads = [...parts.at(-1)!.toString('latin1').matchAll(FILE_HEAD)];
      const guid = heads.at(-1)![1]!;
      const bytes = pool.get(guid);
      if (bytes === undefined) throw new Error(`message ${guid} is not in the pool`);
      parts.push(bytes);
    }
    parts.push(Buffer.from(piece, 'latin1'));
  }
  return Buffer.concat(parts);
}
