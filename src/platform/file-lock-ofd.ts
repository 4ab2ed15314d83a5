import { BackupError } from './errors.ts';
import { loadKoffi, loadLibrary } from './ffi.ts';
import type { LockBackend, LockMode } from './file-lock.ts';

/** struct flock of 64-bit Linux (fcntl.h), as koffi reads and writes it. */
interface Flock {
  l_type: number;
  l_whence: number;
  l_start: number;
  l_len: number;
  l_pid: number;
}

type Fcntl = (fd: number, command: number, lock: Flock) => number;

/** Linux, include/uapi/asm-generic/fcntl.h. */
export const F_OFD_GETLK = 36;
export const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;
const SEEK_SET = 0;

let fcntl: Fcntl | undefined;

/** fcntl(2) with a struct flock, or undefined where koffi does not load. Exported for the tests, which play Cyrus. */
export function loadFcntl(): Fcntl | undefined {
  if (fcntl) return fcntl;
  const koffi = loadKoffi();
  const libc = loadLibrary(null, 'libc.so.6');
  if (!koffi || !libc) return undefined;
  // Anonymous: a named type could be declared once per process only, and every thread declares it.
  const flock = koffi.struct({
    l_type: 'int16_t',
    l_whence: 'int16_t',
    l_start: 'int64_t',
    l_len: 'int64_t',
    l_pid: 'int32_t',
  });
  try {
    fcntl = libc.func('fcntl', 'int', ['int', 'int', koffi.inout(koffi.pointer(flock))]) as unknown as Fcntl;
  } catch {
    return undefined;
  }
  return fcntl;
}

/** The whole file, whatever its length becomes. */
function wholeFile(type: number): Flock {
  return { l_type: type, l_whence: SEEK_SET, l_start: 0, l_len: 0, l_pid: 0 };
}

function failed(tried: string, fd: number, errno: number): BackupError {
  const name = Object.entries(loadKoffi()?.os.errno ?? {}).find(([, value]) => value === errno)?.[0];
  return new BackupError({
    code: 'IO_ERROR',
    tried,
    subject: `descriptor ${fd}`,
    reason: `fcntl says ${name ?? `errno ${errno}`}`,
    remedy: 'Keep the data on a local filesystem that supports record locks',
  });
}

/** Open-file-description locks, or undefined where koffi does not load. */
export function koffiLocks(): LockBackend | undefined {
  const call = loadFcntl();
  const koffi = loadKoffi();
  if (!call || !koffi) return undefined;
  const { EAGAIN, EACCES } = koffi.os.errno;
  const typeOf = (mode: LockMode): number => (mode === 'exclusive' ? F_WRLCK : F_RDLCK);
  return {
    kind: 'ofd',
    tryLock(fd, mode) {
      if (call(fd, F_OFD_SETLK, wholeFile(typeOf(mode))) === 0) return true;
      const errno = koffi.errno();
      if (errno === EAGAIN || errno === EACCES) return false;
      throw failed('lock', fd, errno);
    },
    lockName: () => true, // it is on the file, whatever that is called
    unlock(fd) {
      if (call(fd, F_OFD_SETLK, wholeFile(F_UNLCK)) !== 0) throw failed('unlock', fd, koffi.errno());
    },
    holder(fd, mode) {
      const lock = wholeFile(typeOf(mode));
      if (call(fd, F_OFD_GETLK, lock) !== 0) throw failed('ask who locks', fd, koffi.errno());
      if (lock.l_type === F_UNLCK) return undefined;
      return Math.max(lock.l_pid, 0); // -1 when it is an open-file-description lock
    },
  };
}
