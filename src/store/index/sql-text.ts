/**
 * Text as bytes. What clients send is bytes, mostly ASCII, sometimes UTF-8, sometimes neither; Cyrus keeps it
 * in TEXT columns byte for byte. Inside this program such text is a string of one character per byte
 * (latin1). A string with 8-bit characters would be encoded on its way into SQLite, so it goes in as a blob
 * that the statement casts: every parameter that may be such text is written `CAST(? AS TEXT)`, and is read as
 * `CAST(column AS BLOB)`.
 */

/** A value to bind where the statement says `CAST(? AS TEXT)`. */
export type SqlText = string | Buffer;

const HAS_8BIT = /[\u0080-\u00ff]/;

/** Byte string -> value to bind. */
export function sqlText(text: string): SqlText;
export function sqlText(text: string | null): SqlText | null;
export function sqlText(text: string | null): SqlText | null {
  return text !== null && HAS_8BIT.test(text) ? Buffer.from(text, 'latin1') : text;
}

/** What `CAST(column AS BLOB)` gives -> byte string. */
export function fromBlob(blob: Buffer): string;
export function fromBlob(blob: Buffer | null): string | null;
export function fromBlob(blob: Buffer | null): string | null {
  return blob === null ? null : blob.toString('latin1');
}

/** Unsigned 64 bit value -> what SQLite, like Cyrus, stores: the same bits as a signed integer. */
export function toSigned64(value: number | bigint): number | bigint {
  return typeof value === 'number' ? value : BigInt.asIntN(64, value);
}

/** `CAST(column AS TEXT)` of such a column -> decimal digits of the unsigned value. */
export function unsignedDigits(text: string): string {
  return text.startsWith('-') ? BigInt.asUintN(64, BigInt(text)).toString() : text;
}
