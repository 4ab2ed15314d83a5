import { BackupError } from '../platform/errors.ts';
import type { ConfProblem } from './conf-file.ts';

/** A problem with, where that can be said, what would be right. */
export interface ConfigProblem extends ConfProblem {
  /** Without a full stop. */
  allowed?: string;
}

/** `FILE:LINE: option "value" reason; allowed: ...`; of a file as a whole without the place. */
function describeProblem(problem: ConfigProblem): string {
  const where = problem.line > 0 ? `${problem.file}:${problem.line}: ` : '';
  const subject = problem.subject === problem.file ? '' : `${problem.subject} `;
  const value = problem.value === undefined ? '' : `"${problem.value}" `;
  const allowed = problem.allowed === undefined ? '' : `; allowed: ${problem.allowed}`;
  return `${where}${subject}${value}${problem.reason}${allowed}`;
}

/** One error for everything that is wrong, so that a file can be put right in one go. */
export function configInvalid(file: string, problems: readonly ConfigProblem[]): BackupError {
  const lines = problems.map(describeProblem);
  return new BackupError({
    code: 'CONFIG_INVALID',
    tried: 'load the configuration',
    subject: file,
    reason: lines.length === 1 ? lines[0]! : `${lines.length} problems:\n  ${lines.join('\n  ')}\n`,
    remedy: 'Correct the file or name another with -C; "csync-backup config -C FILE" checks one',
  });
}
