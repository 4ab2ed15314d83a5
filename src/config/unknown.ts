/** Options that look as if they were meant for this program, but are not known to it. */
import type { ConfEntry } from './conf-file.ts';
import { OPTION_LIST } from './options.ts';
import { PARTITION_PREFIX } from './partitions.ts';
import type { ConfigProblem } from './problems.ts';

const KNOWN = new Set(OPTION_LIST.flatMap(([name, option]) => [name, ...(option.otherwise ?? [])]));
const OWN = [...KNOWN].filter((name) => name.startsWith('backup_'));

/**
 * Refuses unknown `backup_*` options, since a misspelt one would silently not work. All else that is unknown
 * belongs to Cyrus or to the SASL library. `CHANNEL_sync_*` are options of sync_client on a mail server, and
 * its channel for backups is usually called "backup".
 */
export function rejectUnknown(entries: readonly ConfEntry[], problems: ConfigProblem[]): void {
  for (const { key, value, file, line } of entries) {
    if (KNOWN.has(key) || key.startsWith(PARTITION_PREFIX)) continue;
    if (!/^backup(_|-|partition)/.test(key) || /^backup_(.*_)?sync_/.test(key)) continue;
    const near = nearest(key);
    problems.push({
      file,
      line,
      subject: key,
      value,
      reason: near === undefined ? 'is no option' : `is no option; ${near} is`,
      allowed: `${OWN.join(', ')}, backuppartition-NAME`,
    });
  }
}

/** The option of ours that differs least, if that is little enough for a slip of the pen. */
function nearest(key: string): string | undefined {
  const ranked = OWN.map((name) => ({ name, distance: editDistance(key, name) }));
  ranked.sort((a, b) => a.distance - b.distance);
  return ranked[0] && ranked[0].distance <= 3 ? ranked[0].name : undefined;
}

/** Levenshtein's: the number of letters to insert, delete or replace. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
