import { crc32 as zlibCrc32 } from 'node:zlib';
import { bind, loadLibrary } from './ffi.ts';

type Crc32 = (bytes: Uint8Array, seed: number) => number;

/** For less the call costs more than it gains. */
const WORTH_A_CALL_BYTES = 4096;

let forMany: Crc32 | undefined;

/** isa-l's, where it is installed, takes 0.05 CPU seconds per GB, node:zlib's 0.22. */
function loadFastest(): Crc32 {
  const library = loadLibrary('libisal.so.2');
  const refl =
    library &&
    bind<(seed: number, bytes: Uint8Array, length: number) => number>(
      library,
      'uint32_t crc32_gzip_refl(uint32_t seed, const void *bytes, uint64_t length)',
    );
  return refl ? (bytes, seed) => refl(seed, bytes, bytes.byteLength) : zlibCrc32;
}

/** CRC-32 of RFC 1952 (as gzip and twoskip use it), going on from `seed`, the CRC-32 of the bytes before. */
export function crc32(bytes: Uint8Array, seed = 0): number {
  if (bytes.byteLength < WORTH_A_CALL_BYTES) return zlibCrc32(bytes, seed);
  forMany ??= loadFastest();
  return forMany(bytes, seed);
}

/** The generator polynomial of CRC-32, bits reversed. Bit 31 is the coefficient of x^0, bit 0 that of x^31. */
const POLYNOMIAL = 0xedb88320;

/** Product of two polynomials over GF(2) modulo the generator. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0x80000000; bit !== 0; bit >>>= 1) {
    if (a & bit) product ^= b;
    b = b & 1 ? (b >>> 1) ^ POLYNOMIAL : b >>> 1;
  }
  return product >>> 0;
}

/** SQUARES[k] is x^(2^k). The order of x divides 2^32 - 1, so that x^(2^32) is x again. */
const SQUARES: number[] = [0x40000000];
for (let k = 1; k < 32; k++) SQUARES.push(multiply(SQUARES[k - 1]!, SQUARES[k - 1]!));

/** CRC-32 of A followed by B, from their own CRC-32s and the length of B: A's is shifted by 8 bits per byte of B. */
export function crc32Combine(a: number, b: number, lengthB: number): number {
  let shift = 0x80000000;
  // k starts at 3 since lengthB counts bytes; division because lengths may exceed 32 bits.
  for (let k = 3, rest = lengthB; rest > 0; k++, rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shift = multiply(SQUARES[k % 32]!, shift);
  }
  return (multiply(shift, a) ^ b) >>> 0;
}
