import net from 'node:net';
import path from 'node:path';
import { loadConfig } from '../../src/config/load.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { verifyCatalog } from '../../src/maintenance/verify-catalog.ts';
import { BackupError } from '../../src/platform/errors.ts';
import { Catalog } from '../../src/store/catalog.ts';
import type { BackupSite } from './backup-server.ts';

export type Line = { type: string } & Record<string, unknown>;

/** Where the server of a site listens for administrators. */
export function socketOf(site: BackupSite): string {
  return path.join(site.dir, 'conf', 'csync-backup.sock');
}

/** Sends bytes to the admin socket and gives the lines that come back, up to the end of the connection. */
export async function askRaw(socketPath: string, bytes: string | Uint8Array): Promise<Line[]> {
  const socket = net.connect(socketPath);
  socket.on('error', () => {});
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket.setEncoding('utf8')) text += chunk as string;
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Line);
}

/** Carries out a command; throws unless its last line is `done`. Gives that line. */
export async function ask(
  site: BackupSite,
  command: string,
  fields: Record<string, unknown> = {},
): Promise<Line> {
  const lines = await askRaw(socketOf(site), `${JSON.stringify({ command, ...fields })}\n`);
  const last = lines.at(-1);
  if (last?.type !== 'done') throw new Error(`${command}: ${JSON.stringify(last)}`);
  return last;
}

/** The data file that backups.db names for a user. */
export function dataPathOf(site: BackupSite, userid: string): string {
  const catalog = new Catalog(path.join(site.dir, 'conf', 'backups.db'));
  try {
    return catalog.get(userid)!;
  } finally {
    catalog.close();
  }
}

/**
 * The faults that `csync-backup verify -A --wait` would find, in this process, which is quicker than one of its own.
 *
 * @throws BackupError when a backup cannot be looked at
 */
export async function allFaults(site: BackupSite): Promise<string[]> {
  const config = loadConfig({ file: site.configFile });
  const catalog = new Catalog(config.backupDbPath);
  const entries = [...catalog.entries()];
  catalog.close();
  const faults = [...verifyCatalog(entries, config)]
    .filter(({ severity }) => severity === 'fault')
    .map(({ text }) => text);
  for (const [userid, dataPath] of entries) {
    const report = await verifyBackup({ dataPath, wait: true });
    if (!report.ok) faults.push(...report.findings.map(({ code, text }) => `${userid}: ${code}: ${text}`));
  }
  return faults;
}

/** What verify finds, in this process, which is quicker than one of its own: `faults, notices` or `locked`. */
export async function verified(site: BackupSite, userid: string): Promise<string> {
  try {
    const { faults, notices } = await verifyBackup({ dataPath: dataPathOf(site, userid) });
    return `${faults} faults, ${notices} notices`;
  } catch (error) {
    if (error instanceof BackupError && error.code === 'LOCKED') return 'locked';
    throw error;
  }
}
