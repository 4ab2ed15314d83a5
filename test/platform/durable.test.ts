import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bootTag } from '../../src/platform/boot.ts';
import {
  fdatasync,
  syncDirectory,
  syncDirectorySync,
  writeAllSync,
  writeFileDurably,
} from '../../src/platform/durable.ts';
import { BackupError } from '../../src/platform/errors.ts';
import { ioError } from '../../src/platform/io-error.ts';

let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'durable-'));
});
afterEach(() => fs.rmSync(dir, { recursive: true }));

test('writeAllSync writes any number of buffers at a position', () => {
  const file = path.join(dir, 'file');
  const buffers = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 2100, size: 'max' });
  fc.assert(
    fc.property(buffers, fc.nat(100), (list, position) => {
      const fd = fs.openSync(file, 'w+');
      const all = Buffer.concat(list);
      expect(writeAllSync(fd, list, position)).toBe(position + all.length);
      fs.closeSync(fd);
      expect(fs.readFileSync(file)).toEqual(Buffer.concat(all.length ? [Buffer.alloc(position), all] : []));
    }),
    { numRuns: 20 },
  );
});

test('writeFileDurably replaces a file and leaves nothing else, with the mode that is asked for', () => {
  const file = path.join(dir, 'secrets');
  const before = process.umask(0o077);
  try {
    for (const [text, mode] of [
      ['first', 0o600],
      ['second', 0o644],
    ] as const) {
      writeFileDurably(file, Buffer.from(text), mode);
      expect(fs.readFileSync(file, 'utf8')).toBe(text);
      expect(fs.statSync(file).mode & 0o777).toBe(mode);
    }
  } finally {
    process.umask(before);
  }
  expect(fs.readdirSync(dir)).toEqual(['secrets']);
  fs.mkdirSync(path.join(dir, 'folder'));
  expect(() => writeFileDurably(path.join(dir, 'folder'), Buffer.from('x'), 0o600)).toThrow();
  expect(fs.readdirSync(dir).sort()).toEqual(['folder', 'secrets']);
});

test('syncs fail on what cannot be synced', async () => {
  await syncDirectory(dir);
  syncDirectorySync(dir);
  const missing = path.join(dir, 'missing');
  await expect(syncDirectory(missing)).rejects.toMatchObject({ code: 'ENOENT' });
  expect(() => syncDirectorySync(missing)).toThrow('ENOENT');
  const fd = fs.openSync(path.join(dir, 'file'), 'w');
  await fdatasync(fd);
  fs.closeSync(fd);
  await expect(fdatasync(fd)).rejects.toMatchObject({ code: 'EBADF' });
});

test('bootTag is the start of the boot id, and stays', () => {
  const id = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').replaceAll('-', '').trim();
  expect(Buffer.from(bootTag()).toString('hex')).toBe(id.slice(0, 16));
  expect(bootTag()).toEqual(bootTag());
});

test('ioError says by the errno what kind of failure it is', () => {
  const codes = {
    ENOSPC: 'NO_SPACE',
    EDQUOT: 'NO_SPACE',
    EACCES: 'PERMISSION_DENIED',
    EROFS: 'PERMISSION_DENIED',
    ENOENT: 'NOT_FOUND',
    EIO: 'IO_ERROR',
  };
  for (const [errno, code] of Object.entries(codes)) {
    const cause = Object.assign(new Error(`${errno}: it failed`), { code: errno });
    const error = ioError(cause, 'write', '/some/file');
    expect(error).toMatchObject({ code, tried: 'write', subject: '/some/file', cause });
    expect(error.message).toContain(`cannot write /some/file: ${errno}: it failed`);
    expect(ioError(error, 'do', 'anything')).toBe(error);
  }
  expect(ioError('odd', 'write', 'x')).toBeInstanceOf(BackupError);
});
