/** A command line that Cyrus answers with its usage and the status 64. */
export class UsageError extends Error {
  /** It was asked for. */
  readonly help: boolean;

  constructor(message: string, help = false) {
    super(message);
    this.help = help;
  }
}
