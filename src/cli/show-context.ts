/** What the functions behind `show` share. */
import type { Config } from '../config/config.ts';
import { toAdmin } from '../csync/mailbox-name.ts';
import { BackupError } from '../platform/errors.ts';
import type { OpenBackup } from '../store/open-backup.ts';
import type { ConfigFlag } from './config-option.ts';
import type { LineWriter } from './standard-output.ts';
import { printUserid } from './userid-text.ts';

export interface ShowFlags extends ConfigFlag {
  user?: string;
  mailbox?: string;
  file?: string;
  json?: boolean;
}

export interface ShowContext {
  backup: OpenBackup;
  config: Config;
  out: LineWriter;
  json: boolean;
}

/** Writes an object, or its columns. */
export function print({ out, json }: ShowContext, object: object, columns: readonly unknown[]): void {
  out.write(json ? JSON.stringify(object) : columns.map((column) => column ?? '-').join('\t'));
}

/** Seconds since 1970 as ISO 8601; null for none. */
export function isoTime(seconds: number | null | undefined): string | null {
  return seconds === null || seconds === undefined ? null : new Date(seconds * 1000).toISOString();
}

/** Internal name -> as the administrator sees it, for people. */
export function shownName(mboxname: string, config: Config): string {
  return printUserid(toAdmin(mboxname, config));
}

/** A thing that was asked for is not in the backup. */
export function notThere(what: string, path: string, near: readonly string[] = []): BackupError {
  const meant = near.length === 0 ? '' : `Did you mean ${[...new Set(near)].join(', ')}? `;
  return new BackupError({
    code: 'NOT_FOUND',
    tried: 'find',
    subject: what,
    reason: `the index of ${path} does not have it`,
    remedy: `${meant}See csync-backup show for what there is, and csync-backup verify whether the index is up to date`,
  });
}
