/** The commands of `cyr_backup`, one function each, with Cyrus's output. */
import type { Config } from '../../config/config.ts';
import { fromAdmin } from '../../csync/mailbox-name.ts';
import { BackupError } from '../../platform/errors.ts';
import { readContent } from '../../store/chunk/reader.ts';
import type { BackupIndex, ChunkRow, MessageLocation } from '../../store/index/backup-index.ts';
import {
  listedGuids,
  listedMessages,
  listedRecords,
  mailboxesOfMessage,
  uniqueidByName,
} from '../../store/index/listing.ts';
import { type MailboxRow, mailboxByUniqueid, mailboxes } from '../../store/index/queries.ts';
import { headerFields, readHead } from '../../store/message-headers.ts';
import type { OpenBackup } from '../../store/open-backup.ts';
import { readMessage } from '../../store/stored-message.ts';
import { type LineWriter, writeToStandardOutput } from '../standard-output.ts';
import { useridOf as bytesOf, printUserid as printBytes } from '../userid-text.ts';
import type { CyrCommand } from './cyr-backup-line.ts';
import { JsonStream } from './json-stream.ts';
import { type Json, jsonObject, localTime, Real, ratioText } from './text.ts';

export interface CyrContext {
  backup: OpenBackup;
  config: Config;
  out: LineWriter;
  args: string[];
  /** Says that an item cannot be shown whole. */
  damaged(error: BackupError): void;
}

/** What was asked for cannot be given: a line on standard error and the status 75. */
export class ItemError extends Error {}

type Command = (context: CyrContext) => void | Promise<void>;

export const COMMANDS: Record<CyrCommand, Command> = {
  'list all': listAll,
  'list chunks': listChunks,
  'list mailboxes': listMailboxes,
  'list messages': listMessages,
  'show chunks': showChunks,
  'show mailboxes': showMailboxes,
  'show messages': showMessages,
  'dump chunk': dumpChunk,
  'dump mailbox': () => {
    throw new ItemError('dump mailbox is not implemented, as in Cyrus; dump message gives single messages');
  },
  'dump message': dumpMessage,
  'json chunks': jsonChunks,
  'json mailboxes': jsonMailboxes,
  'json messages': jsonMessages,
  'json headers': jsonHeaders,
};

const BLANK_TIME = ' '.repeat(19);
const GUID = /^[0-9a-f]{40}$/i;

function listAll(context: CyrContext): void {
  const parts = [
    ['listing chunks:\n', listChunks],
    ['\nlisting mailboxes:\n', listMailboxes],
    ['\nlisting messages:\n', listMessages],
  ] as const;
  for (const [heading, list] of parts) {
    context.out.flush();
    process.stderr.write(heading);
    list(context);
  }
}

function listChunks({ backup, out }: CyrContext): void {
  out.write('     id offset\tlength\tratio%\tstart time           end time');
  for (const { chunk, ratio } of chunksWithRatio(backup)) {
    const { id, offset, length, tsStart, tsEnd } = chunk;
    const times = `${localTime(tsStart)}  ${localTime(tsEnd ?? tsStart)}`;
    out.write(`${String(id).padStart(7)} ${offset}\t${length ?? 0}\t${ratioText(ratio)}\t${times}`);
  }
}

function listMailboxes({ backup, out }: CyrContext): void {
  out.write(`${'uniqueid'.padEnd(36)}  ${'last append date'.padEnd(19)}  mboxname`);
  for (const { uniqueid, lastAppenddate, mboxname } of mailboxes(backup.index))
    out.write(`${printBytes(uniqueid)}  ${localTime(lastAppenddate)}  ${printBytes(mboxname)}`);
}

function listMessages({ backup, out }: CyrContext): void {
  for (const guid of listedGuids(backup.index)) out.write(guid);
}

/** Cyrus has only the name of this command. */
function showChunks({ backup, out, args }: CyrContext): void {
  const byId = new Map([...chunksWithRatio(backup)].map((entry) => [entry.chunk.id, entry]));
  for (const arg of args) {
    const found = byId.get(Number.parseInt(arg, 10));
    if (found === undefined) continue;
    const { chunk, ratio } = found;
    out.write(`id:\t${chunk.id}`);
    out.write(`offset:\t${chunk.offset}`);
    out.write(`length:\t${chunk.length ?? '[unfinished]'}`);
    out.write(`ratio%:\t${ratioText(ratio).trim()}`);
    out.write(`start time:\t${localTime(chunk.tsStart)}`);
    out.write(`end time:\t${chunk.tsEnd === null ? '[unfinished]' : localTime(chunk.tsEnd)}`);
    out.write(`file sha1:\t${chunk.fileSha1}`);
    out.write(`data sha1:\t${chunk.dataSha1 ?? '[unfinished]'}`);
    out.write('');
  }
}

function showMailboxes({ backup, config, out, args }: CyrContext): void {
  for (const arg of args) {
    const mailbox = findMailbox(backup.index, arg, config);
    if (mailbox === undefined) continue;
    out.write(`mboxname: ${printBytes(mailbox.mboxname)}`);
    out.write(`uniqueid: ${printBytes(mailbox.uniqueid)}`);
    if (mailbox.deleted) out.write(`deleted:  ${localTime(mailbox.deleted)}`);
    out.write('messages:');
    out.write('       uid  expunged time        guid');
    for (const { uid, guid, expunged } of listedRecords(backup.index, mailbox.id)) {
      const time = expunged ? localTime(expunged) : BLANK_TIME;
      out.write(`${String(uid).padStart(10)}  ${time}  ${guid}`);
    }
    out.write('');
  }
}

