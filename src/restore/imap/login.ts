import type tls from 'node:tls';
import { ImapClient, quoted, type Tagged } from '../../imap/client.ts';
import { authorities } from '../../platform/client-tls.ts';
import type { BackupError } from '../../platform/errors.ts';
import { isLoopback } from '../csync/access.ts';
import { chooseMechanism } from '../csync-login.ts';

/** How to reach a mail server, and as whom. */
export interface MailAccess {
  host: string;
  port: number;
  /** TLS from the first byte; otherwise STARTTLS where it is offered. */
  tls: boolean;
  user: string;
  password: string;
  /** Whom to act for by proxy authorisation, if not `user`. */
  actAs?: string | undefined;
  /** The password may go out without TLS to other hosts than this one. */
  allowPlaintext: boolean;
  /** PEM file of the authorities that vouch for the server; by default those of the machine. */
  caFile?: string;
  /** COMPRESS=DEFLATE where it is offered. */
  compress: boolean;
}

/** Fast links are the rule, and mail from a backup is sent once. */
const COMPRESSION_LEVEL = 1;

/**
 * Connects, secures, logs in, compresses.
 *
 * @throws BackupError UNAVAILABLE if the server is not reached or its certificate is not good, CREDENTIALS_INVALID if
 *   it refuses the login or would get the password in clear
 */
export async function openImap(access: MailAccess): Promise<ImapClient> {
  const { host, port, user, password, actAs } = access;
  const client = await ImapClient.connect({
    host,
    port,
    tls: access.tls,
    tlsOptions: tlsOptions(access),
    tried: 'restore to',
    name: `${access.tls ? 'imaps' : 'imap'}://${host}:${port}`,
    tlsRemedy: TLS_REMEDY,
  });
  try {
    await client.needCapabilities();
    if (!client.connection.secure && client.has('STARTTLS')) {
      const { status, text } = await client.startTls();
      if (status !== 'OK') throw client.connection.error(`it refuses STARTTLS (${text})`);
      await client.needCapabilities();
    }
    const isSafe = client.connection.secure || access.allowPlaintext || isLoopback(host);
    const answer = await logIn(client, { user, password, actAs }, isSafe);
    if (answer.status !== 'OK') throw refused(client, user, actAs, answer);
    await client.needCapabilities();
    if (access.compress && client.has('COMPRESS=DEFLATE')) await client.compress(COMPRESSION_LEVEL);
    return client;
  } catch (error) {
    client.close();
    throw error;
  }
}

export const TLS_REMEDY =
  'give --ca-file FILE with the certificate of its authority, or tls_server_ca_file in imapd.conf';

/** Nobody stands between us and ourselves: the certificate is not checked there unless authorities are named. */
export function tlsOptions({ host, caFile }: Pick<MailAccess, 'host' | 'caFile'>): tls.ConnectionOptions {
  return caFile === undefined && isLoopback(host) ? { rejectUnauthorized: false } : authorities(caFile);
}

interface Identity {
  user: string;
  password: string;
  actAs?: string | undefined;
}

async function logIn(client: ImapClient, identity: Identity, isSafe: boolean): Promise<Tagged> {
  const { user, password, actAs } = identity;
  const offered = [...client.capabilities].flatMap((name) => /^AUTH=(.+)$/.exec(name)?.[1] ?? []);
  const hasSasl = offered.some((name) => /^(?:PLAIN|SCRAM-SHA-256|SCRAM-SHA-1)$/.test(name));
  if (!hasSasl && actAs === undefined && !client.has('LOGINDISABLED')) {
    if (!isSafe) throw inClear(client);
    const isPlain = (text: string) => /^[\x20-\x7e]*$/.test(text);
    const part = (text: string) => (isPlain(text) ? quoted(text) : Buffer.from(text, 'utf8'));
    return await client.command(['LOGIN ', part(user), ' ', part(password)]);
  }
  if (!hasSasl && client.has('LOGINDISABLED')) throw needsTls(client);
  const strong = offered.filter((name) => name !== 'PLAIN');
  if (!isSafe && !strong.some((name) => name.startsWith('SCRAM-SHA-'))) throw inClear(client);
  const account = { user, password, ...(actAs === undefined ? {} : { actAs }) };
  const sasl = chooseMechanism(offered, account, isSafe);
  return await client.authenticate(sasl, client.has('SASL-IR'));
}

function refused(client: ImapClient, user: string, actAs: string | undefined, answer: Tagged): BackupError {
  if (answer.code === 'PRIVACYREQUIRED') return needsTls(client);
  const whom = actAs === undefined ? user : `${user} for ${actAs}`;
  return client.connection.error(
    `it refuses the login of ${whom} (${answer.text})`,
    answer.code === 'UNAVAILABLE' ? 'UNAVAILABLE' : 'CREDENTIALS_INVALID',
    actAs === undefined
      ? 'Check the user and the password; an administrator gives --as USER to act for one'
      : `Check the password, that ${user} may act for others and that ${actAs} exists`,
  );
}

function inClear(client: ImapClient): BackupError {
  return client.connection.error(
    'it offers no TLS, and the password would go out in clear',
    'CREDENTIALS_INVALID',
    'Use imaps://, have the server offer STARTTLS, or give --allow-plaintext on a network that you trust',
  );
}

function needsTls(client: ImapClient): BackupError {
  return client.connection.error(
    'it takes no login without TLS',
    'CREDENTIALS_INVALID',
    'Use imaps://, or have the server offer STARTTLS',
  );
}
