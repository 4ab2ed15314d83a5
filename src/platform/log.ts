/** The program's log: JSON lines by pino on standard error, written at once so that a kill loses none. */
import { type Logger, pino } from 'pino';

/** A logger whose lines all carry `bindings`. `level` is one of pino's. */
export function createLogger(level: string, bindings: Record<string, unknown> = {}): Logger {
  return pino(
    { level, base: bindings, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );
}
