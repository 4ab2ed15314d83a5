import type { Session } from '../session.ts';

/** A command that is neither APPLY nor GET. */
export interface Command {
  readonly word: string;
  /** Allowed before login. */
  readonly anonymous: boolean;
  /** Gives the line that answers it, or undefined if it has answered itself. */
  run(session: Session, args: string[]): Promise<string | undefined>;
}

/** `Restart` for RESTART: as backupd writes the word in its complaints. */
function shown(word: string): string {
  return word[0] + word.slice(1).toLowerCase();
}

/** A complaint if there are not `count` arguments. */
export function wrongCount(word: string, args: string[], least: number, most = least): string | undefined {
  if (args.length < least) return `BAD Missing required argument to ${shown(word)}`;
  return args.length > most ? `BAD Unexpected extra arguments to ${shown(word)}` : undefined;
}
