/** Which backups a command line of ctl_backups names, in the order in which Cyrus goes through them. */
import type { Config } from '../../config/config.ts';
import { BackupError } from '../../platform/errors.ts';
import { Catalog } from '../../store/catalog.ts';
import { refuseVanishedCatalog } from '../../store/lost-catalog.ts';
import { domainOf, ownerOfMailbox } from '../select-backups.ts';
import { printUserid, useridOf } from '../userid-text.ts';
import type { CtlMode } from './ctl-backups-line.ts';

export interface CtlTarget {
  /** For people; absent for a backup that was named by its file. */
  userid: string | undefined;
  path: string;
}

export interface NamedTarget {
  userid: string | undefined;
  /** Absent: there is no such backup. */
  path: string | undefined;
  /** As on the command line. */
  name: string;
}

export function* eachTarget(
  { mode, names }: { mode: CtlMode; names: readonly string[] },
  config: Config,
): Generator<NamedTarget, void> {
  if (mode === 'file') {
    for (const name of names) yield { userid: undefined, path: name, name };
    return;
  }
  const catalog = new Catalog(config.backupDbPath);
  try {
    if (mode === 'user' || mode === 'mailbox') {
      for (const name of names) yield lookUp(name, mode, catalog, config);
      return;
    }
    refuseVanishedCatalog(config);
    for (const name of mode === 'all' ? [''] : names) {
      for (const [userid, path] of catalog.entries()) {
        if (mode === 'domain' && domainOf(userid, config) !== useridOf(name)) continue;
        if (mode === 'prefix' && !userid.startsWith(useridOf(name))) continue;
        yield { userid: printUserid(userid), path, name };
      }
    }
  } finally {
    catalog.close();
  }
}

/** The backup of a user, or of the owner of a mailbox. */
export function lookUp(
  name: string,
  mode: 'user' | 'mailbox',
  catalog: Catalog,
  config: Config,
): NamedTarget {
  try {
    const userid = mode === 'user' ? useridOf(name) : ownerOfMailbox(name, config);
    const path = userid === '' ? undefined : catalog.get(userid);
    return { userid: printUserid(userid), path, name };
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'USAGE') throw error;
    return { userid: undefined, path: undefined, name }; // no name that a mailbox can have
  }
}