function showMessages(context: CyrContext): void {
  const { backup, out, args } = context;
  for (const arg of args) {
    const location = findMessage(backup.index, arg);
    if (location === undefined) continue;
    out.write(`guid:\t${location.guid}`);
    out.write('mailboxes:');
    for (const { uniqueid, mboxname } of mailboxesOfMessage(backup.index, location.id))
      out.write(`\t${printBytes(uniqueid)}\t${printBytes(mboxname)}`);
    out.write('headers:');
    const head = headOf(context, location);
    if (head !== undefined) out.bytes(head);
    out.write(head === undefined ? '' : '\r\n');
  }
}

async function dumpChunk({ backup, args }: CyrContext): Promise<void> {
  const id = Number.parseInt(args[0] ?? '', 10);
  const chunk = id > 0 ? backup.index.chunk(id) : undefined;
  if (chunk === undefined) throw new ItemError('Item does not exist');
  const { fd, path } = backup;
  await writeToStandardOutput(readContent(fd, { offset: chunk.offset, path }, 0, chunk.length ?? undefined));
}

async function dumpMessage({ backup, args }: CyrContext): Promise<void> {
  const location = findMessage(backup.index, args[0] ?? '');
  if (location === undefined) throw new ItemError('Item does not exist');
  await writeToStandardOutput(readMessage(backup.fd, backup.index, location, backup.path));
}

function jsonChunks({ backup, out }: CyrContext): void {
  const json = new JsonStream((text) => out.add(text));
  json.array();
  for (const { chunk, ratio } of chunksWithRatio(backup)) {
    const { id, offset, length, tsStart, tsEnd } = chunk;
    json.value(
      jsonObject({
        id,
        offset,
        length: length ?? 0,
        ratio: new Real(ratio),
        'start time': localTime(tsStart),
        'end time': localTime(tsEnd ?? tsStart),
      }),
    );
  }
  json.end();
}

function jsonMailboxes({ backup, out }: CyrContext): void {
  const json = new JsonStream((text) => out.add(text));
  json.array();
  for (const mailbox of mailboxes(backup.index)) {
    json.object();
    json.value(printBytes(mailbox.uniqueid), 'uniqueid');
    json.value(printBytes(mailbox.mboxname), 'mboxname');
    json.value(localTime(mailbox.lastAppenddate), 'last_appenddate');
    let isFirst = true;
    for (const { uid, guid, expunged } of listedRecords(backup.index, mailbox.id)) {
      if (isFirst) json.array('messages');
      isFirst = false;
      json.value(jsonObject({ uid, guid, expunged: expunged ? localTime(expunged) : undefined }));
    }
    if (!isFirst) json.end();
    json.end();
  }
  json.end();
}

function jsonMessages({ backup, out }: CyrContext): void {
  const json = new JsonStream((text) => out.add(text));
  json.array();
  for (const { guid, mailboxes: holders } of listedMessages(backup.index)) {
    const list = holders.map(({ uniqueid, mboxname }) =>
      jsonObject({ uniqueid: printBytes(uniqueid), mboxname: printBytes(mboxname) }),
    );
    json.value(jsonObject({ guid, mailboxes: list.length > 0 ? list : undefined }));
  }
  json.end();
}

function jsonHeaders(context: CyrContext): void {
  const { backup, out, args } = context;
  const json = new JsonStream((text) => out.add(text));
  json.object();
  for (const guid of new Set(args.map((arg) => arg.toLowerCase()))) {
    const location = findMessage(backup.index, guid);
    if (location === undefined) continue;
    const fields = new Map<string, Json>();
    const head = headOf(context, location) ?? Buffer.alloc(0);
    for (const [name, values] of headerFields(head)) fields.set(printBytes(name), values.map(printBytes));
    json.value(fields, location.guid);
  }
  json.end();
}

/** Chunks in the order of the file, each with its share of the file in per cent of its content. */
function* chunksWithRatio({
  index,
  sizeBytes,
}: OpenBackup): Generator<{ chunk: ChunkRow; ratio: number }, void> {
  const chunks = index.chunks();
  for (const [i, chunk] of chunks.entries()) {
    const end = chunks[i + 1]?.offset ?? sizeBytes;
    yield { chunk, ratio: (100 * (end - chunk.offset)) / (chunk.length ?? 0) };
  }
}

/** Undefined where it is damaged, which is said. */
function headOf({ backup, damaged }: CyrContext, location: MessageLocation): Buffer | undefined {
  try {
    return readHead(backup.fd, backup.index, location, backup.path);
  } catch (error) {
    if (!(error instanceof BackupError)) throw error;
    damaged(error);
    return undefined;
  }
}

function findMailbox(index: BackupIndex, arg: string, config: Config): MailboxRow | undefined {
  const text = bytesOf(arg);
  return mailboxByUniqueid(index, text) ?? byName(index, adminName(text, config)) ?? byName(index, text);
}

function byName(index: BackupIndex, mboxname: string | undefined): MailboxRow | undefined {
  const uniqueid = mboxname === undefined ? undefined : uniqueidByName(index, mboxname);
  return uniqueid === undefined ? undefined : mailboxByUniqueid(index, uniqueid);
}

/** The internal name; undefined for what cannot be a name. */
function adminName(text: string, config: Config): string | undefined {
  try {
    return fromAdmin(text, config);
  } catch (error) {
    if (error instanceof BackupError) return undefined;
    throw error;
  }
}

function findMessage(index: BackupIndex, arg: string): MessageLocation | undefined {
  return GUID.test(arg) ? index.findMessage(arg.toLowerCase()) : undefined;
}
