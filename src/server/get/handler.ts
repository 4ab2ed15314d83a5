import { child, type Dlist, textOf } from '../../csync/dlist.ts';
import type { Answer } from '../answer.ts';
import type { Session } from '../session.ts';

/** A GET command by its name. */
export interface GetVerb {
  readonly verb: string;
  run(session: Session, value: Dlist): Promise<Answer>;
}

/** A field of the command's argument, or the bare argument with key ''; undefined if absent, NIL or a list. */
export function field(value: Dlist, key: string): string | undefined {
  return textOf(key === '' ? value : child(value, key)) ?? undefined;
}
