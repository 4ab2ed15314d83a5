/** Sieve scripts by ManageSieve. What the target has already of another text stays. */
import { ManageSieveClient } from '../../imap/managesieve.ts';
import { BackupError } from '../../platform/errors.ts';
import { isLoopback } from '../csync/access.ts';
import { chooseMechanism } from '../csync-login.ts';
import { reportInactive, reportLostScript } from '../lost-script.ts';
import type { RestoreReport } from '../report.ts';
import type { BackupSource, StoredScript } from '../source.ts';
import { type MailAccess, TLS_REMEDY, tlsOptions } from './login.ts';

export interface SieveAccess extends MailAccess {
  /** The ManageSieve server. */
  sieve: { host: string; port: number };
}

export async function restoreScripts(
  access: SieveAccess,
  source: BackupSource,
  report: RestoreReport,
): Promise<void> {
  const scripts = source.scripts();
  if (scripts.length === 0) {
    reportLostScript(source, report);
    return;
  }
  let client: ManageSieveClient | undefined;
  try {
    client = await openSieve(access);
    await putScripts(client, source, report);
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    const { host, port } = access.sieve;
    const reason = `no way in by ManageSieve at ${host}:${port} (${error.reason}); give --sieve HOST:PORT, or put them there by hand: csync-backup restore --to json:FILE has them`;
    for (const script of scripts) report.shortfall({ kind: 'refused', what: labelOf(script), reason });
  } finally {
    await client?.logout();
  }
}

async function putScripts(
  client: ManageSieveClient,
  source: BackupSource,
  report: RestoreReport,
): Promise<void> {
  const held = await client.scripts();
  const wantedActive = source.activeScript();
  const there = new Set(held.map(({ name }) => name));
  const lost = new Set<string>();
  for (const script of source.scripts()) {
    const name = nameOf(script.filename);
    const text = textOf(script, report);
    if (text === undefined) {
      lost.add(script.filename);
      continue;
    }
    if (held.some((one) => one.name === name)) {
      if (text.equals((await client.script(name)) ?? Buffer.alloc(0))) continue;
      const reason = 'the target has another text under this name; delete it there to get that of the backup';
      report.shortfall({ kind: 'refused', what: labelOf(script), reason });
      continue;
    }
    const answer = await client.put(name, text);
    if (answer.status === 'OK') {
      there.add(name);
      continue;
    }
    const reason = `the server says: ${answer.text.replaceAll(/\s+/g, ' ')}`;
    report.shortfall({ kind: 'refused', what: labelOf(script), reason });
  }
  if (wantedActive === undefined) return;
  if (there.has(nameOf(wantedActive))) await activate(client, nameOf(wantedActive), report);
  // One that the target has refused is reported as that.
  else if (lost.has(wantedActive)) reportInactive(wantedActive, report);
  else reportLostScript(source, report);
}

async function activate(client: ManageSieveClient, name: string, report: RestoreReport): Promise<void> {
  const active = (await client.scripts()).find(({ isActive }) => isActive)?.name;
  if (active === name) return;
  const what = `active Sieve script ${printed(name)}`;
  if (active !== undefined) {
    const reason = `at the target ${printed(active)} is active, and stays so; activate ${printed(name)} there by ManageSieve`;
    report.shortfall({ kind: 'refused', what, reason });
    return;
  }
  const { status, text } = await client.activate(name);
  if (status !== 'OK') report.shortfall({ kind: 'refused', what, reason: `the server says: ${text}` });
}

/** Undefined if the backup has lost it. */
function textOf(script: StoredScript, report: RestoreReport): Buffer | undefined {
  try {
    return script.content();
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
    report.shortfall({ kind: 'damaged', what: labelOf(script), reason: error.reason });
    return undefined;
  }
}

async function openSieve(access: SieveAccess): Promise<ManageSieveClient> {
  const { host, port } = access.sieve;
  const client = await ManageSieveClient.connect({
    ...{ host, port, tlsOptions: tlsOptions({ ...access, host }), tlsRemedy: TLS_REMEDY },
    ...{ tried: 'restore Sieve scripts to', name: `${host}:${port}` },
  });
  try {
    if (client.capabilities.has('STARTTLS')) {
      const { status, text } = await client.startTls();
      if (status !== 'OK') throw client.connection.error(`it refuses STARTTLS (${text})`);
    }
    const { user, password, actAs, allowPlaintext } = access;
    const isSafe = client.connection.secure || allowPlaintext || isLoopback(host);
    const account = { user, password, ...(actAs === undefined ? {} : { actAs }) };
    const answer = await client.authenticate(chooseMechanism(client.mechanisms, account, isSafe));
    if (answer.status === 'OK') return client;
    throw client.connection.error(`it refuses the login of ${user} (${answer.text})`, 'CREDENTIALS_INVALID');
  } catch (error) {
    client.close();
    throw error;
  }
}

function nameOf(filename: string): string {
  return filename.replace(/\.script$/, '');
}

function labelOf({ filename }: StoredScript): string {
  return `Sieve script ${printed(nameOf(filename))}`;
}

function printed(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}
