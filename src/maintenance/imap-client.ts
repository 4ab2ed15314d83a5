/** As much of an IMAP client as pull needs: login, and XBACKUP of Cyrus IMAP 3.0 to 3.10. */
import net from 'node:net';
import type { PullServer } from '../config/pull-values.ts';
import { printPullServer } from '../config/pull-values.ts';
import { ImapClient as Client, quoted, type Tagged } from '../imap/client.ts';
import { authorities } from '../platform/client-tls.ts';

/** Connecting, TLS, login. */
const TIMEOUT_MS = 30_000;
/** imapd says nothing while it pushes a user, however long that takes; a dead one is found out by TCP. */
const COMMAND_TIMEOUT_MS = 6 * 3600_000;

export interface ImapAccess {
  server: PullServer;
  authname: string;
  password: string;
  /** PEM file of the authorities that vouch for the server; by default those of the machine. */
  caFile?: string;
}

export class ImapClient {
  readonly #client: Client;

  private constructor(client: Client) {
    this.#client = client;
  }

  /**
   * Connects, secures and logs in.
   *
   * @throws BackupError UNAVAILABLE if the server is not reached or cannot do TLS or its certificate is not good,
   *   CREDENTIALS_INVALID if it refuses the login, IO_ERROR or NOT_FOUND for the file of authorities
   */
  static async open(access: ImapAccess): Promise<ImapClient> {
    const { server, authname, password, caFile } = access;
    const { host, port, security } = server;
    const client = await Client.connect({
      ...{ host, port, tls: security === 'tls', timeoutMs: TIMEOUT_MS },
      tlsOptions: { ...authorities(caFile), ...(net.isIP(host) ? {} : { servername: host }) },
      ...{ tried: 'pull through', name: printPullServer({ ...server, patterns: [] }) },
      tlsRemedy: 'name the file with the certificate of its authority as tls_server_ca_file in imapd.conf',
    });
    try {
      if (security === 'starttls') await secure(client);
      await logIn(client, authname, password);
      return new ImapClient(client);
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /**
   * Has the server push users, or shared mailboxes, whose names match the pattern.
   *
   * @param onLine gets each answer, such as `OK USER anne`, as it comes
   * @throws BackupError UNAVAILABLE when the connection breaks
   */
  async xbackup(pattern: string, channel: string, onLine: (line: string) => void): Promise<Tagged> {
    const { connection } = this.#client;
    connection.timeoutMs = COMMAND_TIMEOUT_MS;
    return await this.#client.command(`XBACKUP ${quoted(pattern)}${channel === '' ? '' : ` ${channel}`}`, {
      onUntagged: (unit) => {
        const line = unit.toString('latin1');
        // Other untagged lines speak of mailboxes, alerts and the like.
        if (/^(?:OK|NO) (?:USER|MAILBOX) /i.test(line)) onLine(line);
      },
    });
  }

  /** Whether it can be used no more. */
  get isClosed(): boolean {
    return this.#client.isClosed;
  }

  close(): void {
    this.#client.close();
  }

  async logout(): Promise<void> {
    await this.#client.logout();
  }
}

async function secure(client: Client): Promise<void> {
  const { status, text } = await client.startTls();
  if (status === 'OK') return;
  throw client.connection.error(
    `it offers no STARTTLS (${text})`,
    'UNAVAILABLE',
    'Give it a certificate, or name the server with /tls or, on a network that you trust, /insecure',
  );
}

async function logIn(client: Client, authname: string, password: string): Promise<void> {
  const plain = {
    ...{ mechanism: 'PLAIN', complete: true },
    initial: Buffer.from(`\0${authname}\0${password}`),
    respond: async () => Buffer.alloc(0),
  };
  const { status, text } = await client.authenticate(plain, false);
  if (status === 'OK') return;
  throw client.connection.error(
    `it refuses the login of ${authname} (${text})`,
    'CREDENTIALS_INVALID',
    'Check user and password, and that the server takes PLAIN from an admin',
  );
}
