/** Who is at the other end of a Unix socket: SO_PEERCRED, socket(7). */
import type net from 'node:net';
import { bind, loadLibrary } from './ffi.ts';

export interface PeerCredentials {
  pid: number;
  uid: number;
  gid: number;
}

/** Linux, include/uapi/asm-generic/socket.h. */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: three int32 in host order. */
const UCRED_BYTES = 12;

type GetSockOpt = (fd: number, level: number, name: number, value: Uint8Array, length: Uint32Array) => number;

let getsockopt: GetSockOpt | undefined;

/** The process that connected, as the kernel remembers it; undefined where that cannot be asked. */
export function peerCredentials(socket: net.Socket): PeerCredentials | undefined {
  const fd = (socket as net.Socket & { _handle?: { fd?: number } })._handle?.fd;
  const libc = loadLibrary(null, 'libc.so.6');
  if (fd === undefined || fd < 0 || libc === undefined) return undefined;
  getsockopt ??= bind<GetSockOpt>(libc, 'int getsockopt(int, int, int, _Out_ void *, _Inout_ uint32_t *)');
  if (getsockopt === undefined) return undefined;
  const value = new Uint8Array(UCRED_BYTES);
  const length = new Uint32Array([UCRED_BYTES]);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length) !== 0) return undefined;
  const [pid, uid, gid] = new Int32Array(value.buffer);
  return { pid: pid!, uid: uid!, gid: gid! };
}
