import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type LockKind,
  lockAsync,
  lockHolder,
  lockKind,
  lockName,
  lockSync,
  tryLock,
  unlock,
  useLockKind,
} from '../../src/platform/file-lock.ts';
import { isHeldLockFile, isLockFile, removeDeadLockFile } from '../../src/platform/file-lock-file.ts';
import { koffiLocks } from '../../src/platform/file-lock-ofd.ts';
import { HAS_FFI } from '../support/ffi.ts';

const SOURCES = path.resolve(import.meta.dirname, '../../src/platform');
// koffi has binaries for every platform that the program supports; npm installs it.
const kinds: LockKind[] = HAS_FFI ? ['ofd', 'lockfile'] : ['lockfile'];
let dir: string;
let file: string;
const open: number[] = [];
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'lock-'));
  file = path.join(dir, 'data');
  fs.writeFileSync(file, 'content');
});
afterEach(() => {
  for (const fd of open.splice(0)) fs.closeSync(fd);
  for (const child of children.splice(0)) child.kill('SIGKILL');
  useLockKind('auto');
  fs.rmSync(dir, { recursive: true });
});

function descriptor(): number {
  const fd = fs.openSync(file, 'r+');
  open.push(fd);
  return fd;
}

function close(fd: number): void {
  open.splice(open.indexOf(fd), 1);
  fs.closeSync(fd);
}

/** Another process that runs `code` with `fd` open on the file, says so, and stays. */
async function other(code: string, kind: LockKind): Promise<ChildProcess> {
  const source = `
    import fs from 'node:fs';
    import { tryLock, useLockKind } from '${SOURCES}/file-lock.ts';
    import { loadFcntl } from '${SOURCES}/file-lock-ofd.ts';
    useLockKind('${kind}');
    const fd = fs.openSync(process.argv[1], 'r+');
    /** What Cyrus does: a POSIX record lock of the whole file (F_SETLK is 6). Type 0 read, 1 write, 2 none. */
    const posix = (type) => loadFcntl()(fd, 6, { l_type: type, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 }) === 0;
    process.stdout.write(String(${code}));
    process.stdin.resume();`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source, file], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  await once(child.stdout, 'readable');
  return child;
}

const said = (child: ChildProcess): string => String(child.stdout!.read());

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  await once(child, 'exit');
}

