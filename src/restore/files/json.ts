/** Everything that the backup has, as JSON: one object a line. */
import path from 'node:path';
import { toAdmin } from '../../csync/mailbox-name.ts';
import { decodeMailboxName } from '../../csync/modified-utf7.ts';
import { crashPoint } from '../../platform/crash-points.ts';
import { BackupError } from '../../platform/errors.ts';
import { reportLostScript } from '../lost-script.ts';
import type { PlannedMailbox, RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';
import type { StoredScript } from '../source.ts';
import type { Conflict, RestoreTarget } from '../target.ts';
import { annotationJson, byteText, isoTime, mailboxJson, messageJson } from './json-values.ts';
import { checkOutput, OutputFile, remarkDropped, STANDARD_OUTPUT } from './output-file.ts';
import { soundMessage } from './sound-message.ts';
import { noteLoss } from './target-error.ts';

/** Of what the lines say; it changes when a reader has to. */
const FORMAT = 1;
/** A message that is longer comes in lines of its own behind its object, so that no line is too long for a parser. A multiple of 3. */
const PART_BYTES = 12 << 20;

export interface JsonOptions {
  /** The messages themselves as well. */
  content: boolean;
  /** Subscriptions, Sieve scripts, seen states, quotas, annotations of the server. */
  settings: boolean;
}

export class JsonTarget implements RestoreTarget {
  readonly description: string;
  readonly usesStandardOutput: boolean;
  readonly #file: string;
  readonly #options: JsonOptions;

  /** @param file a path, or `-` */
  constructor(file: string, options: JsonOptions) {
    this.usesStandardOutput = file === STANDARD_OUTPUT;
    this.#file = this.usesStandardOutput ? file : path.resolve(file);
    this.#options = options;
    this.description = `json:${this.#file}`;
  }

  async conflicts(): Promise<Conflict[]> {
    return checkOutput(this.#file) ? [{ what: this.#file, effect: 'it is replaced' }] : [];
  }

  async restore(plan: RestorePlan, report: RestoreReport): Promise<void> {
    const lines = new JsonLines(this.#file);
    if (lines.output.dropsPart) remarkDropped(report, this.#file, 'json');
    const { source, userid } = plan;
    try {
      lines.write({
        type: 'backup',
        format: FORMAT,
        userid: byteText(userid),
        at: source.at === undefined ? null : isoTime(source.at),
        createdAt: new Date().toISOString(),
        content: this.#options.content,
      });
      if (this.#options.settings) writeSettings(lines, plan, report);
      for (const planned of plan.mailboxes) {
        this.#mailbox(lines, planned, plan, report);
        report.mailboxes++;
      }
      const { mailboxes, messages, damaged } = report;
      lines.write({ type: 'end', mailboxes, messages, damaged });
      lines.output.finish();
    } catch (error) {
      lines.output.discard();
      throw error;
    }
  }

  async close(): Promise<void> {}

  #mailbox(
    lines: JsonLines,
    planned: PlannedMailbox,
    { source, rules }: RestorePlan,
    report: RestoreReport,
  ): void {
    const { mailbox } = planned;
    lines.write(mailboxJson(mailbox, decodeMailboxName(toAdmin(mailbox.mboxname, rules))));
    for (const record of planned.records()) {
      const facts = messageJson(record, mailbox);
      if (!this.#options.content) {
        lines.write(facts);
        report.restored(0);
        continue;
      }
      try {
        const message = soundMessage(source, record.guid);
        lines.message(facts, record.guid, message);
        report.restored(message.size);
        crashPoint('restore-message-written');
      } catch (error) {
        const { code, reason } = noteLoss(report, planned, record, error);
        lines.write({ ...facts, content: null, missing: { code, reason } });
      }
    }
  }
}

function writeSettings(lines: JsonLines, { source, rules }: RestorePlan, report: RestoreReport): void {
  for (const mboxname of source.subscriptions()) {
    const name = decodeMailboxName(toAdmin(mboxname, rules));
    lines.write({ type: 'subscription', name, mboxname: byteText(mboxname) });
  }
  for (const { uniqueid, lastread, lastuid, lastchange, seenuids } of source.seen()) {
    lines.write({
      type: 'seen',
      uniqueid: byteText(uniqueid),
      lastRead: isoTime(lastread),
      lastUid: lastuid,
      lastChange: isoTime(lastchange),
      seenUids: byteText(seenuids),
    });
  }
  const active = source.activeScript();
  for (const script of source.scripts()) writeScript(lines, script, script.filename === active, report);
  reportLostScript(source, report);
  for (const { root, limits, modseq } of source.quotas()) {
    const of = {
      root: byteText(root),
      limits: Object.fromEntries(limits),
      modseq: modseq?.toString() ?? null,
    };
    lines.write({ type: 'quota', ...of });
  }
  for (const annotation of source.annotationsOf('')) {
    lines.write({ type: 'annotation', ...annotationJson(annotation) });
  }
}

function writeScript(lines: JsonLines, script: StoredScript, active: boolean, report: RestoreReport): void {
  const { filename, lastUpdate, guid } = script;
  const facts = {
    type: 'script',
    filename: byteText(filename),
    guid,
    lastUpdate: isoTime(lastUpdate),
    active,
  };
  try {
    lines.write({ ...facts, content: script.content().toString('base64') });
  } catch (error) {
    if (!(error instanceof BackupError) || error.code !== 'CHUNK_CORRUPT') throw error;
    const { code, reason } = error;
    report.shortfall({ kind: 'damaged', what: `Sieve script ${filename}`, reason });
    lines.write({ ...facts, content: null, missing: { code, reason } });
  }
}

class JsonLines {
  readonly output: OutputFile;

  constructor(file: string) {
    this.output = new OutputFile(file);
  }

  write(object: object): void {
    this.output.write(Buffer.from(`${JSON.stringify(object)}\n`));
  }

  /** A message with its content, as a part of it or behind it. */
  message(
    facts: object,
    guid: string,
    { size, pieces }: { size: number; pieces: Iterable<Uint8Array> },
  ): void {
    if (size <= PART_BYTES) {
      this.write({ ...facts, content: Buffer.concat([...pieces]).toString('base64') });
      return;
    }
    const parts = Math.ceil(size / PART_BYTES);
    this.write({ ...facts, contentParts: parts });
    let part = 0;
    for (const data of inParts(pieces)) {
      this.write({ type: 'content', guid, part: ++part, parts, data: data.toString('base64') });
    }
  }
}

/** PART_BYTES each, the last less. */
function* inParts(pieces: Iterable<Uint8Array>): Generator<Buffer, void> {
  const part = Buffer.allocUnsafe(PART_BYTES);
  let length = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; ) {
      const count = Math.min(piece.length - at, PART_BYTES - length);
      part.set(piece.subarray(at, at + count), length);
      at += count;
      length += count;
      if (length < PART_BYTES) continue;
      yield part;
      length = 0;
    }
  }
  if (length > 0) yield part.subarray(0, length);
}
