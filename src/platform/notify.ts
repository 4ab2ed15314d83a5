/**
 * Tells systemd how the service is doing: one datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET
 * names (sd_notify(3)). Node has no Unix datagram sockets, so libc is called.
 */
import { bind, loadLibrary } from './ffi.ts';

const AF_UNIX = 1;
/** SOCK_DGRAM | SOCK_CLOEXEC on Linux. */
const DATAGRAM = 2 | 0o2000000;
const MAX_PATH_BYTES = 107;

/** struct sockaddr_un: the family in host order, then the path; `@` in front stands for an abstract name. */
export function unixAddress(path: string): Buffer | undefined {
  const name = Buffer.from(path);
  if (name.length === 0 || name.length > MAX_PATH_BYTES || !/^[/@]/.test(path)) return undefined;
  const isAbstract = path.startsWith('@');
  if (isAbstract) name[0] = 0;
  const address = Buffer.alloc(2 + name.length + (isAbstract ? 0 : 1));
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  name.copy(address, 2);
  return address;
}

/**
 * Sends a state such as `READY=1`.
 *
 * @returns false if nobody asked for it or it could not be sent: then there is nothing to be done about it
 */
export function notifySystemd(state: string, socketPath = process.env.NOTIFY_SOCKET): boolean {
  const address = socketPath === undefined ? undefined : unixAddress(socketPath);
  const libc = address === undefined ? undefined : loadLibrary(null, 'libc.so.6');
  if (address === undefined || libc === undefined) return false;
  const socket = bind<(family: number, type: number, protocol: number) => number>(
    libc,
    'int socket(int, int, int)',
  );
  const sendto = bind<
    (
      fd: number,
      data: Uint8Array,
      length: number,
      flags: number,
      to: Uint8Array,
      toLength: number,
    ) => number | bigint
  >(libc, 'int64_t sendto(int, const void *, size_t, int, const void *, uint32_t)');
  const close = bind<(fd: number) => number>(libc, 'int close(int)');
  if (socket === undefined || sendto === undefined || close === undefined) return false;
  const fd = socket(AF_UNIX, DATAGRAM, 0);
  if (fd < 0) return false;
  try {
    const data = Buffer.from(state);
    return Number(sendto(fd, data, data.length, 0, address, address.length)) === data.length;
  } finally {
    close(fd);
  }
}
