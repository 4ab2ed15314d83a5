import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { SpoolFile } from '../../src/store/line-text.ts';

test('a staging folder that was cleared away is made again, for the server alone', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'spool-file-'));
  try {
    const spool = new SpoolFile(path.join(folder, 'gone', 'session-1'));
    expect(spool.append(Buffer.from('one'))).toBe(0);
    spool.close();
    expect(fs.statSync(path.join(folder, 'gone')).mode & 0o777).toBe(0o700);
    fs.writeFileSync(path.join(folder, 'file'), '');
    expect(() => new SpoolFile(path.join(folder, 'file', 'session-1'))).toThrow(/open the staging file/);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
