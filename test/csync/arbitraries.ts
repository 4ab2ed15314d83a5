import { createHash } from 'node:crypto';
import fc from 'fast-check';
import type { Dlist } from '../../src/csync/dlist.ts';
import { printKvlist, printList, printString } from '../../src/csync/encoder.ts';

/** Bytes that mean something to the grammar come often. */
const byte = fc.oneof(
  fc.constantFrom(...Buffer.from(' \t\r\n(){}%\\"+*NIL0129aZ\x00\x1f\x7f\xff', 'latin1')),
  fc.integer({ min: 0, max: 255 }),
);

export const bytes = fc
  .oneof(
    { weight: 9, arbitrary: fc.array(byte, { maxLength: 30 }) },
    { weight: 1, arbitrary: fc.array(byte, { minLength: 1020, maxLength: 1030 }) },
  )
  .map((values) => Buffer.from(values));

export const keyText = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,11}$/);

export const fileValue: fc.Arbitrary<Dlist> = fc
  .record({ partition: fc.constantFrom('default', 'p 2', 'ssd'), content: bytes })
  .map(({ partition, content }) => ({
    kind: 'file',
    partition,
    guid: createHash('sha1').update(content).digest('hex'),
    content,
  }));

const scalar: fc.Arbitrary<Dlist> = fc.oneof(
  fc.constant<Dlist>({ kind: 'nil' }),
  bytes.map((value): Dlist => ({ kind: 'atom', value })),
  fc
    .constantFrom('\\Seen', '\\Flagged', '\\x{3}')
    .map((flag): Dlist => ({ kind: 'flag', value: Buffer.from(flag) })),
);

/** Any value; with files only where asked for. */
export function dlist(withFiles: boolean): fc.Arbitrary<Dlist> {
  return fc.letrec<{ value: Dlist }>((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      withFiles ? fc.oneof({ weight: 4, arbitrary: scalar }, { weight: 1, arbitrary: fileValue }) : scalar,
      fc.array(tie('value'), { maxLength: 5 }).map((items): Dlist => ({ kind: 'list', items })),
      fc
        .array(fc.tuple(keyText, tie('value')), { maxLength: 5 })
        .map((entries): Dlist => ({ kind: 'kvlist', entries })),
    ),
  })).value;
}

/**
 * Prints a value in one of the many ways in which a client may: quoted where an atom would do, literals of
 * both kinds, escapes, more white space, upper-case GUIDs. `choose` picks among n ways; of those of an atom
 * the last prints a literal that waits for a go-ahead.
 */
export function printLoosely(value: Dlist, choose: (ways: number) => number): string {
  switch (value.kind) {
    case 'nil':
      return 'NIL';
    case 'flag':
      return value.value.toString('latin1');
    case 'atom':
      return printAtomLoosely(value.value.toString('latin1'), choose);
    case 'list':
      return loosen(printList(value.items.map((item) => printLoosely(item, choose))), choose);
    case 'kvlist':
      return loosen(
        printKvlist(value.entries.map(([key, item]) => [key, printLoosely(item, choose)] as const)),
        choose,
      );
    case 'file': {
      const guid = choose(2) === 0 ? value.guid : value.guid.toUpperCase();
      const end = choose(4) === 0 ? '\n' : '\r\n';
      const partition = choose(2) === 0 ? printString(value.partition) : `"${value.partition}"`;
      return `%{${partition} ${guid} ${value.content.length}}${end}${value.content.toString('latin1')}`;
    }
  }
}

function printAtomLoosely(text: string, choose: (ways: number) => number): string {
  const way = choose(4);
  if (way === 0) return `{${text.length}+}${choose(4) === 0 ? '\n' : '\r\n'}${text}`;
  if (way === 3) return `{${text.length}}\r\n${text}`;
  if (way === 2 && !/[\0\r\n]/.test(text)) return `"${text.replace(/["\\]|[a-c]/g, '\\$&')}"`;
  return printString(text, { nonSynchronising: true });
}

function loosen(printed: string, choose: (ways: number) => number): string {
  if (choose(4) !== 0) return printed;
  return printed.endsWith(' )') ? printed : `${printed.slice(0, -1)} \t)`;
}
