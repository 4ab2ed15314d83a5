/** `--to csync://USER@HOST[:PORT][/tls|/insecure]`: who logs in where, and by which password. */
import { isIPv6 } from 'node:net';
import { loadConfig } from '../../config/load.ts';
import { readSyncOptions } from '../../config/sync-options.ts';
import { BackupError } from '../../platform/errors.ts';
import { type CsyncAccess, isLoopback } from '../../restore/csync/access.ts';
import { CsyncTarget } from '../../restore/csync/target.ts';
import { TLS_REMEDY } from '../../restore/imap/login.ts';
import type { RestoreFlags } from './restore.ts';
import { targetPassword } from './target-password.ts';

const FORM = /^\/\/(?:([^@/]+)@)?(?:\[([^\]]+)\]|([^:[\]/@]+))(?::([0-9]{1,5}))?(?:\/(tls|insecure)?)?$/i;
const PASSWORD_REMEDY =
  'Give --password-file PATH, of mode 0600, or sync_authname and sync_password in imapd.conf';
const REMEDY =
  'Give csync://USER@HOST[:PORT], with /tls behind it for TLS from the first byte or /insecure for none';

/** @throws BackupError USAGE; CREDENTIALS_INVALID, UNAVAILABLE of the target */
export async function openCsyncTarget(rest: string, flags: RestoreFlags): Promise<CsyncTarget> {
  const { identity = false, inPlace = false, partition, deleted = false } = flags;
  if (identity && !inPlace) {
    throw new BackupError({
      code: 'USAGE',
      tried: 'use',
      subject: '--identity',
      reason: 'a mailbox with the same unique id cannot stand beside itself',
      remedy: 'Give --in-place with it',
    });
  }
  const access = await accessOf(rest, flags);
  return await CsyncTarget.open(access, {
    keepsIdentity: identity,
    keepsExpunged: deleted,
    partition,
    // Several users at a time keep the target busy.
    ...(flags.allUsers && { connections: 1 }),
  });
}

/**
 * The password is that of --password-file, else of sync_password in the configuration file if the user is sync_authname,
 * else asked for.
 */
async function accessOf(rest: string, flags: RestoreFlags): Promise<CsyncAccess> {
  const [, userText, bracketed, plain, portText, securityText] = FORM.exec(rest) ?? [];
  const host = bracketed ?? plain;
  const port = portText === undefined ? undefined : Number(portText);
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed)))
    throw usage(rest, 'it names no server');
  if (port !== undefined && (port < 1 || port > 65_535)) throw usage(rest, `there is no port ${port}`);
  const configured = readSyncOptions(flags.config);
  const user = userText === undefined ? configured.authname : decode(userText, rest);
  if (user === undefined) throw usage(rest, 'it does not say who logs in');
  if (userText?.includes(':')) {
    const reason = 'a password on the command line is for all to see; use --password-file';
    throw usage(rest.replace(/:[^:@]*@/, ':...@'), reason);
  }
  const security = (securityText?.toLowerCase() ?? 'offered') as CsyncAccess['security'];
  const caFile = flags.caFile ?? loadConfig({ file: flags.config, anyPartitions: true }).tlsServerCa;
  const isConfigured = flags.passwordFile === undefined && user === configured.authname;
  const password =
    (isConfigured ? configured.password : undefined) ??
    (await targetPassword(user, host, flags, PASSWORD_REMEDY));
  return {
    host,
    port,
    security,
    account: { user, password },
    compression: isLoopback(host) ? 'never' : 'if offered',
    ...(caFile !== undefined && { caFile }),
    tlsRemedy: `${TLS_REMEDY}; or /insecure behind the address`,
  };
}

function decode(text: string, rest: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw usage(rest, 'the name of the user is not percent-encoded as in a URL');
  }
}

function usage(rest: string, reason: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'restore to',
    subject: `csync:${rest}`,
    reason,
    remedy: REMEDY,
  });
}
