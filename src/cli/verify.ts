/** `csync-backup verify`: whether backups are what their checksums and indexes say. */
import fs from 'node:fs';
import { Command } from 'commander';
import type { Config } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { type HealReport, isToBeNoted, noteVerified } from '../maintenance/heal.ts';
import { type VerifyReport, verifyBackup } from '../maintenance/verify.ts';
import { verifyCatalog } from '../maintenance/verify-catalog.ts';
import { VerifyPool } from '../maintenance/verify-pool.ts';
import { type DeflateEngine, loadDeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import type { Finding } from '../store/verify/finding.ts';
import type { Ownership } from '../store/verify/owner-check.ts';
import { noteSummary } from './command-run.ts';
import { configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { Progress } from './progress.ts';
import { addPushOption } from './push-gateway.ts';
import { addSelectOptions, type SelectedBackup, type SelectFlags, selectBackups } from './select-backups.ts';
import { toolLog } from './tool-log.ts';
import { printUserid } from './userid-text.ts';
import { VerifiedByHand } from './verified-by-hand.ts';

interface VerifyFlags extends SelectFlags {
  json?: boolean;
  wait?: boolean;
  dryRun?: boolean;
  quick?: boolean;
  askAgain?: boolean;
}

const BAD_DATA_STATUS = 65;

export function newVerifyCommand(): Command {
  const command = new Command('verify').description(
    'Check backups: checksums of every chunk, every message against its GUID and its place in the index, states of ' +
      'mailboxes and messages against the index. A fault is something lost or wrong; a notice is something that the ' +
      'server puts right by itself, or damage that was noted before. What is lost is noted in the backup, so that ' +
      'the mail server sends it again when it syncs next; nothing is removed.',
  );
  addSelectOptions(command)
    .addOption(configOption())
    .option('-w, --wait', 'wait for backups that are locked')
    .option('-q, --quick', 'only what can be told at once: the last chunk, and whether file and index fit')
    .option('-n, --dry-run', 'only read: take no note of what is lost')
    .option(
      '--ask-again',
      'have messages that the mail server could not send asked for with the next sync, too',
    )
    .option('--json', 'one JSON object a line, with a type: finding, backup, error and at the end summary')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup verify -A', 'all backups, and whether backups.db names all files'],
          ['csync-backup verify -A --quick', 'a look at each, after a crash or a restore of the disk'],
          ['csync-backup verify -u anne bob --wait', 'two, even if they are being written to'],
          ['csync-backup verify -u anne --ask-again', 'after the spool of the mail server was repaired'],
          ['csync-backup verify -f /backup/a/anne_x1Y2z3 --dry-run --json', 'one data file, for a script'],
        ],
        [0, 64, 65, 74, 75, 77, 78],
      ),
    )
    .action(runVerify);
  return addPushOption(command, true);
}

async function runVerify(flags: VerifyFlags): Promise<void> {
  const backups = selectBackups(flags);
  const run = new VerifyRun(flags, backups);
  try {
    const missing = flags.all ? run.verifyCatalog(backups) : new Set<string>();
    for (const backup of backups) if (!missing.has(backup.path)) await run.verify(backup);
  } finally {
    await run.end();
  }
}

class VerifyRun {
  readonly #flags: VerifyFlags;
  readonly #pool = new VerifyPool();
  readonly #progress: Progress;
  readonly #schedule: VerifiedByHand | undefined;
  #ok = 0;
  #faulty = 0;
  #unread = 0;
  #faults = 0;
  #notices = 0;
  #errorStatus = 0;

  constructor(flags: VerifyFlags, backups: readonly SelectedBackup[]) {
    this.#flags = flags;
    if (!flags.dryRun) this.#schedule = VerifiedByHand.open(flags.config);
    this.#progress = new Progress(backups.reduce((sum, { path }) => sum + sizeOf(path), 0));
  }

  /** @returns paths of the files that do not exist; their backups count as faulty */
  verifyCatalog(backups: readonly SelectedBackup[]): Set<string> {
    const missing = new Set<string>();
    this.#config ??= loadConfig({ file: this.#flags.config, anyPartitions: true });
    const entries = backups.map(({ userid, path }) => [userid ?? '', path] as const);
    for (const { userid, path, ...finding } of verifyCatalog(entries, this.#config)) {
      const name = printUserid(userid);
      this.#print({ type: 'finding', userid: name, path, ...finding }, textOf(name, finding));
      if (finding.severity === 'notice') this.#notices++;
      else this.#faults++;
      if (finding.severity === 'fault') this.#isCatalogFaulty = true;
      if (finding.code !== 'FILE_MISSING') continue;
      missing.add(path);
      this.#faulty++;
    }
    return missing;
  }
  #isCatalogFaulty = false;

  async verify(backup: SelectedBackup): Promise<void> {
    const { path } = backup;
    const name = backup.userid === undefined ? path : printUserid(backup.userid);
    const of = { userid: backup.userid === undefined ? null : name, path };
    try {
      const report = await verifyBackup({
        dataPath: path,
        wait: this.#flags.wait ?? false,
        quick: this.#flags.quick ?? false,
        pool: this.#pool,
        owner: this.#ownershipOf(backup),
        onFinding: (finding) => this.#print({ type: 'finding', ...of, ...finding }, textOf(name, finding)),
        onProgress: (bytes) => this.#progress.add(bytes),
      });
      this.#count(report);
      if (this.#flags.askAgain) askAgain(report);
      const noted = await this.#note(backup, report).catch((error: unknown) => {
        if (!(error instanceof BackupError)) throw error;
        this.#printError(of, error);
        return undefined;
      });
      const isWhole = !(this.#flags.quick ?? false);
      const result = { faults: report.faults, isWhole, isMended: noted?.pendingMailboxes === 0 };
      this.#schedule?.note({ userid: backup.userid, path }, result);
      const { findings: _, losses: __, isIndexLost: ___, ...figures } = report;
      const json = { type: 'backup', ...of, ...figures, ...(noted && { noted: countsOf(noted) }) };
      this.#print(
        json,
        `verify ${name}: ${verdictOf(report)}${noted === undefined ? '' : textOfNoted(noted)}`,
      );
    } catch (error) {
      if (!(error instanceof BackupError)) throw error;
      this.#unread++;
      this.#errorStatus ||= error.exitStatus;
      this.#printError(of, error);
    }
  }

