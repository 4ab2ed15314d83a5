/** What is told of a partition in which nothing can be stored any more. */
import os from 'node:os';
import { expect, test } from 'vitest';
import { partitionRows } from '../../src/cli/status-text.ts';
import { setFilesystems } from '../../src/metrics/health-metrics.ts';
import { createMetrics } from '../../src/metrics/registry.ts';
import { partitionStatus } from '../../src/server/admin/status.ts';

const config = {
  partitions: [
    { name: 'good', path: os.tmpdir() },
    { name: 'error', path: '/' },
    { name: 'gone', path: '/nowhere/at/all' },
  ],
};

test('one that the kernel has made read-only is as bad as one that is gone', async () => {
  const status = await partitionStatus(config, async (path) => {
    if (path === '/') throw Object.assign(new Error('EROFS: read-only file system'), { code: 'EROFS' });
  });
  expect(partitionRows({ partitions: status })).toEqual([
    ['partition', expect.stringMatching(/^good \S+: \d+% used, \S+ free$/)],
    ['PARTITION', expect.stringMatching(/^error \/: NOT USABLE \(EROFS: [^)]*\), \d+% used, \S+ free$/)],
    ['PARTITION', expect.stringMatching(/^gone \S+: NOT USABLE \(ENOENT: [^)]*\)$/)],
  ]);
  const metrics = createMetrics();
  setFilesystems(metrics, status);
  const { values } = await metrics.partitionReadable.get();
  expect(values.map(({ value }) => value)).toEqual([1, 0, 0]);
});

test('the file system is asked', async () => {
  const [good] = await partitionStatus(config);
  expect(good).not.toHaveProperty('problem');
});
