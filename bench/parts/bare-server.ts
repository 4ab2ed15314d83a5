/**
 * A server that answers what a csync client sends and does nothing of what a server is for, for turns-parts.ts. Its first argument
 * says how much it does all the same, each with what is before it: `answer`, `threads` (four of the five commands go to another
 * thread and back, as in ours), `sync` (that thread appends to a file and syncs it), `index` (and enters the message into an index
 * that is open, and syncs that).
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import type { Kind } from './bare-kinds.ts';

const THREADS = 2;
/** What a small update adds to a data file, compressed. */
const APPENDED = Buffer.alloc(2048, 'x');
const GUID_DIGITS = 40;

interface Call {
  id: number;
  command: string;
}

function serve(kind: Kind): void {
  const threads = kind === 'answer' ? [] : Array.from({ length: THREADS }, () => new Thread(kind));
  let sessions = 0;
  const server = net.createServer((socket) => {
    const thread = threads[sessions++ % THREADS];
    let command = '';
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.write('* SASL PLAIN\r\n* OK bare\r\n');
    socket.on('data', async (bytes) => {
      command ||= bytes.toString('latin1', 0, 20);
      const end = command.startsWith('APPLY') ? ')\r\n' : '\r\n';
      if (!bytes.toString('latin1', bytes.length - end.length).endsWith(end)) return;
      const [word, verb] = command.split(' ');
      command = '';
      const asked = thread?.ask(`${word} ${verb}`);
      // As ours does: what RESTART ends is finished behind its answer, and MESSAGE travels with MAILBOX.
      if (verb !== 'MESSAGE' && word !== 'RESTART\r\n') await asked;
      socket.write(word === 'GET' || verb === 'RESERVE' ? '* X\r\nOK\r\n' : 'OK\r\n');
    });
  });
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as net.AddressInfo).port));
}

class Thread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, () => void>();
  #calls = 0;

  constructor(kind: Kind) {
    this.#worker = new Worker(new URL(import.meta.url), { workerData: kind });
    this.#worker.on('message', (id: number) => {
      this.#waiting.get(id)?.();
      this.#waiting.delete(id);
    });
  }

  ask(command: string): Promise<void> | undefined {
    if (command === 'APPLY MESSAGE' || /^(AUTHENTICATE|EXIT)/.test(command)) return undefined;
    const id = this.#calls++;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#worker.postMessage({ id, command } satisfies Call);
    });
  }
}

function work(kind: Kind): void {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'csync-bare-'));
  const file = openSync(path.join(folder, 'data'), 'a');
  const indexPath = path.join(folder, 'index');
  const index = BackupIndex.open(indexPath, { create: true });
  const indexFile = openSync(indexPath, 'r+');
  process.on('exit', () => {
    closeSync(file);
    rmSync(folder, { recursive: true, force: true });
  });
  let updates = 0;
  parentPort!.on('message', ({ id, command }: Call) => {
    if (kind !== 'threads' && command === 'APPLY MAILBOX') {
      writeSync(file, APPENDED);
      fdatasyncSync(file);
    }
    if (kind === 'index' && command.startsWith('RESTART')) {
      enter(index, ++updates);
      fdatasyncSync(indexFile);
    }
    parentPort!.postMessage(id);
  });
}

/** One message, by the statements of a small update. */
function enter(index: BackupIndex, number: number): void {
  const guid = number.toString(16).padStart(GUID_DIGITS, '0');
  index.begin();
  const chunkId = index.startChunk({ offset: number, tsStart: number, fileSha1: guid });
  const id = index.addMessage({
    guid,
    partition: 'default',
    chunkId,
    lineOffset: 0,
    contentOffset: 0,
    size: 1,
  });
  index
    .statement('INSERT INTO mailbox_message(mailbox_id, message_id, last_chunk_id, uid) VALUES (1, ?, ?, ?)')
    .run(id, chunkId, number);
  index.endChunk(chunkId, { tsEnd: number, length: 1, dataSha1: guid });
  const nothing = new Uint8Array(0);
  index.setState({ committedEnd: number, trailer: nothing, fileSha1State: nothing, lastTime: number });
  index.commit();
}

if (isMainThread) serve(process.argv[2] as Kind);
else work(workerData as Kind);
