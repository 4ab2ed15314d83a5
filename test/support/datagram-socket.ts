import { bind, loadLibrary } from '../../src/platform/ffi.ts';
import { unixAddress } from '../../src/platform/notify.ts';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const MSG_DONTWAIT = 0x40;

const libc = loadLibrary(null, 'libc.so.6')!;
const socket = bind<(family: number, type: number, protocol: number) => number>(
  libc,
  'int socket(int, int, int)',
)!;
const bindTo = bind<(fd: number, address: Uint8Array, length: number) => number>(
  libc,
  'int bind(int, const void *, uint32_t)',
)!;
const recv = bind<(fd: number, buffer: Uint8Array, length: number, flags: number) => number | bigint>(
  libc,
  'int64_t recv(int, _Out_ void *, size_t, int)',
)!;
const close = bind<(fd: number) => number>(libc, 'int close(int)')!;

/** A Unix datagram socket that is listened on, as systemd's for notifications. */
export class DatagramSocket implements Disposable {
  readonly #fd: number;

  constructor(path: string) {
    this.#fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    const address = unixAddress(path)!;
    if (bindTo(this.#fd, address, address.length) !== 0) throw new Error(`cannot bind ${path}`);
  }

  /** The oldest datagram that has come; undefined if there is none. */
  receive(): string | undefined {
    const buffer = Buffer.alloc(4096);
    const length = Number(recv(this.#fd, buffer, buffer.length, MSG_DONTWAIT));
    return length < 0 ? undefined : buffer.toString('utf8', 0, length);
  }

  [Symbol.dispose](): void {
    close(this.#fd);
  }
}
