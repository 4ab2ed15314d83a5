/**
 * `ctl_backups` with Cyrus's command line, output and exit statuses, over the same functions as csync-backup's own
 * commands. What differs on purpose stands in docs/migration.md.
 */
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { retentionStart, statBackups } from '../../maintenance/stat-pool.ts';
import { BackupError } from '../../platform/errors.ts';
import { runReconstruct } from '../reconstruct.ts';
import { LineWriter } from '../standard-output.ts';
import { type CtlLine, parseCtlBackups } from './ctl-backups-line.ts';
import { lockOne } from './ctl-backups-lock.ts';
import { type CtlTarget, eachTarget } from './ctl-backups-targets.ts';
import { CtlWork, type CtlWorker } from './ctl-backups-work.ts';
import { cyrusWords, type Json, jsonObject, jsonText, localTime, Real, ratioText } from './text.ts';

const OK = 0;
const TEMPFAIL = 75;
const SECONDS_PER_HOUR = 3600;

/** Runs the command line; returns the exit status. @throws UsageError, BackupError for the configuration. */
export async function ctlBackups(argv: readonly string[]): Promise<number> {
  const line = parseCtlBackups(argv);
  const config = loadConfig({ file: line.config, anyPartitions: true });
  const run = new CtlRun(line, config);
  switch (line.command) {
    case 'list':
      return await run.list();
    case 'stat':
      return await run.stat();
    case 'lock':
      return await run.lock();
    case 'reconstruct':
      await runReconstruct({ config: line.config, apply: true });
      return Number(process.exitCode ?? OK);
    default:
      return await run.work(new CtlWork(line, config));
  }
}

class CtlRun {
  readonly #line: CtlLine;
  readonly #config: Config;
  readonly #out = new LineWriter();
  /** Backups that were skipped or failed, and names that are not known. */
  #failed = 0;

  constructor(line: CtlLine, config: Config) {
    this.#line = line;
    this.#config = config;
  }

  async list(): Promise<number> {
    const { stale, json, stopOnError } = this.#line;
    const now = Date.now() / 1000;
    for await (const [target, stat] of statBackups(this.#targets(), this.#readOptions())) {
      if (stat.problem !== undefined) {
        this.#complain(target, stat.problem.code, stat.problem.text);
        if (stopOnError && stat.problem.code !== 'LOCKED') break;
        continue;
      }
      const { lastEnd } = stat;
      if (stale !== undefined && lastEnd !== null && now - lastEnd < SECONDS_PER_HOUR * stale) continue;
      const timestamp = lastEnd === null ? '[unknown]' : localTime(lastEnd);
      const { userid, path } = target;
      if (json) this.#print({ timestamp, compressed: stat.sizeBytes ?? -1, userid, fname: path });
      else this.#out.write(`${timestamp}\t${stat.sizeBytes}\t${userid ?? '[unknown]'}\t${path}`);
    }
    return this.#end();
  }

  async stat(): Promise<number> {
    const compactableSince = retentionStart(this.#config.backupRetentionMs);
    const options = { ...this.#readOptions(), compactableSince };
    // As in Cyrus, only -S makes a backup that cannot be read show in the exit status.
    let stopped = false;
    for await (const [target, stat] of statBackups(this.#targets(), options)) {
      if (stat.problem !== undefined) {
        this.#complain(target, stat.problem.code, stat.problem.text);
        this.#failed--;
        stopped = this.#line.stopOnError;
        if (stopped) break;
        continue;
      }
      const compressed = stat.sizeBytes ?? 0;
      const uncompressed = stat.contentBytes;
      const compactable = stat.compactableBytes ?? 0;
      const compression = (100 * compressed) / uncompressed;
      const utilisation = (100 * compactable) / uncompressed;
      const start = stat.lastStart === null ? '[unknown]' : localTime(stat.lastStart);
      const end = stat.lastEnd === null ? '[unknown]' : localTime(stat.lastEnd);
      if (this.#line.json) {
        this.#print({
          userid: target.userid,
          fname: target.path,
          compressed,
          uncompressed,
          compactable,
          compression_ratio: new Real(compression),
          utilisation_ratio: new Real(utilisation),
          last_start_time: start,
          last_end_time: end,
        });
        continue;
      }
      const sizes = `${compressed}\t${uncompressed}\t${compactable}`;
      const ratios = `${ratioText(compression)}%\t${ratioText(utilisation)}%`;
      this.#out.write(`${target.userid ?? target.path}\t${sizes}\t${ratios}\t${start.padStart(21)}\t${end}`);
    }
    return stopped ? TEMPFAIL : this.#end();
  }

  async lock(): Promise<number> {
    for (const target of eachTarget(this.#line, this.#config)) {
      if (!(await lockOne(target, this.#line, this.#config))) this.#failed++;
    }
    return this.#end();
  }

  /** verify, reindex, compact and the rest: one after the other, each with a line that says how it went. */
  async work(work: CtlWork): Promise<number> {
    const one = work.worker((text) => this.#out.write(text));
    try {
      for (const target of this.#targets()) {
        const failed = await this.#workOn(target, one);
        this.#out.flush();
        if (failed && this.#line.stopOnError) break;
      }
    } finally {
      await work.stop();
    }
    return this.#end();
  }

  /** @returns whether to stop, with -S. */
  async #workOn(target: CtlTarget, worker: CtlWorker): Promise<boolean> {
    let status: string;
    let locked = false;
    try {
      status = await worker(target);
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      locked = error.code === 'LOCKED';
      status = locked ? 'locked' : `failed (${cyrusWords(error.code, error.message)})`;
    }
    const { userid, path } = target;
    const { command } = this.#line;
    if (this.#line.json) this.#print({ command, userid, fname: path, status });
    else this.#out.write(`${command} ${userid ?? path}: ${status}`);
    if (status === 'ok') return false;
    this.#failed++;
    return !locked;
  }

  *#targets(): Generator<CtlTarget, void> {
    for (const target of eachTarget(this.#line, this.#config)) {
      if (target.path !== undefined) {
        yield { userid: target.userid, path: target.path };
        continue;
      }
      this.#out.flush();
      process.stderr.write(`${target.name}: not found in backups.db\n`);
      this.#failed++;
    }
  }

  #readOptions(): { check: boolean; locked: 'wait' | 'refuse' } {
    return { check: !this.#line.noVerify, locked: this.#line.wait ? 'wait' : 'refuse' };
  }

  #complain({ userid, path }: CtlTarget, code: string, text: string): void {
    this.#out.flush();
    process.stderr.write(`${userid ?? path}: ${cyrusWords(code, text)}\n`);
    this.#failed++;
  }

  #print(values: Record<string, Json | undefined>): void {
    this.#out.write(jsonText(jsonObject(values)));
  }

  #end(): number {
    this.#out.flush();
    return this.#failed > 0 ? TEMPFAIL : OK;
  }
}
