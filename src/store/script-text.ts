import type { ScalarView } from '../csync/dlist-sax.ts';
import { LineParser } from '../csync/line-parser.ts';

/**
 * The text of a Sieve script, which is only in the data file: its SIEVE line is parsed for it.
 *
 * @param content of the chunk from the line on, at `lineOffset`
 * @returns undefined if no script stands there
 */
export function scriptText(content: Iterable<Uint8Array>, lineOffset: number): Buffer | undefined {
  let key = '';
  let text: Buffer | undefined;
  let isComplete = false;
  const nothing = () => {};
  const parser = new LineParser({
    lineStart: nothing,
    beginList: nothing,
    beginKvlist: nothing,
    end: nothing,
    file: nothing,
    malformed: nothing,
    lineEnd: () => {
      isComplete = true;
    },
    key: (name) => {
      key = name;
    },
    scalar: (value: ScalarView) => {
      if (key === 'CONTENT') text ??= value.copy();
    },
  });
  parser.reset(lineOffset);
  for (const block of content) {
    parser.push(block);
    if (isComplete) break;
  }
  return text;
}
