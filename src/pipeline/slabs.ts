/**
 * Slab memory: one SharedArrayBuffer of a fixed number of slabs, allocated once and shared with every
 * worker. It is what bounds the memory that clients can make the server use: who gets no slab waits, and the
 * socket is paused meanwhile.
 */

/** Bytes of command text that a slab holds. */
export const SLAB_BYTES = 1 << 20;

/** A slab's second half takes the deflated segment: worst case of stored blocks, plus the flush. */
export const DEFLATED_BYTES = SLAB_BYTES + 64 * 1024;

const STRIDE = SLAB_BYTES + DEFLATED_BYTES;

/** Memory for `count` slabs; hand it to workers as it is. Untouched slabs cost no physical memory. */
export function createSlabMemory(count: number): SharedArrayBuffer {
  return new SharedArrayBuffer(count * STRIDE);
}

/** Number of slabs in this memory. */
export function slabCount(memory: SharedArrayBuffer): number {
  return Math.floor(memory.byteLength / STRIDE);
}

/** View of the text half of a slab. */
export function slabText(memory: SharedArrayBuffer, slab: number, length = SLAB_BYTES): Uint8Array {
  return new Uint8Array(memory, slab * STRIDE, length);
}

/** View of the half that holds the deflated segment. */
export function slabDeflated(memory: SharedArrayBuffer, slab: number, length = DEFLATED_BYTES): Uint8Array {
  return new Uint8Array(memory, slab * STRIDE + SLAB_BYTES, length);
}

/**
 * Copies bytes[start..end) into a slab. Uint8Array.set() copies into shared memory word by word, which took 0.33 CPU seconds
 * per GB received; Buffer's copy() of a part of its bytes is memcpy and takes 0.15. All of its bytes it would give to set().
 */
export function copyToSlab(
  slab: Uint8Array,
  at: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  if (start >= end) return;
  Buffer.prototype.copy.call(bytes, slab, at, start, end - 1);
  slab[at + end - 1 - start] = bytes[end - 1]!;
}
