/** Checking what a client of the admin socket sends. */
import { BackupError } from '../../platform/errors.ts';
import type { AdminRequest } from './protocol.ts';

export function textArgument(request: AdminRequest, name: string): string {
  const value = request[name];
  if (typeof value === 'string' && value !== '' && value.length <= 1024) return value;
  throw bad(request, name, 'it has to be a text of 1 to 1024 characters');
}

/** A duration in seconds, as milliseconds. Limits inclusive. */
export function secondsArgument(
  request: AdminRequest,
  name: string,
  limits: { fallbackMs: number; minMs: number; maxMs: number },
): number {
  const value = request[name];
  if (value === undefined) return limits.fallbackMs;
  const ms = typeof value === 'number' ? value * 1000 : Number.NaN;
  if (ms >= limits.minMs && ms <= limits.maxMs) return ms;
  throw bad(request, name, `it has to be from ${limits.minMs / 1000} to ${limits.maxMs / 1000} seconds`);
}

export function numberArgument(request: AdminRequest, name: string): number | undefined {
  const value = request[name];
  if (value === undefined || Number.isSafeInteger(value)) return value as number | undefined;
  throw bad(request, name, 'it has to be a whole number');
}

function bad(request: AdminRequest, name: string, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: `use ${name} of`,
    subject: request.command,
    reason,
    remedy: 'See the command with --help',
  });
}
