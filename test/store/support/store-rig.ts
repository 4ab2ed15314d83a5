/** A store in a temporary folder and a shard over it, driven by requests as the main thread sends them. */
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Config } from '../../../src/config/config.ts';
import { loadConfig } from '../../../src/config/load.ts';
import type { MessageRef, ReadQuery, ShardReply, StoredVerb } from '../../../src/pipeline/messages.ts';
import { createSlabMemory, slabDeflated, slabText } from '../../../src/pipeline/slabs.ts';
import { bootTag } from '../../../src/platform/boot.ts';
import { crc32 } from '../../../src/platform/crc32.ts';
import { loadDeflateEngine } from '../../../src/platform/deflate.ts';
import { createLogger } from '../../../src/platform/log.ts';
import { syncCrcs } from '../../../src/restore/csync-crc.ts';
import { Catalog } from '../../../src/store/catalog.ts';
import { DiskSync } from '../../../src/store/disk-sync.ts';
import { prepareStore } from '../../../src/store/prepare.ts';
import { Shard } from '../../../src/store/shard.ts';
import { ShardFigures } from '../../../src/store/shard-figures.ts';

export class StoreRig {
  readonly folder: string;
  readonly config: Config;
  readonly memory = createSlabMemory(4);
  figures = new ShardFigures();
  /** As if the machine had been booted anew when changed. */
  boot = bootTag();
  disk = new DiskSync();
  shard: Shard;
  #command = 0;

  constructor(options = '') {
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-store-'));
    for (const name of ['conf', 'part', 'staging']) fs.mkdirSync(path.join(this.folder, name));
    const conf = path.join(this.folder, 'imapd.conf');
    fs.writeFileSync(
      conf,
      [
        `configdirectory: ${this.folder}/conf`,
        `backuppartition-default: ${this.folder}/part`,
        `backup_staging_path: ${this.folder}/staging`,
        `backup_passwd_file: ${this.folder}/conf/passwd`,
        options,
        '',
      ].join('\n'),
    );
    this.config = loadConfig({ file: conf });
    this.shard = this.start();
  }

  /** A new shard over the same files, as after a restart of the server. */
  start(): Shard {
    prepareStore(this.config);
    this.figures = new ShardFigures();
    this.shard = new Shard(
      {
        config: this.config,
        catalog: new Catalog(this.config.backupDbPath),
        engine: loadDeflateEngine('zlib'),
        bootTag: this.boot,
        disk: this.disk,
        figures: this.figures,
        log: createLogger('silent'),
      },
      this.memory,
      'shard0',
    );
    return this.shard;
  }

  remove(): void {
    fs.rmSync(this.folder, { recursive: true, force: true });
  }

  get catalog(): Catalog {
    return new Catalog(this.config.backupDbPath);
  }

  /** Sends a command's text as one small piece. */
  async apply(
    session: number,
    userid: string,
    verb: StoredVerb,
    value: string | Buffer,
    messages?: MessageRef[],
  ): Promise<ShardReply> {
    const bytes = Buffer.concat([
      Buffer.from(`${verb} `, 'latin1'),
      typeof value === 'string' ? Buffer.from(value, 'latin1') : value,
      Buffer.from('\r\n', 'latin1'),
    ]);
    const command = ++this.#command;
    const reply = await this.shard.handle({
      op: 'piece',
      session,
      userid,
      command,
      verb,
      piece: { kind: 'bytes', bytes: Uint8Array.from(bytes) },
      last: true,
      messages,
    });
    if (reply.code !== 'NEED') return reply;
    return await this.shard.handle({
      op: 'supply',
      session,
      userid,
      command,
      staged: [],
      lost: [],
      unsent: 0,
    });
  }

  /** Sends a command's text through slabs, in pieces of at most `pieceBytes`. */
  async applyInSlabs(
    session: number,
    userid: string,
    verb: StoredVerb,
    value: string,
    messages?: MessageRef[],
    pieceBytes = 50_000,
  ): Promise<ShardReply & { command: number }> {
    const text = Buffer.from(`${verb} ${value}\r\n`, 'latin1');
    const engine = loadDeflateEngine('zlib');
    const command = ++this.#command;
    let reply: ShardReply = { code: 'OK', text: '' };
    for (let at = 0; at < text.length && reply.code === 'OK'; at += pieceBytes) {
      const raw = text.subarray(at, at + pieceBytes);
      slabText(this.memory, 0).set(raw);
      const deflatedLength = engine.deflateSegment(raw, slabDeflated(this.memory, 0));
      const last = at + pieceBytes >= text.length;
      const slab = {
        kind: 'slab',
        slab: 0,
        rawLength: raw.length,
        deflatedLength,
        crc32: crc32(raw),
      } as const;
      const request = { op: 'piece', session, userid, command, verb, piece: slab, last } as const;
      reply = await this.shard.handle(last && messages ? { ...request, messages } : request);
    }
    return { ...reply, command };
  }

