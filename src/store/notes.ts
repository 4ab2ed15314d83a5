/**
 * Notes: lines of what Cyrus does not store (quota, the active script, users gone, ...). They are written as
 *
 *     UNIXTIME APPLY RESERVE %(NOTE verb VALUE value)
 *
 * since Cyrus's readers index nothing for a RESERVE but count it and carry it along; lines with another word
 * than APPLY they skip without counting them, and their reindex then disagrees with the chunk's length.
 */
import { eachBlock, type LineText } from './line-text.ts';
import type { OpenChunk } from './open-chunk.ts';

export const NOTE_VERB = 'RESERVE';
export const NOTE_KEY = 'NOTE';
export const VALUE_KEY = 'VALUE';

/** Appends a note; `value` is dlist text without a line end. */
export function writeNote(chunk: OpenChunk, verb: string, value: LineText): void {
  chunk.beginLine();
  chunk.appendText(Buffer.from(`${NOTE_VERB} %(${NOTE_KEY} ${verb} ${VALUE_KEY} `, 'latin1'));
  eachBlock(value, (block) => chunk.appendText(block));
  chunk.appendText(Buffer.from(')\r\n', 'latin1'));
}

/** What stands between the verb and the line end of a command's text. */
export function noteValue(text: LineText, verb: string): LineText {
  const before = verb.length + 1;
  const after = 2;
  if ('bytes' in text) return { bytes: text.bytes.subarray(before, text.bytes.length - after) };
  return { ...text, offset: text.offset + before, length: text.length - before - after };
}
