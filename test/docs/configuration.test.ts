import { globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { OPTION_LIST } from '../../src/config/options.ts';
import { run } from '../cli/run.ts';

const root = path.join(import.meta.dirname, '../..');
const page = readFileSync(path.join(root, 'docs/configuration.md'), 'utf8');

test('docs/configuration.md ends with what "csync-backup config --describe" prints', async () => {
  const { stdout, status } = await run(['config', '--describe']);
  expect(status).toBe(0);
  expect(page.slice(page.indexOf('### '))).toBe(stdout);
});

test('the documents and examples name no option that does not exist', () => {
  const known = new Set<string>(OPTION_LIST.flatMap(([name, option]) => [name, ...(option.otherwise ?? [])]));
  const files = ['README.md', ...globSync('{docs/*.md,deploy/*}', { cwd: root })];
  expect(files.length).toBeGreaterThan(10);
  for (const file of files) {
    const text = readFileSync(path.join(root, file), 'utf8');
    const named = [...text.matchAll(/(?<![\w/.])backup_[a-z_]*[a-z]/g)].map(([name]) => name);
    // Options of sync_client's channel "backup" begin like ours.
    // A family of options may be named by what they begin with: backup_pull_...
    const isFamily = (name: string): boolean => text.includes(`${name}_...`);
    const unknown = named.filter(
      (name) => !known.has(name) && !name.startsWith('backup_sync_') && !isFamily(name),
    );
    expect(unknown, file).toEqual([]);
  }
});

test('deploy/backup-server.imapd.conf can be used as it is, but for its partition', () => {
  const dir = mkdtempSync(path.join(tmpdir(), 'csync-backup-docs-'));
  try {
    const text = readFileSync(path.join(root, 'deploy/backup-server.imapd.conf'), 'utf8');
    const file = path.join(dir, 'imapd.conf');
    writeFileSync(file, text.replace(/^backuppartition-disk1: .*$/m, `backuppartition-disk1: ${dir}`));
    const config = loadConfig({ file });
    expect(config.partitions).toEqual([{ name: 'disk1', path: dir }]);
    expect(config.admins).toEqual(['backup']);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
