/** What somebody may have meant who named a mailbox that is not there. */
import { type NameRules, parseMailboxName, toAdmin } from '../csync/mailbox-name.ts';
import { decodeMailboxName } from '../csync/modified-utf7.ts';
import type { StoredMailbox } from './source.ts';

const MOST_NAMES = 8;
/** Longer names are not compared letter by letter. */
const LONGEST = 100;

/** As its user calls it, or did before it was deleted: `INBOX`, `Sent/2025`; a mailbox of nobody as the administrator does. */
export function familiarName({ mboxname }: Pick<StoredMailbox, 'mboxname'>, rules: NameRules): string {
  const { localpart, folders } = parseMailboxName(mboxname, rules);
  if (localpart === undefined) return decodeMailboxName(toAdmin(mboxname, rules));
  return folders.length === 0 ? 'INBOX' : decodeMailboxName(folders.join('/'));
}

/** Those of the names that are most like it, best first; none if nothing is like it. */
export function nearNames(wanted: string, names: readonly string[]): string[] {
  const bare = simple(wanted);
  const last = simple(wanted.split(/[./]/).at(-1)!);
  const rated = names.map((name) => ({ name, rating: rate(bare, last, name) }));
  return rated
    .filter(({ rating }) => rating < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.rating - b.rating)
    .slice(0, MOST_NAMES)
    .map(({ name }) => name);
}

function rate(wanted: string, lastOfWanted: string, name: string): number {
  const bare = simple(name);
  if (bare === wanted) return 0;
  const last = simple(name.split('/').at(-1)!);
  if (last === lastOfWanted) return 1;
  if (bare.length > LONGEST || wanted.length > LONGEST) return Number.POSITIVE_INFINITY;
  const errors = Math.min(distance(bare, wanted), distance(last, lastOfWanted));
  if (errors <= Math.max(1, Math.floor(lastOfWanted.length / 4))) return 1 + errors;
  return lastOfWanted.length >= 3 && bare.includes(lastOfWanted) ? 20 : Number.POSITIVE_INFINITY;
}

/** Without case, accents and the difference between separators. */
function simple(name: string): string {
  return name.normalize('NFKD').replaceAll(/\p{M}/gu, '').replaceAll('.', '/').toLowerCase();
}

/** Letters to be changed, added or left out (Levenshtein). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