describe.each(kinds)('%s locks', (kind) => {
  beforeEach(() => useLockKind(kind));

  test('exclude another descriptor of the same process, until unlocked', () => {
    const [a, b] = [descriptor(), descriptor()];
    expect(lockKind()).toBe(kind);
    expect(tryLock(a, 'exclusive')).toBe(true);
    expect(tryLock(a, 'exclusive')).toBe(true);
    expect(tryLock(b, 'exclusive')).toBe(false);
    expect(tryLock(b, 'shared')).toBe(false);
    expect(lockHolder(b, 'exclusive')).toBe(kind === 'ofd' ? 0 : process.pid);
    expect(lockHolder(a, 'exclusive')).toBeUndefined();
    unlock(a);
    unlock(a);
    expect(lockHolder(b, 'exclusive')).toBeUndefined();
    expect(tryLock(b, 'exclusive')).toBe(true);
    expect(tryLock(a, 'shared')).toBe(false);
    unlock(b);
  });

  test('exclude another process, until it unlocks or is killed', async () => {
    const fd = descriptor();
    const child = await other("tryLock(fd, 'exclusive')", kind);
    expect(said(child)).toBe('true');
    expect(tryLock(fd, 'exclusive')).toBe(false);
    expect(tryLock(fd, 'shared')).toBe(false);
    await kill(child);
    expect(tryLock(fd, 'exclusive')).toBe(true);
    expect(said(await other("tryLock(fd, 'exclusive')", kind))).toBe('false');
    unlock(fd);
    expect(said(await other("tryLock(fd, 'exclusive')", kind))).toBe('true');
  });

  test('survive that another descriptor of the file is closed', () => {
    const [a, b] = [descriptor(), descriptor()];
    expect(tryLock(a, 'exclusive')).toBe(true);
    close(descriptor());
    expect(tryLock(b, 'exclusive')).toBe(false);
    unlock(a);
  });

  test('hold under a new name that was told before, in the place of another file too, until unlocked', () => {
    const fd = descriptor();
    const renamed = path.join(dir, 'renamed');
    expect(tryLock(fd, 'exclusive')).toBe(true);
    expect(lockName(fd, renamed)).toBe(true);
    fs.renameSync(file, renamed);
    const other = fs.openSync(renamed, 'r+');
    open.push(other);
    expect(tryLock(fd, 'exclusive')).toBe(true);
    expect(tryLock(other, 'exclusive')).toBe(false);
    unlock(fd);
    expect(tryLock(other, 'exclusive')).toBe(true);
    unlock(other);
    expect(fs.readdirSync(dir)).toEqual(['renamed']);
  });

  test('can be waited for', async () => {
    const [a, b] = [descriptor(), descriptor()];
    tryLock(a, 'exclusive');
    let got = false;
    const waiting = lockAsync(b, 'exclusive').then(() => (got = true));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(got).toBe(false);
    expect(lockSync(b, 'exclusive', 10)).toBe(false);
    unlock(a);
    await waiting;
    expect(tryLock(a, 'exclusive')).toBe(false);
    unlock(b);
    expect(lockSync(a, 'exclusive', 0)).toBe(true);
    unlock(a);
  });

  test('are no longer waited for when the signal aborts', async () => {
    const [a, b] = [descriptor(), descriptor()];
    tryLock(a, 'exclusive');
    const controller = new AbortController();
    const waiting = lockAsync(b, 'shared', controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(lockAsync(b, 'shared', controller.signal)).rejects.toThrow('enough');
    unlock(a);
    expect(tryLock(a, 'exclusive')).toBe(true);
    unlock(a);
  });
});

describe.runIf(HAS_FFI)('ofd locks', () => {
  beforeEach(() => useLockKind('ofd'));

  test('are what is used where koffi loads', () => {
    useLockKind('auto');
    expect(lockKind()).toBe('ofd');
  });

  test('shared ones do not exclude each other, and a lock is converted', () => {
    const [a, b] = [descriptor(), descriptor()];
    expect(tryLock(a, 'shared')).toBe(true);
    expect(tryLock(b, 'shared')).toBe(true);
    expect(tryLock(a, 'exclusive')).toBe(false);
    unlock(b);
    expect(tryLock(a, 'exclusive')).toBe(true);
    expect(tryLock(b, 'shared')).toBe(false);
    expect(tryLock(a, 'shared')).toBe(true);
    expect(tryLock(b, 'shared')).toBe(true);
  });

  test('end when the descriptor is closed', () => {
    const [a, b] = [descriptor(), descriptor()];
    tryLock(a, 'exclusive');
    close(a);
    expect(tryLock(b, 'exclusive')).toBe(true);
  });

  test('cover the file whatever its length becomes', async () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    fs.ftruncateSync(fd, 1 << 20);
    expect(said(await other('posix(1)', 'ofd'))).toBe('false');
  });

  test('are excluded by the POSIX locks that Cyrus takes, and their holder is known', async () => {
    const fd = descriptor();
    const writer = await other('posix(1)', 'ofd');
    expect(said(writer)).toBe('true');
    expect(tryLock(fd, 'exclusive')).toBe(false);
    expect(tryLock(fd, 'shared')).toBe(false);
    expect(lockHolder(fd, 'shared')).toBe(writer.pid);
    await kill(writer);
    const reader = await other('posix(0)', 'ofd');
    expect(tryLock(fd, 'exclusive')).toBe(false);
    expect(tryLock(fd, 'shared')).toBe(true);
    await kill(reader);
  });

  test('exclude the POSIX locks that Cyrus takes', async () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    expect(said(await other('posix(1)', 'ofd'))).toBe('false');
    expect(said(await other('posix(0)', 'ofd'))).toBe('false');
    tryLock(fd, 'shared');
    expect(said(await other('posix(1)', 'ofd'))).toBe('false');
    expect(said(await other('posix(0)', 'ofd'))).toBe('true');
  });

  test('a descriptor that cannot be locked is an error, not a lock that somebody else has', () => {
    const readOnly = fs.openSync(file, 'r');
    open.push(readOnly);
    expect(tryLock(readOnly, 'shared')).toBe(true);
    expect(() => tryLock(readOnly, 'exclusive')).toThrowError(
      expect.objectContaining({ code: 'IO_ERROR', reason: 'fcntl says EBADF' }) as Error,
    );
    expect(koffiLocks()?.kind).toBe('ofd');
  });
});

