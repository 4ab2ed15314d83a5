/**
 * Time of `csync-backup search` in the backup of one user, beside what the same file costs to inflate and to verify.
 *
 *     node bench/search.ts [--messages 100000] [--attachments] [--runs 3] [--keep]
 *
 * Without attachments a message has 9 kB on the average. Each search is a process of its own, as by hand; the time is
 * the best of the runs.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { MailGenerator, SeededRandom } from '../src/cli/generated-mail.ts';
import { GeneratedMailbox } from '../src/cli/generated-user.ts';
import { reindexBackup } from '../src/maintenance/reindex.ts';
import { loadDeflateEngine } from '../src/platform/deflate.ts';
import { ResumableSha1 } from '../src/platform/sha1.ts';
import { readContent } from '../src/store/chunk/reader.ts';
import { ChunkWriter } from '../src/store/chunk/writer.ts';
import { BackupIndex } from '../src/store/index/backup-index.ts';
import { mailboxStep, messageSteps } from './load/session.ts';

interface BenchOptions {
  messages: string;
  runs: string;
  attachments?: boolean;
  keep?: boolean;
}

const LAUNCHER = path.join(import.meta.dirname, '../src/cli/launch.cjs');
const CHUNK_BYTES = 64 << 20;
const MAILBOX_MESSAGES = 5000;
const COMMAND_MESSAGES = 100;
const COMMAND = 'APPLY ';

/** @returns bytes of the data file, and of its content */
async function writeBackup(
  dataPath: string,
  messages: number,
  attachments: boolean,
): Promise<[number, number]> {
  const mail = new MailGenerator(7);
  const random = new SeededRandom(8);
  const engine = loadDeflateEngine('auto');
  const fd = openSync(dataPath, 'wx+', 0o600);
  let [fileSha1, fileEnd, contentBytes, mailboxes] = [ResumableSha1.create(), 0, 0, 0];
  let mailbox = new GeneratedMailbox(random, 'many', '', 1_700_000_000);
  const next = () => {
    if (attachments) return mail.mixed();
    return random.below(10) < 7
      ? mail.text(1500 + random.below(4000))
      : mail.alternative(5000 + random.below(36_000));
  };
  for (let made = 0; made < messages; ) {
    const writer = new ChunkWriter({ fd, fileEnd, fileSha1, engine, bootTag: randomBytes(8) });
    while (writer.contentLength < CHUNK_BYTES && made < messages) {
      if (mailbox.lastUid >= MAILBOX_MESSAGES) {
        mailbox = new GeneratedMailbox(random, 'many', `f${++mailboxes}`, 1_700_000_000 + mailboxes);
      }
      const count = Math.min(COMMAND_MESSAGES, messages - made);
      const block = Array.from({ length: count }, next);
      made += count;
      const records = block.map((message) => mailbox.append(message));
      for (const { bytes } of [...messageSteps(block), mailboxStep(mailbox, records)]) {
        writer.appendRaw(Buffer.from(`1700000000 ${COMMAND}`));
        writer.appendRaw(bytes.subarray(COMMAND.length));
      }
    }
    contentBytes += writer.contentLength;
    const done = writer.finish();
    writer.writeTrailer();
    fileEnd = done.fileEndAfterTrailer;
    fileSha1 = ResumableSha1.load(done.fileSha1StateAfterTrailer);
  }
  closeSync(fd);
  await reindexBackup({ dataPath, engine, keepPrevious: false });
  return [fileEnd, contentBytes];
}

/** One thread, all chunks, and nothing done with their content. */
function inflate(dataPath: string): void {
  const index = BackupIndex.open(`${dataPath}.index`, { readonly: true });
  const fd = openSync(dataPath, 'r');
  for (const { offset, length } of index.chunks()) {
    for (const _ of readContent(fd, { offset }, 0, length ?? undefined));
  }
  closeSync(fd);
  index.close();
}

interface Cost {
  seconds: number;
  cpuSeconds: number;
  lines?: number;
  peakMegabytes?: number;
}

function bestOf(runs: number, work: () => Cost): Cost {
  const costs = Array.from({ length: runs }, work);
  return costs.reduce((best, cost) => (cost.seconds < best.seconds ? cost : best));
}

function measureHere(work: () => void): Cost {
  const [begin, cpu] = [performance.now(), process.cpuUsage()];
  work();
  const { user, system } = process.cpuUsage(cpu);
  return { seconds: (performance.now() - begin) / 1000, cpuSeconds: (user + system) / 1e6 };
}

/** `/usr/bin/time` is not everywhere; a Node of our own says what its only child has used. */
const TIMED = `const { spawnSync } = require('node:child_process');
const begin = performance.now();
const { status, stdout } = spawnSync(process.argv[1], process.argv.slice(2), { maxBuffer: 2 ** 30 });
const seconds = (performance.now() - begin) / 1000;
const stat = require('node:fs').readFileSync('/proc/self/stat', 'latin1').split(') ')[1].split(' ');
const cpuSeconds = (Number(stat[13]) + Number(stat[14])) / 100;
const lines = stdout.toString('latin1').split('\\n').length - 1;
console.log(JSON.stringify({ status, seconds, cpuSeconds, lines }));`;

function measureCommand(args: string[]): Cost {
  const ran = spawnSync(process.execPath, ['-e', TIMED, process.execPath, LAUNCHER, ...args], {
    encoding: 'utf8',
  });
  const { status, ...cost } = JSON.parse(ran.stdout) as Cost & { status: number };
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${ran.stderr}`);
  return cost;
}

async function run(options: BenchOptions): Promise<void> {
  const [messages, runs] = [Number(options.messages), Number(options.runs)];
  const dir = mkdtempSync(path.join(tmpdir(), 'csync-bench-search-'));
  const dataPath = path.join(dir, 'many_000000');
  try {
    const [fileBytes, contentBytes] = await writeBackup(dataPath, messages, options.attachments ?? false);
    readFileSync(dataPath); // all of them find it in the cache
    const search = (...args: string[]) =>
      bestOf(runs, () => measureCommand(['search', '-f', dataPath, ...args]));
    const inflated = bestOf(runs, () => measureHere(() => inflate(dataPath)));
    const rows: Record<string, Cost> = {
      'inflate it, 1 thread': inflated,
      'csync-backup verify': bestOf(1, () => measureCommand(['verify', '-f', dataPath, '-n'])),
      'by the index: --larger 30000 --before 2024-01-03': search(
        '--larger',
        '30000',
        '--before',
        '2024-01-03',
      ),
      'by header: --subject --from': search('--subject', 'st', '--from', 'abc'),
      'all listed': search(),
      'by text: --text': search('--text', 'no such words as these'),
    };
    const shown = Object.entries(rows).map(([what, { seconds, cpuSeconds, lines }]) => ({
      what,
      seconds: Number(seconds.toFixed(2)),
      cpuSeconds: Number(cpuSeconds.toFixed(2)),
      lines: lines ?? '',
      'times inflate': Number((seconds / inflated.seconds).toFixed(2)),
    }));
    const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
    console.log(
      `${messages} messages, ${megabytes(contentBytes)} in a file of ${megabytes(fileBytes)}, ${availableParallelism()} cores`,
    );
    console.table(shown);
  } finally {
    if (options.keep) console.log(dataPath);
    else rmSync(dir, { recursive: true });
  }
}

await new Command()
  .option('--messages <n>', 'messages', '100000')
  .option('--runs <n>', 'the best of so many', '3')
  .option('--attachments', 'of 100 messages 14 with attachments: 115 kB on the average')
  .option('--keep', 'leave the backup there')
  .action(run)
  .parseAsync();
