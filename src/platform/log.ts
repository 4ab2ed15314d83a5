/** The program's log: JSON lines by pino on standard error, written at once so that a kill loses none. */
import { createRequire } from 'node:module';
import type { Logger, pino } from 'pino';

/** Read with the first logger: most commands need none, and it takes them 20 ms of CPU time. */
const require = createRequire(import.meta.url);

/** A logger whose lines all carry `bindings`. `level` is one of pino's. */
export function createLogger(level: string, bindings: Record<string, unknown> = {}): Logger {
  const create = require('pino') as typeof pino;
  return create(
    { level, base: bindings, timestamp: create.stdTimeFunctions.isoTime },
    create.destination({ dest: 2, sync: true }),
  );
}

/** A logger whose lines somebody writes otherwise. */
export function createTextLogger(
  level: string,
  write: (line: { msg: string } & Record<string, unknown>) => void,
): Logger {
  const create = require('pino') as typeof pino;
  return create({ level, base: {} }, { write: (line: string) => write(JSON.parse(line)) });
}
