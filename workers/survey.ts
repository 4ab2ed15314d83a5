/** Piscina entry of the thread that looks for backups that were changed by others. */
import fs from 'node:fs';
import type { SurveyResult, SurveyTask } from '../src/maintenance/health.ts';
import { statBackup } from '../src/maintenance/stat.ts';

export default ({ backups }: SurveyTask): SurveyResult =>
  backups.map(({ path, sizeBytes }) => {
    const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    return size === sizeBytes ? undefined : statBackup(path, { locked: 'read' });
  });
