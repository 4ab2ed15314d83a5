/** What an index says, as one text that can be compared. */
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { stateRows } from '../../src/store/index/state-rows.ts';

export function stateText(indexOrPath: BackupIndex | string): string {
  const index =
    typeof indexOrPath === 'string' ? BackupIndex.open(indexOrPath, { readonly: true }) : indexOrPath;
  const lines = [...stateRows(index)].map(({ kind, key, text }) => `${kind} ${key} | ${text}`);
  if (typeof indexOrPath === 'string') index.close();
  return lines.join('\n');
}
