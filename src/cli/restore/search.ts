/** `csync-backup search`: messages of a backup by what stands in them. */
import { Command, InvalidArgumentError, Option } from 'commander';
import type { Config } from '../../config/config.ts';
import { loadConfig } from '../../config/load.ts';
import { parseSize, ValueError } from '../../config/units.ts';
import { isDeletedMailbox, toAdmin } from '../../csync/mailbox-name.ts';
import { decodeMailboxName } from '../../csync/modified-utf7.ts';
import { BackupError } from '../../platform/errors.ts';
import { withSource } from '../../restore/open-source.ts';
import {
  type Found,
  type Hit,
  type SearchOptions,
  searchBackup,
  type Unread,
} from '../../restore/search/search.ts';
import { Selection } from '../../restore/selection.ts';
import { configOption } from '../config-option.ts';
import { helpText } from '../help-text.ts';
import { addMomentOptions, findMoment, type MomentFlags, sourceOutput } from '../moment-options.ts';
import { Progress } from '../progress.ts';
import { selectBackup } from '../select-backups.ts';
import { LineWriter } from '../standard-output.ts';
import { parseTime, TIME_FORMS } from '../time-option.ts';
import { printUserid } from '../userid-text.ts';
import { useridOf } from './restore.ts';

interface SearchFlags extends MomentFlags {
  config?: string;
  user?: string;
  mailbox?: string;
  file?: string;
  from?: string[];
  to?: string[];
  cc?: string[];
  subject?: string[];
  messageId?: string[];
  header?: { name: string; text: string }[];
  text?: string[];
  since?: number;
  before?: number;
  sentSince?: number;
  sentBefore?: number;
  larger?: number;
  smaller?: number;
  flag?: string[];
  withoutFlag?: string[];
  in?: string[];
  recursive?: boolean;
  deleted?: boolean;
  json?: boolean;
}

const BAD_DATA_STATUS = 65;

export function newSearchCommand(): Command {
  const command = new Command('search')
    .description(
      'Find messages in a backup. All conditions must hold; an option that is given twice must hold twice. Texts are ' +
        'found whatever case they are in and however they are encoded in the mail. Of each message a line is ' +
        'printed: internal date, mailbox, UID, From, Subject, size in bytes and UNIQUEID:UID, which restore ' +
        'takes, in the order in which the messages came into the backup.',
    )
    .argument('[userid]', 'in the backup of this user; %SHARED for shared mailboxes')
    .option('-u, --user <userid>', 'the same')
    .option('-m, --mailbox <name>', 'in the backup that holds this mailbox')
    .option('-f, --file <path>', 'in the backup in this data file')
    .addOption(configOption())
    .addOption(texts('--from <text>', 'in the field From: a part of a name or an address'))
    .addOption(texts('--to <text>', 'in the field To'))
    .addOption(texts('--cc <text>', 'in the field Cc'))
    .addOption(texts('--subject <text>', 'in the field Subject'))
    .addOption(texts('--message-id <text>', 'in the field Message-ID'))
    .addOption(
      new Option(
        '--header <name=text>',
        'in any other field; without a text: there is such a field',
      ).argParser((value: string, before: SearchFlags['header'] = []) => [...before, parseHeader(value)]),
    )
    .addOption(texts('--text <text>', 'in the header or in the text of the message, which takes longer'))
    .addOption(times('--since <time>', `that arrived then or later (internal date): ${TIME_FORMS}`))
    .addOption(times('--before <time>', 'that arrived before'))
    .addOption(times('--sent-since <time>', 'that say they were sent then or later (field Date)'))
    .addOption(times('--sent-before <time>', 'that say they were sent before'))
    .addOption(sizes('--larger <size>', 'larger than so many bytes, or K, M, G'))
    .addOption(sizes('--smaller <size>', 'smaller'))
    .addOption(
      texts('--flag <flag>', 'with this flag: seen, answered, flagged, draft, deleted, or a keyword'),
    )
    .addOption(texts('--without-flag <flag>', 'without it'))
    .addOption(
      texts('--in <mailbox>', 'in this mailbox (user/anne/Sent, or Sent) only, or in one of several'),
    )
    .option('-r, --recursive', 'and in those below it')
    .option('--deleted', 'among expunged messages and in deleted mailboxes as well')
    .option('--json', 'one JSON object a line, with a type: message, unread and at the end summary');
  return addMomentOptions(command)
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup search anne --subject invoice --since 2026-11-01', 'what came this month'],
          ['csync-backup search anne --from boss@ --deleted --in INBOX', 'also what she has expunged'],
          ['csync-backup search anne --text "purchase order" --larger 1M', 'in the texts of large messages'],
          [
            'csync-backup search anne --subject invoice --json | csync-backup restore -u anne --from-file - --to eml:out',
            'and give it back',
          ],
        ],
        [0, 64, 65, 74, 77, 78],
      ),
    )
    .action(runSearch);
}

