/** The active Sieve script is one whose text is lost: what filters the user's mail is not what it was. */
import type { RestoreReport } from './report.ts';
import type { BackupSource } from './source.ts';

/** Says so if nothing but its name is left in the backup. */
export function reportLostScript(source: BackupSource, report: RestoreReport): void {
  const active = source.activeScript();
  if (active === undefined || source.scripts().some(({ filename }) => filename === active)) return;
  reportInactive(active, report);
}

/** @param filename as `main.script` */
export function reportInactive(filename: string, report: RestoreReport): void {
  const name = Buffer.from(filename.replace(/\.script$/, ''), 'latin1').toString('utf8');
  const reason =
    'the backup has lost its text, so no script is active; have the user write it anew and activate it';
  report.shortfall({ kind: 'damaged', what: `active Sieve script ${name}`, reason });
}
