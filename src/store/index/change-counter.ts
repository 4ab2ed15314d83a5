import { readSync } from 'node:fs';

/** File change counter of https://sqlite.org/fileformat.html, 1.3.7: big-endian, one more with each transaction that wrote. */
const COUNTER_AT = 24;
const COUNTER_BYTES = 4;

const bytes = Buffer.alloc(COUNTER_BYTES);

/** Of the SQLite file that is open as `fd`: as long as it stays the same nobody has written to it. Undefined for a shorter file. */
export function changeCounter(fd: number): number | undefined {
  return readSync(fd, bytes, 0, COUNTER_BYTES, COUNTER_AT) === COUNTER_BYTES
    ? bytes.readUInt32BE(0)
    : undefined;
}
