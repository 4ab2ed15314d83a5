/** The commands of ctl_backups that work on one backup after the other: compact, reindex, verify and the rest. */
import type { Config } from '../../config/config.ts';
import { compactBackup } from '../../maintenance/compact/compact.ts';
import { PooledCompressor } from '../../maintenance/compact/compressors.ts';
import { type HealReport, noteVerified } from '../../maintenance/heal.ts';
import { MemberPool } from '../../maintenance/member-pool.ts';
import { isLossy, reindexBackup } from '../../maintenance/reindex.ts';
import { type VerifyReport, verifyBackup } from '../../maintenance/verify.ts';
import { VerifyPool } from '../../maintenance/verify-pool.ts';
import { loadDeflateEngine } from '../../platform/deflate.ts';
import { indexPathOf } from '../../store/data-file.ts';
import { BackupIndex } from '../../store/index/backup-index.ts';
import type { Finding, FindingCode } from '../../store/verify/finding.ts';
import { useridOf } from '../userid-text.ts';
import { VerifiedByHand } from '../verified-by-hand.ts';
import type { CtlCommand, CtlLine } from './ctl-backups-line.ts';
import type { CtlTarget } from './ctl-backups-targets.ts';

/** Does the command to one backup and says how it went: `ok`, or why not. */
export type CtlWorker = (target: CtlTarget) => Promise<string>;

export class CtlWork {
  readonly #line: CtlLine;
  readonly #config: Config;
  readonly #verifyPool = new VerifyPool();
  readonly #readers = new MemberPool();
  readonly #compressor: PooledCompressor;
  readonly #schedule: VerifiedByHand | undefined;

  constructor(line: CtlLine, config: Config) {
    this.#line = line;
    this.#config = config;
    if (['verify', 'reindex', 'compact'].includes(line.command))
      this.#schedule = VerifiedByHand.open(line.config);
    this.#compressor = new PooledCompressor(config.deflateEngine);
  }

  /** `print` writes a line to standard output. */
  worker(print: (text: string) => void): CtlWorker {
    switch (this.#line.command) {
      case 'compact':
        return (target) => this.#compact(target, print);
      case 'verify':
        return (target) => this.#verify(target, print);
      case 'reindex':
        return (target) => this.#reindex(target, print);
      default:
        return async ({ userid }) => `failed (${elsewhere(this.#line.command, userid ?? 'USERID')})`;
    }
  }