  /** APPLY MESSAGE with these contents. */
  async message(session: number, userid: string, ...contents: string[]): Promise<ShardReply> {
    const { value, refs } = messageValue(contents);
    return await this.apply(session, userid, 'MESSAGE', value, refs);
  }

  /** APPLY MAILBOX that names these messages, UIDs counting from 1. */
  async mailbox(
    session: number,
    userid: string,
    name: string,
    contents: readonly string[],
    extra: Record<string, string | number> = {},
  ): Promise<ShardReply> {
    return await this.apply(session, userid, 'MAILBOX', mailboxValue(name, contents, extra));
  }

  async release(session: number): Promise<ShardReply> {
    return await this.shard.handle({ op: 'release', session });
  }

  /** All pages of an answer as text. `mayAsk`: as a client that goes by it. */
  async read(session: number, userid: string, query: ReadQuery, mayAsk = false) {
    let text = '';
    let cursor: number | undefined;
    do {
      const reply = await this.shard.handle({ op: 'read', session, userid, query, cursor, mayAsk });
      if (reply.code !== 'OK') return reply.code;
      text += Buffer.from(reply.bytes ?? []).toString('latin1');
      cursor = reply.cursor;
    } while (cursor !== undefined);
    return text;
  }

  dataPath(userid: string): string {
    const found = this.catalog.get(userid);
    if (found === undefined) throw new Error(`no backup of ${userid}`);
    return found;
  }
}

export function guidOf(content: string): string {
  return createHash('sha1').update(content, 'latin1').digest('hex');
}

/** Value of a MESSAGE command, and where its messages lie in its text. */
export function messageValue(contents: readonly string[]): { value: string; refs: MessageRef[] } {
  const refs: MessageRef[] = [];
  const parts = ['('];
  let offset = 'MESSAGE ('.length;
  for (const content of contents) {
    const guid = guidOf(content);
    const header = `${refs.length > 0 ? ' ' : ''}%{default ${guid} ${content.length}}\r\n`;
    offset += header.length;
    refs.push({ guid, partition: 'default', offset, size: content.length });
    offset += content.length;
    parts.push(header, content);
  }
  return { value: `${parts.join('')})`, refs };
}

/** SYNC_CRC of the mailbox that mailboxValue() makes of these messages. */
export function crcOf(contents: readonly (string | undefined)[]): number {
  const records = withUids(contents).map(([uid, content]) => ({
    uid,
    modseq: uid + 1,
    lastUpdated: 1700000000,
    flags: [],
    internaldate: 1700000000,
    size: content.length,
    guid: guidOf(content),
  }));
  return syncCrcs(records).basic;
}

function withUids(contents: readonly (string | undefined)[]): [uid: number, content: string][] {
  return contents.flatMap((content, i) => (content === undefined ? [] : [[i + 1, content]]));
}

/** Value of a MAILBOX command as sync_client sends it; where there is no message it says nothing of the UID. */
export function mailboxValue(
  name: string,
  contents: readonly (string | undefined)[],
  extra: Record<string, string | number> = {},
): string {
  const fields: Record<string, string | number> = {
    UNIQUEID: `u${guidOf(name).slice(0, 22)}`,
    MBOXNAME: name,
    SYNC_CRC: 1,
    SYNC_CRC_ANNOT: 12345678,
    LAST_UID: contents.length,
    HIGHESTMODSEQ: contents.length + 1,
    RECENTUID: 0,
    RECENTTIME: 0,
    LAST_APPENDDATE: 1700000000,
    POP3_LAST_LOGIN: 0,
    POP3_SHOW_AFTER: 0,
    UIDVALIDITY: 1700000000,
    PARTITION: 'default',
    ACL: '"anne\tlrswipkxtecdan\t"',
    OPTIONS: 'P',
    ...extra,
  };
  const head = Object.entries(fields).map(([key, value]) => `${key} ${value}`);
  const records = withUids(contents).map(
    ([uid, content]) =>
      `%(UID ${uid} MODSEQ ${uid + 1} LAST_UPDATED 1700000000 FLAGS () INTERNALDATE 1700000000 ` +
      `SIZE ${content.length} GUID ${guidOf(content)})`,
  );
  return `%(${head.join(' ')} RECORD (${records.join(' ')}))`;
}
