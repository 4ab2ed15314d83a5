/** Whether verify costs the same for each megabyte, however many chunks these are in. */
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { GeneratedMailbox } from '../../src/cli/generated-user.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { verifyBackup } from '../../src/maintenance/verify.ts';
import { VerifyPool } from '../../src/maintenance/verify-pool.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { ResumableSha1 } from '../../src/platform/sha1.ts';
import { ChunkWriter } from '../../src/store/chunk/writer.ts';
import { mailboxStep, messageSteps } from '../load/session.ts';
import type { Measured } from './scenarios.ts';

/** A new mailbox now and then: the checksum of one takes the longer the more records it has. */
const MESSAGES_OF_MAILBOX = 100;
const COMMAND = 'APPLY ';

/** Milliseconds for each megabyte of the data file, at each number of chunks. */
export async function measureManyChunks(counts: readonly number[], contentBytes: number): Promise<Measured> {
  const figures: Record<string, number> = {};
  const dir = mkdtempSync(path.join(tmpdir(), 'csync-bench-chunks-'));
  const pool = new VerifyPool();
  try {
    for (const count of counts) {
      const dataPath = path.join(dir, `chunks${count}_000000`);
      const bytes = await writeBackup(dataPath, count, contentBytes);
      let bestMs = Number.POSITIVE_INFINITY;
      for (let run = 0; run < 3; run++) {
        const begin = performance.now();
        const { ok, chunks } = await verifyBackup({ dataPath, pool });
        if (!ok || chunks !== count) throw new Error(`${chunks} chunks, ok: ${ok}`);
        bestMs = Math.min(bestMs, performance.now() - begin);
      }
      figures[`msPerMegabyteAt${count}Chunks`] = bestMs / (bytes / 1e6);
    }
  } finally {
    await pool.stop();
    rmSync(dir, { recursive: true });
  }
  return { jobs: {}, figures };
}

/** @returns length of the data file */
async function writeBackup(dataPath: string, chunks: number, contentBytes: number): Promise<number> {
  const mail = new MailGenerator(7);
  const random = new SeededRandom(8);
  const engine = loadDeflateEngine('auto');
  const bootTag = randomBytes(8);
  const fd = openSync(dataPath, 'wx+', 0o600);
  let fileSha1 = ResumableSha1.create();
  let fileEnd = 0;
  let mailboxes = 0;
  let mailbox = new GeneratedMailbox(random, 'many', '', 1_700_000_000);
  for (let at = 0; at < chunks; at++) {
    const writer = new ChunkWriter({ fd, fileEnd, fileSha1, engine, bootTag });
    while (writer.contentLength < contentBytes / chunks) {
      const message = mail.text(4000);
      if (mailbox.lastUid === MESSAGES_OF_MAILBOX) {
        mailbox = new GeneratedMailbox(random, 'many', `f${++mailboxes}`, 1_700_000_000 + mailboxes);
      }
      const steps = [...messageSteps([message]), mailboxStep(mailbox, [mailbox.append(message)])];
      for (const { bytes } of steps) {
        writer.appendRaw(Buffer.from(`1700000000 ${COMMAND}`));
        writer.appendRaw(bytes.subarray(COMMAND.length));
      }
    }
    const done = writer.finish();
    writer.writeTrailer();
    fileEnd = done.fileEndAfterTrailer;
    fileSha1 = ResumableSha1.load(done.fileSha1StateAfterTrailer);
  }
  closeSync(fd);
  await reindexBackup({ dataPath, engine, keepPrevious: false });
  return fileEnd;
}