  #printError(of: { userid: string | null; path: string }, { code, message }: BackupError): void {
    this.#progress.clear();
    process.stderr.write(`csync-backup: ${code}: ${message}\n`);
    if (this.#flags.json) this.#print({ type: 'error', ...of, code, text: message }, '');
  }

  #ownershipOf({ userid }: SelectedBackup): Ownership | undefined {
    if (userid === undefined) return undefined;
    this.#config ??= loadConfig({ file: this.#flags.config, anyPartitions: true });
    return { userid, rules: this.#config };
  }

  /** Has what is lost sent again. Undefined if nothing is to be noted. */
  async #note({ userid }: SelectedBackup, report: VerifyReport): Promise<HealReport | undefined> {
    if (this.#flags.dryRun || !isToBeNoted(report)) return undefined;
    this.#config ??= loadConfig({ file: this.#flags.config, anyPartitions: true });
    this.#engine ??= loadDeflateEngine(this.#config.deflateEngine);
    return await noteVerified(report, {
      userid,
      engine: this.#engine,
      wait: this.#flags.wait ?? false,
      log: toolLog(),
    });
  }
  #config: Config | undefined;
  #engine: DeflateEngine | undefined;

  /** Prints the summary and sets the exit status: damage before everything else. */
  async end(): Promise<void> {
    this.#progress.clear();
    this.#schedule?.close();
    await this.#pool.stop();
    const [ok, faulty, unread] = [this.#ok, this.#faulty, this.#unread];
    const [faults, notices] = [this.#faults, this.#notices];
    const backups = ok + faulty + unread;
    noteSummary({ backups, ok, faulty, notVerified: unread, faults, notices });
    const others = unread === 0 ? '' : `, ${unread} not verified`;
    this.#print(
      { type: 'summary', backups, ok, faulty, notVerified: unread, faults, notices },
      `${count(backups, 'backup')}: ${ok} ok, ${faulty} faulty${others}; ${count(faults, 'fault')}, ${count(notices, 'notice')}`,
    );
    if (faulty > 0 || this.#isCatalogFaulty) process.exitCode = BAD_DATA_STATUS;
    else if (unread > 0) process.exitCode = this.#errorStatus;
  }

  #count(report: VerifyReport): void {
    if (report.ok) this.#ok++;
    else this.#faulty++;
    this.#faults += report.faults;
    this.#notices += report.notices;
  }

  #print(json: object, text: string): void {
    this.#progress.clear();
    process.stdout.write(`${this.#flags.json ? JSON.stringify(json) : text}\n`);
  }
}

/** Clients are asked by themselves, but the more seldom the longer it has been missing (store/index/lacking.ts). */
function askAgain({ findings, losses }: VerifyReport): void {
  const lacking = findings.filter(({ code }) => code === 'CONTENT_MISSING');
  losses.uniqueids = [...new Set([...losses.uniqueids, ...lacking.map(({ uniqueid }) => uniqueid!)])];
}

function verdictOf({ ok, faults, notices }: VerifyReport): string {
  if (!ok) return `failed (${count(faults, 'fault')}, ${count(notices, 'notice')})`;
  return notices === 0 ? 'ok' : `ok (${count(notices, 'notice')})`;
}

function countsOf({ guids, pendingMailboxes, chunks, storedAgain }: HealReport): Record<string, number> {
  return { messages: guids.length, mailboxes: pendingMailboxes, chunks, storedAgain };
}

function textOfNoted({ guids, pendingMailboxes, storedAgain, isMadeAnew }: HealReport): string {
  const index = isMadeAnew ? '; the index was made anew' : '';
  if (isMadeAnew && guids.length + pendingMailboxes + storedAgain === 0) return index;
  const [messages, mailboxes] = [count(guids.length, 'message'), count(pendingMailboxes, 'mailbox', 'es')];
  const again = storedAgain === 0 ? '' : `, ${count(storedAgain, 'message')} stored again`;
  return `${index}; noted: ${messages} lost, ${mailboxes} to be sent again${again}`;
}

function textOf(name: string, finding: Finding): string {
  const { code, severity, chunk, fileOffset, lineOffset, text } = finding;
  const place = [
    chunk === undefined ? '' : `chunk ${chunk}`,
    fileOffset === undefined ? '' : `byte ${fileOffset}`,
    lineOffset === undefined ? '' : `line at ${lineOffset}`,
  ].filter((part) => part !== '');
  const where = place.length === 0 ? '' : `${place.join(', ')}: `;
  return `${name}: ${severity} ${code}: ${where}${text}`;
}

function count(n: number, what: string, plural = 's'): string {
  return `${n} ${what}${n === 1 ? '' : plural}`;
}

/** A file that cannot be looked at is reported when it is opened. */
function sizeOf(path: string): number {
  return fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
