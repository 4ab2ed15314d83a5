/**
 * `backupd` with Cyrus's command line: the server. Cyrus's master(8) starts it with its listening socket on descriptor
 * 4 (master/service.h) and one process then serves all clients; inetd-like programs hand the socket over on descriptor
 * 0; started by hand it listens on its own.
 */
import fs from 'node:fs';
import type { Config } from '../../config/config.ts';
import { type Inherited, inheritedSockets } from '../../server/listeners.ts';
import { runServe } from '../serve.ts';
import { parseCommandLine } from './getopt.ts';
import { UsageError } from './usage-error.ts';

export const BACKUPD_USAGE = `Usage:
    backupd [-C file] [-U uses] [-T timeout] [-D] [-s] [-N] [-p ssf]

Serves sync_client, as csync-backup serve does.

Options:
    -C file     # configuration file (default: /etc/imapd.conf)
    -p ssf      # an outer layer protects the connections; from 2 on, as TLS would
    -s          # TLS from the first byte, on sockets that were handed over
    -U, -T, -D, -N
                # taken and without effect: one process serves all clients until it is told to stop
    -?, --help

In cyrus.conf (a path, since master looks for other names beside its own programs; one child serves all):
    SERVICES {
        backupd   cmd="/usr/local/bin/backupd" listen="csync" prefork=1 maxchild=1
    }

Exit statuses:
    0   stopped by SIGTERM
    64  wrong usage
    69  an address cannot be bound
    78  wrong configuration
`;

const MASTER_LISTEN_FD = 4;
/** Security strength from which on an outer layer keeps what it carries secret. */
const PRIVATE_SSF = 2;

export interface BackupdLine {
  config?: string;
  /** Security strength factor of an outer layer. */
  ssf: number;
  tls: boolean;
}

/** @throws UsageError */
export function parseBackupd(argv: readonly string[]): BackupdLine {
  const { options, operands } = parseCommandLine(argv, {
    short: { C: 'yes', U: 'yes', T: 'yes', D: 'no', X: 'no', s: 'no', N: 'no', f: 'no', p: 'yes', '?': 'no' },
    long: { help: { letter: '?', value: 'no' } },
  });
  if (operands.length > 0) throw new UsageError(`what is ${operands[0]}?`);
  const line: BackupdLine = { ssf: 0, tls: false };
  for (const option of options) {
    if (option.kind === 'unknown') throw new UsageError(option.text);
    if (option.kind === 'missing') throw new UsageError(`option requires an argument -- '${option.letter}'`);
    const { letter, value = '' } = option;
    if (letter === '?') throw new UsageError('', true);
    if (letter === 's') line.tls = true;
    if (letter === 'C') line.config = value;
    if (letter === 'p') line.ssf = number(letter, value);
    if (letter === 'U' || letter === 'T') number(letter, value);
  }
  return line;
}

/** Serves until a signal ends the process. @throws UsageError, BackupError */
export async function backupd(argv: readonly string[]): Promise<undefined> {
  const { config, ssf, tls } = parseBackupd(argv);
  const sockets = handedOver(process.env).map((socket) => ({ ...socket, tls: socket.tls || tls }));
  await runServe({
    config,
    ...(sockets.length > 0 && { sockets }),
    hangupStops: process.env.CYRUS_SERVICE !== undefined,
    adjust: (read: Config) =>
      ssf >= PRIVATE_SSF ? { ...read, allowPlaintext: true, tlsRequired: false } : read,
  });
}

/** The listening sockets of master, systemd or an inetd, whichever there is. */
export function handedOver(env: NodeJS.ProcessEnv): Inherited[] {
  if (env.CYRUS_SERVICE !== undefined && isListening(MASTER_LISTEN_FD))
    return [{ fd: MASTER_LISTEN_FD, tls: false }];
  const bySystemd = inheritedSockets(env);
  if (bySystemd.length > 0) return bySystemd;
  return isListening(0) ? [{ fd: 0, tls: false }] : [];
}

/** The tables of sockets, and what stands in the lines of those that listen. */
const TABLES = [
  { file: 'tcp', inode: 9, listens: (fields: string[]) => fields[3] === '0A' },
  { file: 'tcp6', inode: 9, listens: (fields: string[]) => fields[3] === '0A' },
  // Flags: SO_ACCEPTCON.
  {
    file: 'unix',
    inode: 6,
    listens: (fields: string[]) => (Number.parseInt(fields[3] ?? '0', 16) & 0x10000) !== 0,
  },
] as const;

/** Whether this descriptor of ours is a socket that accepts connections. */
export function isListening(fd: number): boolean {
  let inode: string | undefined;
  try {
    inode = /^socket:\[(\d+)\]$/.exec(fs.readlinkSync(`/proc/self/fd/${fd}`))?.[1];
  } catch {
    return false; // not open
  }
  if (inode === undefined) return false;
  return TABLES.some((table) => {
    let text: string;
    try {
      text = fs.readFileSync(`/proc/self/net/${table.file}`, 'latin1');
    } catch {
      return false; // a kernel without such sockets
    }
    return text.split('\n').some((line) => {
      const fields = line.trim().split(/\s+/);
      return fields[table.inode] === inode && table.listens(fields);
    });
  });
}

function number(letter: string, value: string): number {
  if (!/^-?\d+$/.test(value)) throw new UsageError(`-${letter} takes a number, not ${value}`);
  return Math.max(Number(value), 0);
}
