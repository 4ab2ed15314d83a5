import { BackupError, type ErrorCode } from './errors.ts';

const NOT_ALLOWED = 'Run commands as root or as the user of the server, whom it has to belong to (chown)';

const CODES: Record<string, [ErrorCode, string]> = {
  ENOSPC: ['NO_SPACE', 'Free space (df), or inodes (df -i), on this filesystem'],
  EDQUOT: ['NO_SPACE', 'Raise the quota of the user that the server runs as'],
  EACCES: ['PERMISSION_DENIED', NOT_ALLOWED],
  EPERM: ['PERMISSION_DENIED', NOT_ALLOWED],
  EROFS: ['PERMISSION_DENIED', 'Mount the filesystem writable'],
  EMFILE: ['LIMIT_EXCEEDED', 'Raise the number of open files (LimitNOFILE in the unit, ulimit -n)'],
  ENFILE: ['LIMIT_EXCEEDED', 'Raise the number of open files of the whole machine (sysctl fs.file-max)'],
  ESTALE: ['IO_ERROR', 'The file server has replaced or removed it: look there, and mount it again'],
  EISDIR: ['BAD_PARAMETERS', 'It is a folder: name a file'],
  ENOTDIR: ['BAD_PARAMETERS', 'A part of the path is a file and no folder: check the path'],
  ENOENT: ['NOT_FOUND', 'Check the path, and that its disk is mounted'],
};

/** A failed system call as a BackupError; a BackupError stays as it is. */
export function ioError(cause: unknown, tried: string, subject: string): BackupError {
  if (cause instanceof BackupError) return cause;
  const errno = cause instanceof Error ? ((cause as NodeJS.ErrnoException).code ?? '') : '';
  const [code, remedy] = CODES[errno] ?? ['IO_ERROR', 'Check the disk and the kernel log'];
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new BackupError({ code, tried, subject, reason, remedy, cause });
}
