/**
 * What the server and `csync-backup status`, `freeze` and the like say to each other over the admin socket: one
 * request a connection, a line of JSON; answers are lines of JSON, the last of type `done` or `error`. Times are
 * ISO 8601 UTC, durations seconds.
 */
import path from 'node:path';

/** Longest request line. */
export const MAX_REQUEST_BYTES = 64 * 1024;

export interface AdminRequest {
  command: string;
  [argument: string]: unknown;
}

export type AdminAnswer =
  | { type: 'done'; [field: string]: unknown }
  | { type: 'error'; code: string; message: string }
  | { type: string; [field: string]: unknown };

/** sun_path of struct sockaddr_un holds 107 bytes and a zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * The path to bind or connect. One that is too long for the kernel is reached through a descriptor of its folder:
 * close it, by the caller's `close`, when that is done.
 */
export function socketAddress(
  socketPath: string,
  openFolder: (folder: string) => number,
): { address: string; fd: number | undefined } {
  if (Buffer.byteLength(socketPath) <= MAX_SOCKET_PATH_BYTES) return { address: socketPath, fd: undefined };
  const fd = openFolder(path.dirname(socketPath));
  return { address: `/proc/self/fd/${fd}/${path.basename(socketPath)}`, fd };
}
