/** How the report of a restore is printed, be it of one user or of all. */
import type { RestoreReport } from '../../restore/report.ts';
import type { Summary } from '../command-run.ts';

const FIGURES = ['mailboxes', 'messages', 'bytes', 'present', 'damaged', 'refused'] as const;

export type ReportFigures = Record<(typeof FIGURES)[number], number>;

export function figuresOf(report: ReportFigures): ReportFigures {
  return Object.fromEntries(FIGURES.map((key) => [key, report[key]])) as ReportFigures;
}

/** The same for those who take the figures of any command. */
export function summaryOf({ mailboxes, messages, bytes, present, damaged, refused }: ReportFigures): Summary {
  const of = { messagesPresent: present, messagesDamaged: damaged, messagesRefused: refused };
  return { mailboxes, messages, bytes, ...of };
}

export function addFigures(total: ReportFigures, report: ReportFigures): void {
  for (const key of FIGURES) total[key] += report[key];
}

/** What does not go without saying. */
export function unusual({ present, damaged, refused }: ReportFigures): string[] {
  const parts: string[] = [];
  if (present > 0) parts.push(`${present} were there already`);
  if (damaged > 0) parts.push(`${damaged} lost by the backup`);
  if (refused > 0) parts.push(`${refused} not taken`);
  return parts;
}

/**
 * Remarks and shortfalls: as objects, or for people on standard error.
 *
 * @param writeJson undefined: for people
 * @param userid whose, where there are several
 */
export function printDetails(
  report: RestoreReport,
  writeJson: ((object: object) => void) | undefined,
  userid?: string,
): void {
  const whose = userid === undefined ? '' : `${userid}: `;
  const of = userid === undefined ? {} : { userid };
  for (const text of report.remarks) {
    if (writeJson !== undefined) writeJson({ type: 'remark', ...of, text });
    else process.stderr.write(`csync-backup: ${whose}${text}\n`);
  }
  for (const shortfall of report.shortfalls) {
    const { kind, what, reason } = shortfall;
    const verb = kind === 'damaged' ? 'lost' : 'not taken';
    if (writeJson !== undefined) writeJson({ type: 'shortfall', ...of, ...shortfall });
    else process.stderr.write(`csync-backup: ${whose}${verb}: ${what}: ${reason}\n`);
  }
}
