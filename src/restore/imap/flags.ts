import type { RestoreReport } from '../report.ts';
import type { StoredRecord } from '../source.ts';

const SYSTEM = new Set(['\\seen', '\\answered', '\\flagged', '\\deleted', '\\draft']);
/** RFC 3501: the characters of an atom. */
const KEYWORD = /^[!#$&'+-[^-z|}~]+$/;

/** Flags in the form in which the mailbox keeps them. Those that it does not keep are remarked on, with their number. */
export class FlagFilter {
  readonly #permanent: ReadonlySet<string> | undefined;
  readonly #dropped = new Map<string, number>();

  /** @param permanent what PERMANENTFLAGS says, lower case; undefined: all */
  constructor(permanent: ReadonlySet<string> | undefined) {
    this.#permanent = permanent;
  }

  of({ flags }: StoredRecord): string[] {
    return flags.filter((flag) => {
      if (flag.toLowerCase() === '\\recent') return false;
      const isKept = this.#keeps(flag);
      if (!isKept) this.#dropped.set(flag, (this.#dropped.get(flag) ?? 0) + 1);
      return isKept;
    });
  }

  remark(name: string, report: RestoreReport): void {
    for (const [flag, count] of this.#dropped) {
      report.remark(`${name}: the server does not keep the flag ${flag}, which ${count} messages have`);
    }
  }

  #keeps(flag: string): boolean {
    const lower = flag.toLowerCase();
    const isSystem = lower.startsWith('\\');
    if (isSystem ? !SYSTEM.has(lower) : !KEYWORD.test(flag)) return false;
    if (this.#permanent === undefined || this.#permanent.has(lower)) return true;
    return !isSystem && this.#permanent.has('\\*');
  }
}
