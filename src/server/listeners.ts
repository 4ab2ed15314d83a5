/** The sockets on which clients are accepted: bound by us, or handed over by systemd. */
import net from 'node:net';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';

export interface Listener {
  server: net.Server;
  tls: boolean;
  /** `HOST:PORT`, or the path of a Unix socket. */
  address: string;
}

/** Connections that may wait to be accepted: many clients start at the same second after an outage. */
const BACKLOG = 4096;
/** First descriptor that systemd hands over (sd_listen_fds(3)). */
const FIRST_INHERITED_FD = 3;

type OnSocket = (socket: net.Socket, tls: boolean) => void;

/** A listening socket that another program has handed over. */
export interface Inherited {
  fd: number;
  tls: boolean;
}

/**
 * Sockets handed over by systemd. One whose name (FileDescriptorName=) ends in `tls` is for TLS from the
 * first byte.
 */
export function inheritedSockets(env: NodeJS.ProcessEnv = process.env, pid = process.pid): Inherited[] {
  if (env.LISTEN_PID !== String(pid)) return [];
  const count = Number(env.LISTEN_FDS);
  if (!Number.isInteger(count) || count < 1) return [];
  const names = (env.LISTEN_FDNAMES ?? '').split(':');
  return Array.from({ length: count }, (_, i) => ({
    fd: FIRST_INHERITED_FD + i,
    tls: /tls$/i.test(names[i] ?? ''),
  }));
}

/**
 * Listens on what was handed over, by default by systemd, or else on what is configured.
 *
 * @throws BackupError UNAVAILABLE when an address cannot be bound; nothing is left listening then
 */
export async function openListeners(
  config: Config,
  onSocket: OnSocket,
  inherited: readonly Inherited[] = inheritedSockets(),
): Promise<Listener[]> {
  const wanted: { tls: boolean; options: net.ListenOptions & { fd?: number }; name: string }[] =
    inherited.length > 0
      ? inherited.map(({ fd, tls }) => ({ tls, options: { fd }, name: `descriptor ${fd}` }))
      : config.listen.map(({ host, port, tls }) => ({
          tls,
          options: { host, port },
          name: `${host}:${port}`,
        }));
  const listeners: Listener[] = [];
  for (const { tls, options, name } of wanted) {
    const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) =>
      onSocket(socket, tls),
    );
    try {
      await listen(server, options);
    } catch (error) {
      for (const opened of listeners) opened.server.close();
      throw new BackupError({
        code: 'UNAVAILABLE',
        tried: 'listen on',
        subject: name,
        reason: error instanceof Error ? error.message : String(error),
        remedy: 'Stop what uses it, or choose another backup_listen',
        cause: error,
      });
    }
    listeners.push({ server, tls, address: shownAddress(server) });
  }
  return listeners;
}

function listen(server: net.Server, options: net.ListenOptions & { fd?: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...options, backlog: BACKLOG }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

export function shownAddress(server: net.Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') return address ?? '';
  return address.family === 'IPv6'
    ? `[${address.address}]:${address.port}`
    : `${address.address}:${address.port}`;
}