  /** Ends the threads. */
  async stop(): Promise<void> {
    this.#schedule?.close();
    await Promise.all([this.#verifyPool.stop(), this.#readers.stop(), this.#compressor.stop()]);
  }

  async #verify({ userid, path }: CtlTarget, print: (text: string) => void): Promise<string> {
    const findings: Finding[] = [];
    const key = userid === undefined ? undefined : useridOf(userid);
    const report = await verifyBackup({
      dataPath: path,
      owner: key === undefined ? undefined : { userid: key, rules: this.#config },
      wait: this.#line.wait,
      pool: this.#verifyPool,
      onFinding: (finding) => {
        if (finding.severity === 'fault') findings.push(finding);
      },
    });
    if (this.#line.verbose > 0 && report.chunks > 0) printChecks(path, findings, this.#line.verbose, print);
    else for (const finding of findings) print(textOf(finding));
    let noted: HealReport | undefined;
    try {
      noted = await noteVerified(report, {
        userid: key,
        engine: loadDeflateEngine(this.#config.deflateEngine),
        wait: this.#line.wait,
      });
    } finally {
      const isMended = noted?.pendingMailboxes === 0;
      this.#schedule?.note({ userid: key, path }, { faults: report.faults, isWhole: true, isMended });
    }
    return report.ok ? 'ok' : `failed (${faults(report)})`;
  }

  async #compact({ userid, path }: CtlTarget, print: (text: string) => void): Promise<string> {
    const { force, wait, verbose } = this.#line;
    const report = await compactBackup({
      dataPath: path,
      userid: userid === undefined ? undefined : useridOf(userid),
      config: this.#config,
      force,
      wait,
      readers: this.#readers,
      compressor: this.#compressor,
    });
    if (!report.compacted) return 'skipped';
    this.#schedule?.mended(userid === undefined ? undefined : useridOf(userid), path);
    const { chunks, newChunks, messages, newMessages, damagedChunks, damagedPath, keptAll } = report;
    if (verbose > 0) print(`${chunks} chunks to ${newChunks}, ${messages} messages to ${newMessages}`);
    if (damagedChunks > 0) return `failed (${damagedChunks} damaged chunks, kept as ${damagedPath})`;
    return keptAll === null ? 'ok' : `failed (nothing was dropped: ${keptAll})`;
  }

  async #reindex({ userid, path }: CtlTarget, print: (text: string) => void): Promise<string> {
    const report = await reindexBackup({
      dataPath: path,
      engine: loadDeflateEngine(this.#config.deflateEngine),
      keepPrevious: this.#config.backupKeepPrevious,
      wait: this.#line.wait,
      readers: this.#readers,
    });
    if (this.#line.verbose > 0) {
      for (const offset of chunkRows(path).map((chunk) => chunk.offset))
        print(`\nfound chunk at offset ${offset}\n`);
      print('reached end of file');
    }
    this.#schedule?.mended(userid === undefined ? undefined : useridOf(userid), path);
    if (!isLossy(report)) return 'ok';
    const { damagedChunks, damagedMessages, lostBytes, putAside } = report;
    const parts = [`${damagedChunks} chunks and ${damagedMessages} messages damaged`];
    if (lostBytes > 0) parts.push(`the last ${lostBytes} bytes lost`);
    if (putAside !== null) parts.push(`the end put aside as ${putAside.path}`);
    return `failed (${parts.join(', ')}, the rest is indexed)`;
  }
}

/** Commands of which Cyrus has only the name: its command line has no room for what they have to be told. */
function elsewhere(command: CtlCommand, userid: string): string {
  if (command === 'move') return `use csync-backup move -u ${userid} --to PARTITION`;
  if (command === 'delete') return `use csync-backup delete ${userid} --yes`;
  throw new Error(`ctl_backups ${command} is not for one backup after the other`);
}

function faults({ faults: count }: VerifyReport): string {
  return `${count} fault${count === 1 ? '' : 's'}`;
}

function textOf({ code, chunk, text }: Finding): string {
  return `${code}${chunk === undefined ? '' : ` in chunk ${chunk}`}: ${text}`;
}

function chunkRows(path: string): { id: number; offset: number }[] {
  const index = BackupIndex.open(indexPathOf(path), { readonly: true });
  try {
    return index.statement('SELECT id, offset FROM chunk ORDER BY id').all() as {
      id: number;
      offset: number;
    }[];
  } finally {
    index.close();
  }
}

/** What Cyrus checks of each chunk, in its words, and which of our findings belong to it. */
const CHECKS: readonly { what: string; steps: string[]; finds: (code: FindingCode) => boolean }[] = [
  {
    what: 'checksums',
    steps: ['file checksum...', 'data length', 'data checksum...'],
    finds: (code) => !MESSAGE_CODES.has(code) && !MAILBOX_CODES.has(code),
  },
  { what: 'messages', steps: [], finds: (code) => MESSAGE_CODES.has(code) },
  { what: 'mailbox links', steps: [], finds: (code) => MAILBOX_CODES.has(code) },
];
const MESSAGE_CODES = new Set<FindingCode>([
  'MESSAGE_MISSING',
  'MESSAGE_PLACE_WRONG',
  'MESSAGE_DAMAGED',
  'MESSAGE_NOT_INDEXED',
]);
const MAILBOX_CODES = new Set<FindingCode>(['MAILBOX_MISSING', 'RECORD_MISSING', 'CONTENT_MISSING']);

function printChecks(
  path: string,
  findings: Finding[],
  verbose: number,
  print: (text: string) => void,
): void {
  const ofFile = findings.filter(({ chunk }) => chunk === undefined);
  for (const finding of ofFile) print(textOf(finding));
  const byChunk = Map.groupBy(findings, ({ chunk }) => chunk);
  for (const { id } of chunkRows(path)) {
    const inChunk = byChunk.get(id) ?? [];
    for (const { what, steps, finds } of CHECKS) {
      print(`checking chunk ${id} ${what}...`);
      if (verbose > 1) for (const step of steps) print(`  checking ${step}`);
      const found = inChunk.filter(({ code }) => finds(code));
      for (const finding of found) print(textOf(finding));
      print(found.length === 0 ? 'ok' : 'error');
    }
  }
}