async function runSearch(userid: string | undefined, flags: SearchFlags): Promise<void> {
  checkConditions(flags);
  const { config: configFile, mailbox, file } = flags;
  if (userid !== undefined && flags.user !== undefined)
    throw unfit('a user', 'two are named', 'Give one of them');
  const selected = selectBackup({ user: userid ?? flags.user, mailbox, file, config: configFile });
  const config = loadConfig({ file: configFile, anyPartitions: true });
  const opening = sourceOutput();
  const moment = await findMoment(flags, selected.path, config, opening);
  await withSource(selected.path, { config, moment, ...opening }, async (source) => {
    opening.clear();
    if (source.isPartLost) process.exitCode = BAD_DATA_STATUS;
    const output = new SearchOutput(flags, config, useridOf(selected, source, config));
    let progress: Progress | undefined;
    const options: SearchOptions = {
      selection: new Selection(source, {
        objects: (flags.in ?? []).map((name) => Buffer.from(name, 'utf8').toString('latin1')),
        rules: config,
        recursive: flags.recursive ?? false,
        deleted: flags.deleted ?? false,
        onlyDeleted: false,
        formerNames: true,
      }),
      ...conditionsOf(flags),
      onTotal: (bytes) => {
        progress = new Progress(bytes);
      },
      onProgress: (bytes) => progress?.add(bytes),
    };
    if (options.selection.isPartial) {
      throw unfit(
        `in ${flags.in!.join(', ')}`,
        'that is a message',
        'Give mailboxes, as csync-backup show mailboxes has them',
      );
    }
    try {
      for await (const found of searchBackup(source, options)) {
        progress?.clear();
        output.found(found);
      }
    } finally {
      progress?.clear();
      output.flush();
    }
    output.end();
  });
}

function conditionsOf(flags: SearchFlags): Pick<SearchOptions, 'index' | 'content'> {
  const { since, before, larger, smaller, sentSince, sentBefore } = flags;
  const fields = ['from', 'to', 'cc', 'subject'] as const;
  const headers = fields.flatMap((name) =>
    (flags[name] ?? []).map((text) => ({ name: name as string, text })),
  );
  // It is often copied with its brackets, and as often without.
  for (const id of flags.messageId ?? [])
    headers.push({ name: 'message-id', text: id.replaceAll(/^<|>$/g, '') });
  headers.push(...(flags.header ?? []));
  return {
    index: {
      since,
      before,
      larger,
      smaller,
      flags: (flags.flag ?? []).map(flagOf),
      withoutFlags: (flags.withoutFlag ?? []).map(flagOf),
    },
    content: {
      headers,
      sentSince,
      sentBefore,
      texts: flags.text ?? [],
    },
  };
}

const SYSTEM_FLAGS = ['seen', 'answered', 'flagged', 'draft', 'deleted'];

function flagOf(text: string): string {
  const flag = text.toLowerCase();
  return SYSTEM_FLAGS.includes(flag) ? `\\${flag}` : Buffer.from(flag, 'utf8').toString('latin1');
}

/** Conditions that nothing can meet are a mistake, and an empty answer would hide it. */
function checkConditions(flags: SearchFlags): void {
  const now = Date.now() / 1000;
  for (const [since, before, what] of [
    [flags.since, flags.before, ''],
    [flags.sentSince, flags.sentBefore, 'sent-'],
  ] as const) {
    if (since !== undefined && since > now + 86_400) {
      throw unfit(`--${what}since ${iso(since)}`, 'that is still to come', 'Check the year');
    }
    if (since !== undefined && before !== undefined && since >= before) {
      const times = `--${what}since ${iso(since)} --${what}before ${iso(before)}`;
      throw unfit(times, 'nothing lies between the two', `Give --${what}since the earlier of them`);
    }
  }
  const { larger, smaller } = flags;
  if (larger !== undefined && smaller !== undefined && larger + 1 >= smaller) {
    throw unfit(
      `--larger ${larger} --smaller ${smaller}`,
      'no size is both',
      'Give --larger the smaller number',
    );
  }
  const both = (flags.flag ?? []).find((flag) => flags.withoutFlag?.map(flagOf).includes(flagOf(flag)));
  if (both !== undefined) {
    throw unfit(`--flag ${both} --without-flag ${both}`, 'no message is both', 'Give one of them');
  }
  const empty = (
    ['from', 'to', 'cc', 'subject', 'messageId', 'text', 'flag', 'withoutFlag', 'in'] as const
  ).find((name) => flags[name]?.some((text) => text.trim() === ''));
  if (empty !== undefined) {
    const option = empty.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw unfit(
      `--${option} ""`,
      'it is empty',
      'Give a text, or leave the option out; --header NAME= finds any value',
    );
  }
}

function unfit(subject: string, reason: string, remedy: string): BackupError {
  return new BackupError({ code: 'USAGE', tried: 'search for', subject, reason, remedy });
}

class SearchOutput {
  readonly #flags: SearchFlags;
  readonly #config: Config;
  readonly #userid: string;
  readonly #out = new LineWriter();
  #hits = 0;
  #damaged = 0;
  #absent = 0;

  constructor(flags: SearchFlags, config: Config, userid: string) {
    this.#flags = flags;
    this.#config = config;
    this.#userid = printUserid(userid);
  }

