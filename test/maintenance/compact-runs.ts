/** Compactions of sample backups, and what a data file says up to a time. */
import { type CompactOptions, compactBackup } from '../../src/maintenance/compact/compact.ts';
import type { CompactReport } from '../../src/maintenance/compact/report.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { readDataFile, type StoredLine } from '../support/data-file.ts';
import { SampleBackup } from './backup-files.ts';

const CONFIG: CompactOptions['config'] = {
  backupRetentionMs: 100_000,
  backupKeepPrevious: false,
  backupCompactMinSizeBytes: 0,
  backupCompactMaxSizeBytes: 0,
  backupCompactWorkThreshold: 1,
  chunkMaxBytes: 64 << 20,
  deflateEngine: 'auto',
};

/** With this `now` the retention begins behind `since`. */
export const nowFor = (since: number): number => since * 1000 + CONFIG.backupRetentionMs;

export function compact(
  backup: SampleBackup,
  options: Partial<CompactOptions> & { settings?: Partial<CompactOptions['config']> } = {},
): Promise<CompactReport> {
  const { settings, ...more } = options;
  return compactBackup({
    dataPath: backup.dataPath,
    config: { ...CONFIG, ...settings },
    force: true,
    ...more,
  });
}

/** Everything may be past the retention. */
export function linesOf(backup: SampleBackup): StoredLine[] {
  return backup.bytes().length === 0 ? [] : readDataFile(backup.dataPath);
}

export const lineText = ({ time, command, verb, text }: StoredLine): Buffer =>
  command === 'NOTE'
    ? Buffer.concat([Buffer.from(`${time} APPLY RESERVE %(NOTE ${verb} VALUE `), text, Buffer.from(')\r\n')])
    : Buffer.concat([Buffer.from(`${time} APPLY ${verb} `), text, Buffer.from('\r\n')]);

/** What a file's lines up to a time say, as an index; the caller closes and removes it. */
export function stateAt(lines: StoredLine[], time: number): { index: BackupIndex; [Symbol.dispose](): void } {
  const until = lines.filter((line) => line.time <= time).map(lineText);
  const backup = new SampleBackup(until.length === 0 ? [] : [until]);
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  return {
    index,
    [Symbol.dispose]() {
      index.close();
      backup[Symbol.dispose]();
    },
  };
}
