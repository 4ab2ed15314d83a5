/** A backup on disk, written by the store's own writer and indexed by its own reindex. */
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type GeneratedMessage, MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { GeneratedMailbox } from '../../src/cli/generated-user.ts';
import { reindexBackup } from '../../src/maintenance/reindex.ts';
import { bootTag } from '../../src/platform/boot.ts';
import { loadDeflateEngine } from '../../src/platform/deflate.ts';
import { ResumableSha1 } from '../../src/platform/sha1.ts';
import { hashRange } from '../../src/store/chunk/hash-range.ts';
import { ChunkWriter } from '../../src/store/chunk/writer.ts';
import { mailboxStep, messageSteps } from '../load/session.ts';

const USERID = 'many';
const COMMAND = 'APPLY ';
const COMMAND_MESSAGES = 20;
/** A new mailbox now and then: the checksum of one takes the longer the more records it has. */
const MESSAGES_OF_MAILBOX = 500;
const TIME = 1_704_100_000;

/** Adds chunks of generated mail, half of it with attachments by size, to a data file in a folder of its own. */
export class BackupFile {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'csync-bench-backup-'));
  readonly dataPath = path.join(this.folder, `${USERID}_x1Y2z3`);
  readonly #mail = new MailGenerator(17);
  readonly #random = new SeededRandom(18);
  #mailboxes = 0;
  #mailbox = this.#newMailbox();
  /** Content of all chunks. */
  contentBytes = 0;

  get sizeBytes(): number {
    const fd = openSync(this.dataPath, 'r');
    try {
      return fstatSync(fd).size;
    } finally {
      closeSync(fd);
    }
  }

  /** @param finish false leaves the chunk as a killed server would */
  addChunk(contentBytes: number, finish = true): void {
    const fd = openSync(this.dataPath, 'a+', 0o600);
    closeSync(fd);
    const writable = openSync(this.dataPath, 'r+');
    const fileEnd = fstatSync(writable).size;
    const fileSha1 = hashRange(writable, 0, fileEnd, ResumableSha1.create());
    const engine = loadDeflateEngine('auto');
    const writer = new ChunkWriter({ fd: writable, fileEnd, fileSha1, engine, bootTag: bootTag() });
    while (writer.contentLength < contentBytes) {
      for (const { bytes } of this.#command()) {
        writer.appendRaw(Buffer.from(`${TIME} ${COMMAND}`));
        writer.appendRaw(bytes.subarray(COMMAND.length));
      }
    }
    this.contentBytes += writer.contentLength;
    if (finish) {
      writer.finish();
      writer.writeTrailer();
    } else {
      writer.flush();
    }
    closeSync(writable);
  }

  async reindex(): Promise<void> {
    await reindexBackup({ dataPath: this.dataPath, engine: loadDeflateEngine('auto'), keepPrevious: false });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }

  #command() {
    if (this.#mailbox.lastUid >= MESSAGES_OF_MAILBOX) this.#mailbox = this.#newMailbox();
    const messages = Array.from({ length: COMMAND_MESSAGES }, () => this.#message());
    const records = messages.map((message) => this.#mailbox.append(message));
    return [...messageSteps(messages), mailboxStep(this.#mailbox, records)];
  }

  #message(): GeneratedMessage {
    const kind = this.#random.below(40);
    if (kind < 28) return this.#mail.text(1500 + this.#random.below(4000));
    return kind < 39 ? this.#mail.alternative(5000 + this.#random.below(30_000)) : this.#mail.mixed();
  }

  #newMailbox(): GeneratedMailbox {
    return new GeneratedMailbox(this.#random, USERID, `f${this.#mailboxes++}`, TIME);
  }
}
