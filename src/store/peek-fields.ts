/** Looks at the first fields of a command's text without applying it. */
import type { ScalarView } from '../csync/dlist-sax.ts';
import { LineParser } from '../csync/line-parser.ts';

/**
 * The scalars directly inside the command's named list, or its bare argument with key ''. Only what stands
 * before the first nested list is sure to be found if `text` is not all of it.
 */
export function peekFields(text: Uint8Array): Map<string, string> {
  const fields = new Map<string, string>();
  let depth = 0;
  let key = '';
  const nothing = () => {};
  const parser = new LineParser({
    lineStart: nothing,
    lineEnd: nothing,
    malformed: nothing,
    file: nothing,
    beginKvlist: () => depth++,
    beginList: () => depth++,
    end: () => depth--,
    key: (name) => {
      if (depth === 1) key = name;
    },
    scalar: (value: ScalarView) => {
      if (depth <= 1 && !value.isNil && value.held && !fields.has(key)) fields.set(key, value.latin1());
    },
  });
  parser.reset(0);
  parser.push(Buffer.from('0 APPLY ', 'latin1'));
  parser.push(text);
  return fields;
}
