import { createRequire } from 'node:module';
import type { LibraryHandle } from 'koffi';

type Koffi = typeof import('koffi');

/** Set to any value, this makes the program run without system libraries: every portable fallback is used. */
export const NO_FFI_VARIABLE = 'CSYNC_BACKUP_NO_FFI';

let cached: { koffi: Koffi | undefined; reason: string } | undefined;

function load(): { koffi: Koffi | undefined; reason: string } {
  if (cached) return cached;
  if (process.env[NO_FFI_VARIABLE]) {
    cached = { koffi: undefined, reason: `${NO_FFI_VARIABLE} is set` };
    return cached;
  }
  try {
    // require, not import: a missing prebuilt binary must be catchable, and callers are synchronous.
    cached = { koffi: createRequire(import.meta.url)('koffi') as Koffi, reason: '' };
  } catch (error) {
    cached = { koffi: undefined, reason: error instanceof Error ? error.message : String(error) };
  }
  return cached;
}

/** koffi, or undefined where its binary does not load or NO_FFI_VARIABLE is set. */
export function loadKoffi(): Koffi | undefined {
  return load().koffi;
}

/** Why loadKoffi() gave undefined; empty when it did not. For `doctor`. */
export function ffiUnavailableReason(): string {
  return load().reason;
}

/** The first of these shared libraries that the dynamic linker finds; `null` names the program itself and its libc. */
export function loadLibrary(...names: (string | null)[]): LibraryHandle | undefined {
  const koffi = load().koffi;
  if (!koffi) return undefined;
  for (const name of names) {
    try {
      return koffi.load(name);
    } catch {
      // The next name, or undefined: callers report which library they did without.
    }
  }
  return undefined;
}

/** A function of a shared library, typed by the caller; undefined when the library lacks it. */
export function bind<T>(library: LibraryHandle, definition: string): T | undefined {
  try {
    return library.func(definition) as unknown as T;
  } catch {
    return undefined;
  }
}

/**
 * Address of the first byte. It stays valid as long as the memory is referenced: V8 does not move the backing
 * store of an ArrayBuffer (small Buffers from node's pool included).
 */
export function addressOf(bytes: Uint8Array): bigint {
  return loadKoffi()!.address(bytes);
}
