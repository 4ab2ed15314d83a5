/** What a command leaves behind for the end of the program: what it was about, and what is to be done with that. */
import type { CommandFigure } from '../metrics/command-metrics.ts';

export type Summary = Partial<Record<CommandFigure, number>>;

let summary: Summary = {};
let last: ((exitStatus: number, summary: Summary) => Promise<void>) | undefined;

/** Figures of the command's summary, for whoever wants them at the end; other keys are nobody's. */
export function noteSummary(figures: Summary & Record<string, unknown>): void {
  summary = { ...figures };
}

/** Has this done before the program ends, once, however the command ended. It must not reject. */
export function atEnd(work: typeof last): void {
  last = work;
}

/** The program is about to end with this status. */
export async function commandEnds(exitStatus: number): Promise<void> {
  const work = last;
  last = undefined;
  await work?.(exitStatus, summary);
}
