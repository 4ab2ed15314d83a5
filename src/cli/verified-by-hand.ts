/** Tells the server's scheduler of verifications that somebody has run by hand, whether the server runs or not. */
import path from 'node:path';
import { loadConfig } from '../config/load.ts';
import { MAINTENANCE_FILE, MaintenanceState, type VerifyResult } from '../maintenance/maintenance-state.ts';

export class VerifiedByHand {
  readonly #state: MaintenanceState;
  #isBroken = false;

  private constructor(state: MaintenanceState) {
    this.#state = state;
  }

  /**
   * Undefined where no server has ever planned anything, or there is no configuration that says where (a data file can be
   * verified without one): the file is the server's to make.
   *
   * @param configFile as `-C` names it
   */
  static open(configFile: string | undefined): VerifiedByHand | undefined {
    let folder: string;
    try {
      folder = loadConfig({ file: configFile, anyPartitions: true }).configDirectory;
    } catch {
      return undefined; // what needs the configuration says so
    }
    try {
      const state = MaintenanceState.openExisting(path.join(folder, MAINTENANCE_FILE));
      return state && new VerifiedByHand(state);
    } catch (error) {
      complain(error);
      return undefined;
    }
  }

  note(
    backup: { userid: string | undefined; path: string },
    result: VerifyResult & { isWhole: boolean },
  ): void {
    if (this.#isBroken) return;
    try {
      this.#state.verifiedByHand({ ...backup, path: path.resolve(backup.path) }, result, Date.now());
    } catch (error) {
      this.#isBroken = true;
      complain(error);
    }
  }

  /** A tool has put the backup right, or said so: whether it is can be seen soon. */
  mended(userid: string | undefined, dataPath: string): void {
    if (this.#isBroken || userid === undefined) return;
    try {
      this.#state.health.healed(userid, path.resolve(dataPath), Date.now());
    } catch (error) {
      this.#isBroken = true;
      complain(error);
    }
  }

  close(): void {
    this.#state.close();
  }
}

/** It is no reason to fail: the server only verifies again sooner than it had to. */
function complain(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error);
  process.stderr.write(`csync-backup: the server's schedule cannot take note of this: ${text}\n`);
}
