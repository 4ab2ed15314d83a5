/** What the thread of the backups' health does: it alone writes down what clients do, looks at files and adds up. */
import fs from 'node:fs';
import type { PackedChanges } from '../pipeline/backup-changes.ts';
import { Catalog } from '../store/catalog.ts';
import { type Contacts, HealthState, type Surveyed, type Worst } from './health-state.ts';
import { type HealthFigures, type NamedPartition, sumUpHealth } from './health-summary.ts';
import { openStateFile } from './maintenance-state.ts';
import { type BackupStat, statBackup } from './stat.ts';

export type HealthTask =
  | { op: 'note'; changes: PackedChanges[]; contacts: Contacts }
  /** Some backups that have to be looked at; with `after` all, from behind that userid. */
  | { op: 'survey'; after?: string }
  | { op: 'sum-up'; partitions: NamedPartition[] }
  | { op: 'worst'; limit: number };

export interface HealthAnswer {
  /** survey: the last userid; undefined when there are no more. */
  after?: string;
  figures?: HealthFigures;
  worst?: Worst;
  /** Time that it took. */
  ms: number;
}

/** Backups of one survey: 10 to 50 ms. */
const SURVEY_BATCH = 128;

export class HealthThread {
  readonly #state: HealthState;

  readonly #catalogPath: string;

  /** @param file of MaintenanceState, which exists */
  constructor(file: string, catalogPath: string) {
    this.#catalogPath = catalogPath;
    const db = openStateFile(file);
    if (db === undefined) throw new Error(`${file} is no longer readable`);
    this.#state = new HealthState(db);
  }

  carryOut(task: HealthTask): HealthAnswer {
    const startedMs = performance.now();
    const answer = this.#answer(task);
    return { ...answer, ms: performance.now() - startedMs };
  }

  #answer(task: HealthTask): Omit<HealthAnswer, 'ms'> {
    const state = this.#state;
    switch (task.op) {
      case 'note':
        this.#note(task.changes);
        state.contacted(task.contacts);
        return {};
      case 'survey':
        return { after: this.#survey(task.after) };
      case 'sum-up': {
        const figures = sumUpHealth(state, task.partitions, Date.now());
        state.tidy();
        return { figures };
      }
      case 'worst':
        return { worst: state.worst(task.limit) };
    }
  }

  #note(changes: readonly PackedChanges[]): void {
    let catalog: Catalog | undefined;
    const isThere = (userid: string, path: string) => {
      catalog ??= new Catalog(this.#catalogPath);
      return catalog.get(userid) === path;
    };
    try {
      for (const one of changes) this.#state.changed(one, isThere, Date.now());
    } finally {
      catalog?.close();
    }
  }

  #survey(after: string | undefined): string | undefined {
    const state = this.#state;
    const backups = after === undefined ? state.unsurveyed(SURVEY_BATCH) : state.after(after, SURVEY_BATCH);
    const found = backups.map((backup) => ({ ...backup, stat: lookAt(backup) }));
    state.surveyed(found.filter((one): one is typeof one & { stat: BackupStat } => one.stat !== undefined));
    return backups.at(-1)?.userid;
  }
}

/** Undefined for a file that is as long as it was. */
function lookAt({ path, sizeBytes }: Surveyed): BackupStat | undefined {
  const size = fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  return size === sizeBytes ? undefined : statBackup(path, { locked: 'read' });
}
