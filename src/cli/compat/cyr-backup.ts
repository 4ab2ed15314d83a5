/**
 * `cyr_backup` with Cyrus's command line, output and exit statuses (backup/cyr_backup.c, cyr_backup(8)). What differs
 * on purpose stands in docs/migration.md.
 */
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { checkLastChunk } from '../../maintenance/stat-check.ts';
import { BackupError } from '../../platform/errors.ts';
import { Catalog } from '../../store/catalog.ts';
import { type OpenBackup, withBackup } from '../../store/open-backup.ts';
import { LineWriter } from '../standard-output.ts';
import { lookUp } from './ctl-backups-targets.ts';
import { COMMANDS, ItemError } from './cyr-backup-items.ts';
import { type CyrLine, parseCyrBackup } from './cyr-backup-line.ts';
import { cyrusWords } from './text.ts';

const OK = 0;
const TEMPFAIL = 75;

/** Runs the command line; returns the exit status. @throws UsageError, BackupError for the configuration. */
export async function cyrBackup(argv: readonly string[]): Promise<number> {
  const line = parseCyrBackup(argv);
  const config = loadConfig({ file: line.config, anyPartitions: true });
  const path = line.mode === 'file' ? line.backup : find(line.backup, line.mode, config);
  if (path === undefined) return complain(line, 'not found in backups.db');
  try {
    return await withBackup(path, (backup) => run(backup, line, config));
  } catch (error) {
    if (error instanceof ItemError) return complain(line, error.message);
    if (error instanceof BackupError) return complain(line, cyrusWords(error.code, error.message));
    throw error;
  }
}

async function run(backup: OpenBackup, line: CyrLine, config: Config): Promise<number> {
  const out = new LineWriter();
  const damage = check(backup, line.verbose, out);
  // Cyrus shows nothing of a backup whose last chunk is damaged; the rest of it is what is wanted then.
  let status = damage === undefined ? OK : complain(line, damage);
  const damaged = (error: BackupError): void => {
    out.flush();
    status = complain(line, cyrusWords(error.code, error.message));
  };
  try {
    await COMMANDS[line.command]({ backup, config, out, args: line.args, damaged });
  } finally {
    out.flush();
  }
  return status;
}

function check({ fd, sizeBytes, index }: OpenBackup, verbose: number, out: LineWriter): string | undefined {
  const last = index
    .chunks()
    .filter(({ length, dataSha1 }) => length !== null && dataSha1 !== null)
    .at(-1);
  if (last === undefined) return undefined;
  const chunk = { ...last, length: last.length ?? 0, dataSha1: last.dataSha1 ?? '' };
  const wrong = checkLastChunk(fd, sizeBytes, chunk);
  if (verbose > 0) out.write(`checking chunk ${last.id} checksums...`);
  if (verbose > 1)
    for (const step of ['file checksum...', 'data length', 'data checksum...'])
      out.write(`  checking ${step}`);
  if (verbose > 0) out.write(wrong === undefined ? 'ok' : 'error');
  out.flush();
  return wrong;
}

function find(name: string, mode: 'user' | 'mailbox', config: Config): string | undefined {
  const catalog = new Catalog(config.backupDbPath);
  try {
    return lookUp(name, mode, catalog, config).path;
  } finally {
    catalog.close();
  }
}

function complain({ backup }: CyrLine, text: string): number {
  process.stderr.write(`${backup}: ${text}\n`);
  return TEMPFAIL;
}
