/** What the session needs of each APPLY command while its text arrives. */
import type { Answer } from '../answer.ts';
import type { CommandText } from '../command-text.ts';
import type { Session } from '../session.ts';

export interface ApplyHandler {
  /** Takes the command's text; absent: nobody wants it. */
  readonly text?: CommandText;
  messageStart?(file: { partition: string; guid: string; size: number }): void;
  messageEnd?(): void;
  /** A scalar directly inside the top-level list, or with key '' the bare argument; null is NIL. */
  field?(key: string, value: string | null): void;
  /** A scalar inside a list that is a field. */
  item?(key: string, value: string | null): void;
  /** The command was complete and well-formed. May write untagged lines. */
  finish(): Promise<Answer>;
}

/** An APPLY command by its name, without LOCAL_. */
export interface ApplyVerb {
  readonly verb: string;
  begin(session: Session): ApplyHandler;
}
