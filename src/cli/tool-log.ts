/** The log of commands that work on backups: they say what came of it, but not what recovery has put aside on the way. */
import type { Logger } from 'pino';
import { createTextLogger } from '../platform/log.ts';

/** Of these somebody may need the rest of the line later: docs/operations.md, A data file that was cut off. */
const TOLD = new Set([
  'the end of the data file is lost; the index that describes it is kept',
  'the damaged end of the backup was put aside',
]);

let log: Logger | undefined;

export function toolLog(): Logger {
  log ??= createTextLogger('warn', ({ msg, ...facts }) => {
    if (!TOLD.has(msg)) return;
    const known = Object.entries(facts).filter(([key]) => key !== 'level' && key !== 'time');
    const text = known.map(([key, value]) => `${key} ${String(value)}`).join(', ');
    process.stderr.write(`csync-backup: ${msg}: ${text}\n`);
  });
  return log;
}
