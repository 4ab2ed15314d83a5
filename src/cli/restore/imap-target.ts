/** `--to imap://USER@HOST:PORT`, and the options that go with it. */
import { isIPv6 } from 'node:net';
import { loadConfig } from '../../config/load.ts';
import { BackupError } from '../../platform/errors.ts';
import { isLoopback } from '../../restore/csync/access.ts';
import { ImapTarget } from '../../restore/imap/target.ts';
import type { RestoreFlags } from './restore.ts';
import { targetPassword } from './target-password.ts';

const DEFAULT_PORTS = { imap: 143, imaps: 993 };
const SIEVE_PORT = 4190;
const FORM = /^\/\/(?:([^@/]*)@)?(?:\[([^\]]+)\]|([^:[\]/@]+))(?::(\d{1,5}))?\/?$/;

/** @throws BackupError USAGE for what is no such target, or where there is nobody to ask for the password */
export async function openImapTarget(
  scheme: 'imap' | 'imaps',
  rest: string,
  flags: RestoreFlags,
): Promise<ImapTarget> {
  const [, userText, bracketed, plain, portText] = FORM.exec(rest) ?? [];
  const host = bracketed ?? plain;
  if (
    host === undefined ||
    (bracketed !== undefined && !isIPv6(bracketed)) ||
    Number(portText ?? 1) > 65_535
  ) {
    throw unusable(scheme, rest, 'it is not of this form', 'a folder is given with --into');
  }
  const [user, password] = userOf(scheme, rest, userText ?? flags.user ?? '');
  if (password !== undefined) {
    throw unusable(
      scheme,
      rest.replace(/:[^:@]*@/, ':...@'),
      'a password on the command line is for all to see',
      'use --password-file',
    );
  }
  if (user === '') throw unusable(scheme, rest, 'it does not say as whom', 'name the user before an @');
  const port = portText === undefined ? DEFAULT_PORTS[scheme] : Number(portText);
  const caFile = flags.caFile ?? loadConfig({ file: flags.config, anyPartitions: true }).tlsServerCa;
  return new ImapTarget({
    ...{ host, port, user, tls: scheme === 'imaps' },
    password: await targetPassword(user, host, flags, 'Give --password-file FILE'),
    ...(flags.as === undefined ? {} : { actAs: flags.as }),
    allowPlaintext: flags.allowPlaintext ?? false,
    ...(caFile === undefined ? {} : { caFile }),
    // Between programs on one machine it would only cost.
    compress: !isLoopback(host),
    withAcls: flags.acls ?? false,
    sieve: sieveOf(flags.sieve, host),
  });
}

function userOf(scheme: string, rest: string, text: string): [user: string, password: string | undefined] {
  const [user = '', password] = text.split(':', 2);
  try {
    return [decodeURIComponent(user), password];
  } catch {
    throw unusable(scheme, rest, 'the user is not percent-encoded as in a URL', 'write a % in it as %25');
  }
}

function sieveOf(text: string | undefined, host: string): { host: string; port: number } {
  if (text === undefined) return { host, port: SIEVE_PORT };
  const match = /^(?:\[([^\]]+)\]|([^:[\]/@]+))?(?::(\d{1,5}))?$/.exec(text);
  const [, bracketed, plain, portText] = match ?? [];
  const port = Number(portText ?? SIEVE_PORT);
  if (match !== null && text !== '' && port > 0 && port < 65_536)
    return { host: bracketed ?? plain ?? host, port };
  throw new BackupError({
    code: 'USAGE',
    tried: 'use',
    subject: `--sieve ${text}`,
    reason: 'it names no server',
    remedy: 'Give HOST, HOST:PORT or :PORT',
  });
}

function unusable(scheme: string, rest: string, reason: string, hint: string): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'restore to',
    subject: `${scheme}:${rest}`,
    reason,
    remedy: `Give ${scheme}://USER@HOST[:PORT]; ${hint}`,
  });
}
