/** Piscina entry of the threads that look at many backups. */
import { type BackupStat, statBackup } from '../src/maintenance/stat.ts';
import type { StatTask } from '../src/maintenance/stat-pool.ts';

export default ({ paths, options }: StatTask): BackupStat[] => paths.map((path) => statBackup(path, options));