describe('lock files', () => {
  beforeEach(() => useLockKind('lockfile'));

  test('lie beside the file and name their process; none is left', () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    expect(fs.readdirSync(dir).sort()).toEqual(['data', 'data.lock']);
    expect(fs.readFileSync(`${file}.lock`, 'latin1')).toMatch(
      new RegExp(`^${process.pid} \\d+ [0-9a-f]{16} [0-9a-f]{16}$`),
    );
    unlock(fd);
    expect(fs.readdirSync(dir)).toEqual(['data']);
  });

  test('of a file whose place another one has taken are those of the place', () => {
    const fd = descriptor();
    fs.writeFileSync(path.join(dir, 'new'), 'other content');
    fs.renameSync(path.join(dir, 'new'), file);
    const successor = descriptor();
    expect(tryLock(fd, 'exclusive')).toBe(true);
    expect(fs.readdirSync(dir).sort()).toEqual(['data', 'data.lock']);
    expect(tryLock(successor, 'exclusive')).toBe(false);
    unlock(fd);
    expect(fs.readdirSync(dir)).toEqual(['data']);
  });

  test('that somebody has are not taken as a further name', () => {
    const [fd, other] = [descriptor(), fs.openSync(path.join(dir, 'other'), 'w')];
    open.push(other);
    tryLock(fd, 'exclusive');
    tryLock(other, 'exclusive');
    expect(lockName(fd, path.join(dir, 'other'))).toBe(false);
    unlock(fd);
    expect(fs.readdirSync(dir).sort()).toEqual(['data', 'other', 'other.lock']);
    unlock(other);
  });

  test('do not outlive a descriptor whose number another file has got', () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    close(fd);
    const next = fs.openSync(path.join(dir, 'next'), 'w');
    open.push(next);
    expect(next).toBe(fd);
    expect(tryLock(next, 'exclusive')).toBe(true);
    expect(fs.readdirSync(dir).sort()).toEqual(['data', 'next', 'next.lock']);
    unlock(next);
  });

  test('are known by their names, those of dead processes are cleared away', () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    fs.writeFileSync(path.join(dir, 'gone.lock'), '4194305 1 0123456789abcdef 0011223344556677');
    for (const name of ['data.lock', 'gone.lock']) removeDeadLockFile(path.join(dir, name));
    removeDeadLockFile(path.join(dir, 'never-there.lock'));
    expect(fs.readdirSync(dir).sort()).toEqual(['data', 'data.lock']);
    expect(isHeldLockFile(path.join(dir, 'data.lock'))).toBe(true);
    const nonce = '0011223344556677';
    const names = [
      'x.lock',
      `x.lock.${nonce}`,
      `x.lock.${nonce}.${nonce}`,
      'x.lock.001122334455',
      'x.lock.unknown',
    ];
    expect(names.filter(isLockFile)).toEqual(names);
    expect(['x', 'x.lock_a1B2c3', 'x_a1B2c3', 'x.lock.1', 'lock'].filter(isLockFile)).toEqual([]);
    unlock(fd);
  });

  test('of a process that is no more, of an earlier boot, and of a pid given to another are taken over', () => {
    const fd = descriptor();
    tryLock(fd, 'exclusive');
    const [pid, start, boot, nonce] = fs.readFileSync(`${file}.lock`, 'latin1').split(' ');
    unlock(fd);
    for (const owner of [
      `4194305 ${start} ${boot} ${nonce}`, // above the kernel's largest pid
      `${pid} ${start} 0123456789abcdef ${nonce}`,
      `${pid} 1 ${boot} ${nonce}`,
      'nonsense',
      '',
    ]) {
      fs.writeFileSync(`${file}.lock`, owner);
      expect(tryLock(fd, 'exclusive')).toBe(true);
      unlock(fd);
      expect(fs.readdirSync(dir)).toEqual(['data']);
    }
    fs.writeFileSync(`${file}.lock`, `${pid} ${start} ${boot} ${nonce}`);
    expect(tryLock(fd, 'exclusive')).toBe(false);
  });

  test('of a process that has ended, and whose parent has not asked yet, are taken over', async () => {
    const fd = descriptor();
    const source = `
      import fs from 'node:fs';
      import { tryLock, useLockKind } from '${SOURCES}/file-lock.ts';
      useLockKind('lockfile');
      tryLock(fs.openSync(process.argv[1], 'r+'), 'exclusive');`;
    // The shell has become something that waits for nobody.
    const parent = spawn(
      'sh',
      ['-c', '"$@" & exec sleep 60', 'sh', process.execPath, '--input-type=module', '-e', source, file],
      { stdio: 'ignore' },
    );
    children.push(parent);
    const owner = (): string | undefined =>
      fs.existsSync(`${file}.lock`) ? fs.readFileSync(`${file}.lock`, 'latin1').split(' ')[0] : undefined;
    await expect.poll(owner, { timeout: 20_000 }).toBeDefined();
    await expect.poll(() => fs.readFileSync(`/proc/${owner()}/stat`, 'latin1')).toContain(') Z ');
    expect(tryLock(fd, 'exclusive')).toBe(true);
    unlock(fd);
  });

  test('a taker-over that died on the way does not block for ever', () => {
    const fd = descriptor();
    fs.writeFileSync(`${file}.lock`, '4194305 1 0123456789abcdef 0011223344556677');
    fs.writeFileSync(`${file}.lock.0011223344556677`, '4194305 2 0123456789abcdef 8899aabbccddeeff');
    expect(lockSync(fd, 'exclusive', 1000)).toBe(true);
    unlock(fd);
    expect(fs.readdirSync(dir)).toEqual(['data']);
  });

  test('are held by one of many that try at once', async () => {
    fs.writeFileSync(`${file}.lock`, '4194305 1 0123456789abcdef 0011223344556677');
    const all = await Promise.all(
      Array.from({ length: 4 }, () => other("tryLock(fd, 'exclusive')", 'lockfile')),
    );
    expect(all.map(said).filter((answer) => answer === 'true')).toHaveLength(1);
  });
});
