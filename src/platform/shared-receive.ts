/**
 * Reads all sockets of a thread, plain ones and those of TLS, through one buffer. Node else allocates 64 kB for each read, and two thirds
 * of a gigabyte received is then garbage to collect: three CPU seconds of it, as measured, with and without TLS.
 *
 * Node offers this to sockets that connect (`onread` of net.connect) and not to those that are accepted, so it is
 * done here with what `onread` itself sets (lib/net.js of Node 24: kBuffer, kBufferCb, kBufferGen, useUserBuffer). Where a
 * later Node has these no more, shareReceiveBuffer() says so and the socket emits 'data' as usual.
 */
import type net from 'node:net';

/** Large enough for several segments of a fast connection in one call. */
const BUFFER_BYTES = 256 * 1024;
/**
 * What a connection gets of it at first, and under pressure: what it has read and finds no room for it has to keep,
 * and there can be ten thousands that wait.
 */
const SMALL_BYTES = 4 * 1024;

let shared: Buffer | undefined;

/** What `onread` needs of a socket; none of it is documented. */
interface Internals {
  _handle?: { useUserBuffer?: (buffer: Uint8Array) => void } | null;
  [symbol: symbol]: unknown;
}

/**
 * From now on the socket gives what it receives to `take`, which must have used or copied it when it returns, and
 * emits no 'data'. pause(), resume() and 'end' work as ever; resume() has to be called for the first time. A socket of TLS
 * gives what it has decrypted already (some 80 kB) in spite of a pause inside `take`.
 *
 * @param isTight asked after each call: whether the next one should bring little
 * @returns false where this Node cannot do so: nothing has changed then
 */
export function shareReceiveBuffer(
  socket: net.Socket,
  take: (bytes: Uint8Array) => void,
  isTight: () => boolean,
): boolean {
  const internals = socket as unknown as Internals;
  const handle = internals._handle;
  const [buffer, callback, next] = ['kBuffer', 'kBufferCb', 'kBufferGen'].map((name) =>
    Object.getOwnPropertySymbols(socket).find((symbol) => symbol.description === name),
  );
  if (buffer === undefined || callback === undefined || next === undefined) return false;
  if (typeof handle?.useUserBuffer !== 'function') return false;
  shared ??= Buffer.allocUnsafeSlow(BUFFER_BYTES);
  const [large, small] = [shared, shared.subarray(0, SMALL_BYTES)];
  internals[buffer] = small;
  internals[callback] = (length: number, bytes: Uint8Array): boolean => {
    take(bytes.subarray(0, length));
    return !socket.isPaused();
  };
  internals[next] = (): Uint8Array => (isTight() ? small : large);
  handle.useUserBuffer(small);
  return true;
}
