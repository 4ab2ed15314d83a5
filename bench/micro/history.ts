/** What was measured when, on what, of which commit: a file to which lines are added. */
import { appendFileSync } from 'node:fs';
import path from 'node:path';
import type { Size } from './benchmark.ts';
import type { MachineFacts } from './machine.ts';
import type { Measurement } from './measure.ts';

export const HISTORY_FILE: string = path.join(import.meta.dirname, '..', 'history.jsonl');

export interface HistoryEntry {
  size: Size;
  at: string;
  commit: string;
  facts: MachineFacts;
  measurements: readonly Measurement[];
}

/** One line of JSON, figures with four significant digits. */
export function appendHistory(entry: HistoryEntry, file = HISTORY_FILE): void {
  const text = JSON.stringify(entry, (_, value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(4)) : value,
  );
  appendFileSync(file, `${text}\n`);
}
