/** What commands that work on one backup after the other have in common: names, progress, errors, summary, status. */
import fs from 'node:fs';
import { BackupError } from '../platform/errors.ts';
import { noteSummary } from './command-run.ts';
import { Progress } from './progress.ts';
import type { SelectedBackup } from './select-backups.ts';
import { printUserid } from './userid-text.ts';

const BAD_DATA_STATUS = 65;

export type ToolResult = 'ok' | 'bad-data';

export class ToolRun<T extends SelectedBackup = SelectedBackup> {
  readonly #backups: readonly T[];
  readonly #json: boolean;
  readonly #progress: Progress;
  #current: { userid: string | null; path: string } = { userid: null, path: '' };
  #done = 0;
  #failed = 0;
  #bad = 0;
  #errorStatus = 0;

  constructor(backups: readonly T[], json: boolean) {
    this.#backups = backups;
    this.#json = json;
    this.#progress = new Progress(backups.reduce((sum, { path }) => sum + sizeOf(path), 0));
  }

  /** One after the other; an error is reported and does not keep the others from their turn. */
  async each(
    work: (backup: T, name: string, progress: (bytes: number) => void) => Promise<ToolResult>,
  ): Promise<void> {
    for (const backup of this.#backups) {
      const name = backup.userid === undefined ? backup.path : printUserid(backup.userid);
      this.#current = { userid: backup.userid === undefined ? null : name, path: backup.path };
      try {
        const result = await work(backup, name, (bytes) => this.#progress.add(bytes));
        this.#done++;
        if (result === 'bad-data') this.#bad++;
      } catch (error) {
        if (!(error instanceof BackupError)) throw error;
        this.#failed++;
        this.#errorStatus ||= error.exitStatus;
        this.#progress.clear();
        process.stderr.write(`csync-backup: ${error.code}: ${error.message}\n`);
        if (this.#json)
          this.#write({ type: 'error', ...this.#current, code: error.code, text: error.message });
      }
    }
  }

  /** The report about the backup whose turn it is. */
  print(report: object, text: string): void {
    this.#progress.clear();
    if (this.#json) this.#write({ type: 'backup', ...this.#current, ...report });
    else process.stdout.write(`${text}\n`);
  }

  /** Prints the summary and sets the exit status: damage before everything else. */
  end(figures: Record<string, number>, text: string): void {
    this.#progress.clear();
    const [done, failed] = [this.#done, this.#failed];
    noteSummary({ backups: done + failed, done, failed, ...figures });
    if (this.#json) {
      this.#write({ type: 'summary', backups: done + failed, done, failed, ...figures });
    } else {
      const backups = `${done + failed} backup${done + failed === 1 ? '' : 's'}`;
      process.stdout.write(`${backups}: ${done} done${text}${failed === 0 ? '' : `, ${failed} failed`}\n`);
    }
    if (this.#bad > 0) process.exitCode = BAD_DATA_STATUS;
    else if (failed > 0) process.exitCode = this.#errorStatus;
  }

  #write(object: object): void {
    process.stdout.write(`${JSON.stringify(object)}\n`);
  }
}

/** A file that cannot be looked at is reported when it is opened. */
function sizeOf(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
