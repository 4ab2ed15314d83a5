/** `csync-backup reconstruct`: makes backups.db anew from the partitions. */
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import {
  type ReconstructItem,
  type ReconstructReport,
  reconstructCatalog,
} from '../maintenance/reconstruct.ts';
import { noteSummary } from './command-run.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { addPushOption } from './push-gateway.ts';
import { LineWriter } from './standard-output.ts';
import { printUserid } from './userid-text.ts';

interface ReconstructFlags extends ConfigFlag {
  apply?: boolean;
  prune?: boolean;
  verbose?: boolean;
  json?: boolean;
}

const BAD_DATA_STATUS = 65;
const PROGRESS_MS = 200;

export function newReconstructCommand(): Command {
  const command = new Command('reconstruct')
    .description(
      'Make backups.db anew from the data files on all partitions. Whose a file is, is read from its content. Without ' +
        '--apply this only says what it would do. No backup is changed; the old backups.db is kept with the time appended to its name.',
    )
    .addOption(configOption())
    .option('--apply', 'write the new backups.db')
    .option('--prune', 'leave out entries whose files are gone; without this they stay')
    .option('-v, --verbose', 'name the entries that stay as they are too')
    .option(
      '--json',
      'one JSON object a line: type (entry: what, userid, path, other, by; at the end summary: catalog, files, entries, counts, keptAs, applied)',
    )
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup reconstruct', 'what is not as it should be'],
          ['csync-backup reconstruct --apply', 'after backups.db was lost'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runReconstruct);
  return addPushOption(command);
}

export async function runReconstruct(flags: ReconstructFlags): Promise<void> {
  const config = loadConfig({ file: flags.config });
  const out = new LineWriter();
  let shownAt = 0;
  const report = await reconstructCatalog({
    config,
    prune: flags.prune ?? false,
    apply: flags.apply ?? false,
    onItem: (item) => {
      if (item.what === 'kept' && !flags.verbose) return;
      out.write(flags.json ? JSON.stringify(forPeople(item)) : textOf(item, config));
    },
    onProgress: (files) => {
      if (!process.stderr.isTTY || performance.now() - shownAt < PROGRESS_MS) return;
      shownAt = performance.now();
      process.stderr.write(`\r\u001b[K${files} files`);
    },
  });
  if (shownAt > 0) process.stderr.write('\r\u001b[K');
  out.write(
    flags.json ? JSON.stringify({ type: 'summary', ...report }) : summaryOf(report, config.backupDbPath),
  );
  out.flush();
  const { duplicate, mismatch, missing, unreadable } = report.counts;
  noteSummary({ entries: report.entries, missing, unreadable });
  if (duplicate + mismatch + missing + unreadable > 0) process.exitCode = BAD_DATA_STATUS;
}

function forPeople({ what, key, path, other, by }: ReconstructItem): object {
  return {
    type: 'entry',
    what,
    userid: key === null ? null : printUserid(key),
    path,
    ...(other !== undefined && { other: what === 'mismatch' ? printUserid(other) : other }),
    ...(by !== undefined && { by }),
  };
}

function textOf(item: ReconstructItem, config: Config): string {
  const userid = item.key === null ? '-' : printUserid(item.key);
  return `${item.what}\t${userid}\t${item.path}\t${remarkOf(item, config)}`;
}

function remarkOf({ what, other = '', by }: ReconstructItem, { partitions }: Config): string {
  const guess = by === 'name' ? '; only its name says whose it is' : '';
  switch (what) {
    case 'kept':
      return `stays${guess}`;
    case 'added':
      return `is entered${guess}`;
    case 'replaced':
      return `is entered instead of ${other}, which is gone, older, what it was copied from, or another path to it${guess}`;
    case 'missing':
      return 'stays although its file is gone: mount its partition, or give --prune';
    case 'pruned':
      return 'is left out, its file is gone';
    case 'duplicate':
      if (!partitions.some(({ path }) => other.startsWith(`${path}/`)))
        return (
          `is not entered: the user has ${other}, which is on no partition of the configuration and has other content. ` +
          'csync-backup move brings that one here; until then clients go on in it'
        );
      return `is not entered: the user has ${other}, which is newer. It can be read (csync-backup show -f, restore -f); move it off the partition when nothing in it is needed`;
    case 'mismatch':
      return `stays, but what is in it is of ${printUserid(other)}: see csync-backup rename`;
    case 'unreadable':
      return 'cannot be read';
  }
}

function summaryOf(report: ReconstructReport, dbPath: string): string {
  const { files, entries, counts, applied, keptAs, catalog } = report;
  const were = { sound: '', damaged: 'the present one is damaged; ', missing: 'there is none now; ' }[
    catalog
  ];
  const parts = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} ${what}`);
  const done = applied
    ? `${dbPath} was written with ${entries} entries${keptAs === null ? '' : `, the old one is ${keptAs}`}`
    : `${dbPath} would have ${entries} entries; give --apply to write it`;
  return `${files} files: ${parts.join(', ') || 'nothing found'}; ${were}${done}`;
}