  found(found: Found): void {
    if (found.type === 'unread') this.#unread(found);
    else if (this.#flags.json) this.#json({ type: 'message', ...this.#message(found), ...factsOf(found) });
    else this.#out.write(this.#line(found));
    if (found.type === 'hit') this.#hits++;
    // What is found is shown at once, as the rest may take a while.
    if (process.stdout.isTTY) this.#out.flush();
  }

  flush(): void {
    this.#out.flush();
  }

  end(): void {
    const [found, damaged, absent] = [this.#hits, this.#damaged, this.#absent];
    if (this.#flags.json) {
      this.#json({ type: 'summary', userid: this.#userid, found, damaged, absent });
      this.#out.flush();
    } else {
      const notes = [];
      if (found === 0) notes.push('nothing found');
      if (damaged > 0) notes.push(`${damaged} could not be read: run csync-backup verify on this backup`);
      if (absent > 0)
        notes.push(`${absent} could not be looked at, as the backup does not have their content`);
      if (found === 0 && !this.#flags.deleted) notes.push('--deleted looks at what was deleted too');
      if (notes.length > 0) process.stderr.write(`csync-backup: ${notes.join('; ')}\n`);
    }
    if (damaged > 0) process.exitCode = BAD_DATA_STATUS;
  }

  #unread(unread: Unread): void {
    const { kind, reason, mailbox, message } = unread;
    if (kind === 'damaged') this.#damaged++;
    else this.#absent++;
    if (this.#flags.json) this.#json({ type: 'unread', ...this.#message(unread), kind, reason });
    else if (kind === 'damaged') {
      const what = `message ${message.uid} of ${this.#name(mailbox.mboxname)} (${message.guid})`;
      this.#out.flush();
      process.stderr.write(`csync-backup: not read: ${what}: ${reason}\n`);
    }
  }

  #line({ mailbox, message, facts }: Hit): string {
    const name = decodeMailboxName(toAdmin(mailbox.mboxname, this.#config));
    const uid = `${message.uid}${this.#isDeleted({ mailbox, message }) ? ' deleted' : ''}`;
    const date = iso(message.internaldate);
    const object = `${printUserid(mailbox.uniqueid)}:${message.uid}`;
    const columns = [date, name, uid, facts?.from, facts?.subject, message.size, object];
    return columns.map((column) => oneLine(String(column ?? '-'))).join('\t');
  }

  #message(of: Pick<Hit, 'mailbox' | 'message'>): object {
    const { mailbox, message } = of;
    const { uid, guid, internaldate, size, flags, expunged } = message;
    return {
      userid: this.#userid,
      mailbox: this.#name(mailbox.mboxname),
      uniqueid: printUserid(mailbox.uniqueid),
      uid,
      guid,
      internalDate: iso(internaldate),
      sizeBytes: size ?? null,
      flags: flags.map(printUserid),
      deleted: this.#isDeleted(of),
      expungedAt: expunged === undefined ? null : iso(expunged),
      mailboxDeletedAt: mailbox.deleted === null ? null : iso(mailbox.deleted),
    };
  }

  #isDeleted({ mailbox, message }: Pick<Hit, 'mailbox' | 'message'>): boolean {
    const isGone = mailbox.deleted !== null || isDeletedMailbox(mailbox.mboxname, this.#config);
    return isGone || message.expunged !== undefined;
  }

  #name(mboxname: string): string {
    return printUserid(toAdmin(mboxname, this.#config));
  }

  #json(object: object): void {
    this.#out.write(JSON.stringify(object));
  }
}

function factsOf({ facts }: Hit): object {
  const { from, to, cc, subject, messageId, sentAt } = facts ?? {};
  return {
    from: from ?? null,
    to: to ?? null,
    cc: cc ?? null,
    subject: subject ?? null,
    messageId: messageId ?? null,
    sentAt: sentAt === undefined || sentAt === null ? null : iso(sentAt),
  };
}

/** What mail says must neither break the line nor speak to the terminal. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu, ' ');
}

/** Seconds since 1970; a time that no calendar has is a wrong one in the mail. */
function iso(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString();
}

/** An option that may be given more than once. */
function texts(flags: string, description: string): Option {
  return new Option(flags, description).argParser((value: string, before: string[] = []) => [
    ...before,
    value,
  ]);
}

function times(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.argParser((text: string) => parseTime(text, option.long!));
}

function sizes(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text: string) => {
    try {
      const size = parseSize(text, 'B');
      if (size >= 0) return size;
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
    }
    throw new InvalidArgumentError('It is no size. Give one such as 5000, 200K or 10M.');
  });
}

function parseHeader(value: string): { name: string; text: string } {
  const equals = value.indexOf('=');
  const name = (equals === -1 ? value : value.slice(0, equals)).replace(/:$/, '');
  if (!/^[!-9;-~]+$/.test(name)) {
    throw new InvalidArgumentError('Give the name of a field and a text, such as List-Id=announce.');
  }
  return { name: name.toLowerCase(), text: equals === -1 ? '' : value.slice(equals + 1) };
}
