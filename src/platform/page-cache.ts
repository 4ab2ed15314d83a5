/** Giving memory of the page cache back to the kernel. */
import { bind, loadLibrary } from './ffi.ts';

/** POSIX_FADV_DONTNEED of Linux on x86-64 and arm64. */
const DONT_NEED = 4;

type Advise = (fd: number, offset: number, length: number, advice: number) => number;

let advise: Advise | undefined;
let isBound = false;

/**
 * Says that bytes [from, to) of a file will not be read again soon: what of them is on disk leaves the page cache, and what is
 * not is begun to be written, so that it leaves at another call. Changes nothing else, and nothing where there is no such call
 * (or no koffi).
 */
export function forgetPages(fd: number, from: number, to: number): void {
  if (!isBound) {
    const library = loadLibrary(null, 'libc.so.6');
    advise =
      library &&
      bind<Advise>(library, 'int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)');
    isBound = true;
  }
  advise?.(fd, from, to - from, DONT_NEED);
}
