/** Where the machine or the configuration is not the usual one. */
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { NO_FFI_VARIABLE } from '../../src/platform/ffi.ts';
import { BackupSite } from '../support/backup-server.ts';

test('a socket path longer than the kernel takes, on a machine whose C library cannot be called', async () => {
  const site = await BackupSite.create();
  const folder = path.join(site.dir, 'long '.repeat(30).trim(), 'x'.repeat(100));
  mkdirSync(folder, { recursive: true });
  site.configure({ backup_admin_socket: path.join(folder, 'admin.sock') });
  const server = await site.start({ [NO_FFI_VARIABLE]: '1' });
  try {
    const frozen = await site.cli(['freeze', '--exec', 'echo frozen', '--json']);
    expect([frozen.status, frozen.stderr]).toEqual([0, 'frozen\n']);
    expect(JSON.parse(frozen.stdout.toString())).toMatchObject({ state: 'frozen', status: 0 });
    const second = await site.cli(['serve']);
    expect([second.status, second.stderr]).toEqual([69, expect.stringContaining('another server has it')]);
    expect(await server.stop()).toBe(0);
  } finally {
    await server.kill();
    site.remove();
  }
});

test('no socket at all', async () => {
  const site = await BackupSite.create({ backup_admin_socket: 'off' });
  try {
    const { status, stderr } = await site.cli(['status']);
    expect([status, stderr]).toEqual([69, expect.stringContaining('backup_admin_socket is off')]);
  } finally {
    site.remove();
  }
});
