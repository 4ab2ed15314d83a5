/**
 * `restore` with Cyrus's command line, output and exit statuses (backup/restore.c, restore(8)). What differs on purpose
 * stands in docs/migration.md.
 */
import fs from 'node:fs';
import { isIPv6 } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { readSyncOptions } from '../../config/sync-options.ts';
import { mailboxOwner } from '../../csync/mailbox-name.ts';
import { BackupError } from '../../platform/errors.ts';
import { type CsyncAccess, isLoopback, openCsync, servicePort } from '../../restore/csync/access.ts';
import { Copies } from '../../restore/csync/copies.ts';
import { restoreMailboxes } from '../../restore/csync/restore-mailboxes.ts';
import { DEFAULT_CONNECTIONS } from '../../restore/csync/target.ts';
import { withSource } from '../../restore/open-source.ts';
import { RestoreReport } from '../../restore/report.ts';
import type { BackupSource } from '../../restore/source.ts';
import { Catalog } from '../../store/catalog.ts';
import { lookUp } from './ctl-backups-targets.ts';
import { RestoreItems } from './restore-items.ts';
import { parseRestore, type RestoreLine } from './restore-line.ts';
import { cyrusWords } from './text.ts';
import { UsageError } from './usage-error.ts';

const OK = 0;
const TEMPFAIL = 75;
const SERVER = /^(?:\[([^\]]+)\]|([^:[\]/]+))(?::([^/:]+))?(\/tls|\/notls)?$/i;

/** Runs the command line; returns the exit status. @throws UsageError, BackupError for the configuration. */
export async function restore(argv: readonly string[]): Promise<number> {
  const line = parseRestore(argv);
  const access = accessOf(line);
  const config = loadConfig({ file: line.config, anyPartitions: true });
  if (line.wait > 0) {
    process.stderr.write(`Waiting for ${line.wait} seconds for gdb attach...\n`);
    await sleep(line.wait * 1000);
  }
  const path = line.mode === 'file' ? line.backup : find(line.backup, line.mode, config);
  if (path === undefined) return complain(line, 'not found in backups.db');
  try {
    const remark = (text: string): void => void complain(line, text);
    return await withSource(path, { config, remark }, (source) => run(source, line, access, config));
  } catch (error) {
    if (error instanceof BackupError) return complain(line, cyrusWords(error.code, error.message));
    throw error;
  }
}

async function run(
  source: BackupSource,
  line: RestoreLine,
  access: CsyncAccess,
  config: Config,
): Promise<number> {
  const say = (text: string): void => {
    if (line.verbose > 0) process.stderr.write(`${text}\n`);
  };
  const found = new RestoreItems(source, line, config, say);
  let status = source.isPartLost ? complain(line, 'a part of the data file is lost') : OK;
  if (line.all) found.addAll();
  else {
    for (const object of objectsOf(line)) {
      if (!found.addObject(object)) status = complain(line, `${object}: Mailbox does not exist`);
    }
  }
  if (line.dryRun) {
    say('do nothing (-n) specified, exiting now');
    return status;
  }
  if (found.items.length === 0) return status;
  const report = new RestoreReport();
  let client = await openCsync(access);
  try {
    await restoreMailboxes({
      connection: {
        client,
        reopen: async () => {
          client.close();
          return (client = await openCsync(access));
        },
        open: () => openCsync(access),
        most: DEFAULT_CONNECTIONS,
      },
      plan: { source, userid: mailboxOwner(found.items[0]!.mboxname, config), rules: config },
      items: found.items,
      report,
      isLocalOnly: line.localOnly,
      copiesOf: (existing) => new Copies(source, existing),
    });
    await client.exit();
  } finally {
    client.close();
  }
  for (const text of report.remarks) say(text);
  for (const { what, reason } of report.shortfalls) status = complain(line, `${what}: ${reason}`);
  const { messages, present } = report;
  say(`${messages} messages restored${present > 0 ? `, ${present} were there already` : ''}`);
  return status;
}

function* objectsOf({ objects, inputFile }: RestoreLine): Generator<string, void> {
  if (inputFile === undefined) {
    yield* objects;
    return;
  }
  let text: string;
  try {
    text = fs.readFileSync(inputFile === '-' ? 0 : inputFile, 'utf8');
  } catch (error) {
    throw new BackupError({
      code: 'NOT_FOUND',
      tried: 'read the list of objects',
      subject: inputFile,
      reason: error instanceof Error ? error.message : String(error),
      remedy: 'Name a file with an object on each line, or - for standard input',
    });
  }
  for (const row of text.split('\n')) {
    const object = row.replace(/\r$/, '');
    if (object !== '' && !object.startsWith('#')) yield object;
  }
}

/** As sync_client reaches a server: any mechanism, and TLS where it is offered, whoever vouches for it. */
function accessOf({ server, config, requireCompression }: RestoreLine): CsyncAccess {
  const [, bracketed, plain, portText, suffix] = SERVER.exec(server) ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed)))
    throw new UsageError(`${server} is no server: HOST[:PORT]`);
  const options = readSyncOptions(config);
  const named = portText ?? options.port;
  const port = named === undefined ? undefined : /^\d+$/.test(named) ? Number(named) : servicePort(named);
  if (named !== undefined && port === undefined) throw new UsageError(`no such service: ${named}`);
  return {
    host,
    port,
    security: suffix?.toLowerCase() === '/tls' ? 'tls' : 'insecure',
    account: { user: options.authname ?? '', password: options.password ?? '' },
    compression: requireCompression ? 'required' : isLoopback(host) ? 'never' : 'if offered',
    tryImap: options.tryImap,
  };
}

function find(name: string, mode: 'mailbox' | 'user', config: Config): string | undefined {
  const catalog = new Catalog(config.backupDbPath);
  try {
    return lookUp(name, mode, catalog, config).path;
  } finally {
    catalog.close();
  }
}

function complain({ backup }: RestoreLine, text: string): number {
  process.stderr.write(`${backup}: ${text}\n`);
  return TEMPFAIL;
}
