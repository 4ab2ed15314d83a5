/** How Cyrus's restore reaches the server that it restores to: options of imapd.conf that are not ours. */
import { existsSync } from 'node:fs';
import path from 'node:path';
import { readConfFile } from './conf-file.ts';

export interface SyncOptions {
  authname: string | undefined;
  realm: string | undefined;
  password: string | undefined;
  /** A number or the name of a service. */
  port: string | undefined;
  /** Whether a port may be that of imapd. */
  tryImap: boolean;
}

/** What is read if nothing else is named: ours if it is there, else what Cyrus reads. */
const DEFAULT_FILES = ['/etc/csync-backup.conf', '/etc/imapd.conf'] as const;

/**
 * `restore_authname` and so on, as restore(8) has them, else `sync_authname` and so on, which Cyrus's program really
 * reads.
 */
export function readSyncOptions(file: string | undefined): SyncOptions {
  const named = file === undefined ? DEFAULT_FILES.find((one) => existsSync(one)) : path.resolve(file);
  const entries = named !== undefined && existsSync(named) ? readConfFile(named).entries : [];
  const value = (name: string): string | undefined =>
    [`restore_${name}`, `sync_${name}`]
      .map((key) => entries.find((entry) => entry.key === key)?.value)
      .find((text) => text !== undefined);
  return {
    authname: value('authname'),
    realm: value('realm'),
    password: value('password'),
    port: value('port'),
    tryImap: !/^(?:no|off|false|0|f|n)/i.test(value('try_imap') ?? 'yes'),
  };
}
