import os from 'node:os';
import { expect, test } from 'vitest';
import { readOnlyMount, readOnlyReason } from '../../src/platform/mounts.ts';

const TABLE = String.raw`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
30 22 8:1 / /srv/backup rw,relatime shared:2 - ext4 /dev/sda1 rw,errors=remount-ro
31 22 8:2 / /srv/backup/old rw,relatime - ext4 /dev/sda2 rw,errors=remount-ro,emergency_ro
32 22 8:3 / /srv/r\303\244ume\040und rw,relatime - xfs /dev/sda3 ro,attr2
33 22 8:4 / /srv/over rw - ext4 /dev/sda4 rw
34 33 8:5 / /srv/over ro,noatime - ext4 /dev/sda5 rw
`;

test.each([
  ['/srv/backup/disk1', undefined],
  ['/srv/backup/old', 'the kernel has made /srv/backup/old read-only after an error (dmesg)'],
  ['/srv/backup/older', undefined],
  ['/srv/räume und/disk', '/srv/räume und is mounted read-only'],
  ['/srv/over', '/srv/over is mounted read-only'],
  ['/home', undefined],
])('%s', (folder, reason) => {
  expect(readOnlyMount(TABLE, folder)).toBe(reason);
});

test('this machine is asked', () => {
  expect(readOnlyReason(os.tmpdir())).toBeUndefined();
});
