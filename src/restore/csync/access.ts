/** Finding and entering a server that takes mail by replication: sync_server, or imapd with X-REPLICATION. */
import { readFileSync } from 'node:fs';
import net from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { authorities } from '../../platform/client-tls.ts';
import { BackupError } from '../../platform/errors.ts';
import { CsyncClient } from '../csync-client.ts';
import type { Account } from '../csync-login.ts';

export interface CsyncAddress {
  host: string;
  /** Undefined: that of imap, then that of csync, as Cyrus's restore tries them. */
  port: number | undefined;
  /**
   * `offered`: STARTTLS where the server offers it, and no password in clear without it but on this machine;
   * `tls`: from the first byte; `insecure`: as `offered`, but the password may go in clear and nobody vouches for the server.
   */
  security: 'offered' | 'tls' | 'insecure';
}

export interface CsyncAccess extends CsyncAddress {
  account: Account;
  /** PEM file of the authorities that vouch for the server; by default those of the machine. */
  caFile?: string;
  /** See Endpoint. */
  tlsRemedy?: string;
  compression?: 'if offered' | 'required' | 'never';
  timeoutMs?: number;
  /** Without a port: whether that of imap is tried. */
  tryImap?: boolean;
}

const IMAP_PORT = 143;
const CSYNC_PORT = 2005;
const IMAPS_PORT = 993;
/** Little CPU, and mail is mostly text. */
const COMPRESS_LEVEL = 1;

export function addressText({ host, port, security }: CsyncAddress): string {
  const name = host.includes(':') ? `[${host}]` : host;
  return `${name}${port === undefined ? '' : `:${port}`}${security === 'offered' ? '' : `/${security}`}`;
}

/**
 * Connects and logs in.
 *
 * @throws BackupError UNAVAILABLE if nobody answers or the server takes no replication, CREDENTIALS_INVALID
 */
export async function openCsync(access: CsyncAccess): Promise<CsyncClient> {
  const { port, security } = access;
  const imap = access.tryImap === false ? [] : [security === 'tls' ? IMAPS_PORT : IMAP_PORT];
  const ports = port === undefined ? [...imap, servicePort('csync') ?? CSYNC_PORT] : [port];
  const failures: BackupError[] = [];
  for (const tried of ports) {
    try {
      return await openAt(access, tried);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      // A wrong password is wrong everywhere, and trying it again may lock the account.
      if (error.code !== 'UNAVAILABLE') throw error;
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  throw new BackupError({
    code: 'UNAVAILABLE',
    tried: 'restore to',
    subject: access.host,
    reason: failures.map((error, i) => `port ${ports[i]}: ${error.reason}`).join('; '),
    remedy: `Check the name, and that the server runs. If it uses other ports: csync://USER@${access.host}:PORT, that of imapd or of sync_server`,
    cause: failures[0],
  });
}

async function openAt(access: CsyncAccess, port: number): Promise<CsyncClient> {
  const { host, security, account, compression = 'never', timeoutMs, tlsRemedy } = access;
  const client = await CsyncClient.open({
    ...{ host, port, tls: security === 'tls', tlsOptions: tlsOptionsOf(access), timeoutMs },
    ...(tlsRemedy !== undefined && { tlsRemedy }),
  });
  try {
    if (!client.secure && client.offers('STARTTLS')) await client.startTls();
    const isNear = isLoopback(host) || security === 'insecure';
    await client.login(account, isNear);
    if (client.isImap && !client.offers('X-REPLICATION')) throw noReplication(client);
    if (compression !== 'never' && client.offers('COMPRESS DEFLATE')) await client.compress(COMPRESS_LEVEL);
    if (compression === 'required' && !client.compressed) throw noCompression(client);
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

/** Nobody stands between us and ourselves: the certificate is not checked there unless authorities are named. */
function tlsOptionsOf({ caFile, security, host }: CsyncAccess): ConnectionOptions {
  const isUnchecked = security === 'insecure' || (caFile === undefined && isLoopback(host));
  return isUnchecked ? { rejectUnauthorized: false } : authorities(caFile);
}

/** Whether it names this machine. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (net.isIPv4(host) && host.startsWith('127.'));
}

/** Of /etc/services, by name or one of its other names; undefined if it is not there. */
export function servicePort(name: string): number | undefined {
  let text: string;
  try {
    text = readFileSync('/etc/services', 'latin1');
  } catch {
    return undefined; // a machine without it
  }
  for (const line of text.split('\n')) {
    const [service, portText, ...others] = line.replace(/#.*/, '').trim().split(/\s+/);
    const port = /^(\d{1,5})\/tcp$/.exec(portText ?? '')?.[1];
    if (port !== undefined && [service, ...others].includes(name)) return Number(port);
  }
  return undefined;
}

function noReplication(client: CsyncClient): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'restore to',
    subject: client.server,
    reason: 'it is an IMAP server without X-REPLICATION',
    remedy: 'Name the port of its sync_server, or restore by plain IMAP: --to imap://USER@HOST',
  });
}

function noCompression(client: CsyncClient): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'compress the connection to',
    subject: client.server,
    reason: 'it does not offer COMPRESS DEFLATE',
    remedy: 'Do without: leave -z out',
  });
}
