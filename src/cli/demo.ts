/** `csync-backup demo`: the main job in under a minute, in a folder of its own, with nothing but this program. */
import { hash } from 'node:crypto';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { BackupError } from '../platform/errors.ts';
import { CsyncClient } from '../restore/csync-client.ts';
import type { CsyncRecord } from '../restore/csync-mailbox.ts';
import { type MessageSource, type PushFigures, pushUser } from '../restore/csync-push.ts';
import { DEMO_ACCOUNT, DemoServer, DemoSite, messageOf } from './demo-server.ts';
import { MailGenerator, SeededRandom } from './generated-mail.ts';
import { type GeneratedUser, generateUser } from './generated-user.ts';
import { helpText } from './help-text.ts';

const USERIDS = ['alice', 'bob', 'carol', 'dave'];
const FOLDERS = ['', 'Sent', 'Archive'];
const MESSAGES_PER_FOLDER = 40;
const SEED = 7;
/** In the push of the third user's second folder, so that some of all kinds is acknowledged by then. */
const KILL_AT = { user: 2, folder: 1, message: MESSAGES_PER_FOLDER / 2 };
const RECOVERY_LOG = /recovered|rebuilding|trailer/;

interface DemoOptions {
  seed: string;
  keep?: boolean;
}

export function newDemoCommand(): Command {
  return new Command('demo')
    .description(
      'Start a server in a temporary folder, push generated mail to it, kill it in the middle, let it recover, ' +
        'push the rest, then list, verify, compare and restore what it holds.',
    )
    .option('--seed <number>', 'other numbers make other mail', String(SEED))
    .option('--keep', 'leave the folder behind')
    .addHelpText(
      'after',
      helpText([['csync-backup demo --keep', 'and look at the files afterwards']], [0, 64, 69, 70]).concat(
        '\n  1   a check did not hold',
      ),
    )
    .action(runDemo);
}

async function runDemo(options: DemoOptions): Promise<void> {
  const site = await DemoSite.create();
  const demo = new Demo(site, Number(options.seed));
  try {
    await demo.run();
  } finally {
    await demo.end();
    if (options.keep) say(`\nThe files are in ${site.dir}.`);
    else site.remove();
  }
  if (demo.differences > 0) process.exitCode = 1;
}

class Demo {
  /** Checks that did not hold. */
  differences = 0;
  readonly #site: DemoSite;
  readonly #users: GeneratedUser[];
  /** By GUID. */
  readonly #messages = new Map<string, Buffer>();
  /** GUIDs of messages in mailboxes that were acknowledged before the crash. */
  readonly #acknowledged = new Set<string>();
  #server: DemoServer | undefined;

  constructor(site: DemoSite, seed: number) {
    const mail = new MailGenerator(seed);
    const random = new SeededRandom(seed);
    this.#site = site;
    this.#users = USERIDS.map((userid, n) => generateUser(random, userid, FOLDERS, 1_700_000_000 + n));
    for (const mailbox of this.#users.flatMap(({ mailboxes }) => mailboxes)) {
      for (let n = 0; n < MESSAGES_PER_FOLDER; n++) {
        const message = mail.mixed();
        this.#messages.set(message.guid, message.bytes);
        mailbox.append(message);
      }
    }
  }

  async run(): Promise<void> {
    const begin = performance.now();
    await this.#start();
    await this.#pushUntilKilled();
    await this.#start();
    await this.#pushRest();
    await this.#pushAgain();
    await this.#list();
    await this.#verify();
    await this.#dump();
    await this.#restore();
    title('Stop');
    const status = await this.#server!.stop();
    this.#server = undefined;
    this.#check(status === 0, `SIGTERM ends the server with exit status ${status}`);
    const seconds = ((performance.now() - begin) / 1e3).toFixed(1);
    say(
      `\n${this.differences === 0 ? 'Everything is as it should be' : `${this.differences} checks failed`} (${seconds} s).`,
    );
  }

  async end(): Promise<void> {
    await this.#server?.kill();
  }

  async #start(): Promise<void> {
    title(this.#acknowledged.size === 0 ? 'A server' : 'The server again');
    const begin = performance.now();
    this.#server = await DemoServer.start(this.#site);
    say(`$ csync-backup serve -C ${this.#site.configFile}`);
    for (const line of this.#server.log) if (messageOf(line) === 'ready') say(`  ${line}`);
    say(`  ready after ${milliseconds(begin)}, process ${this.#server.pid}`);
  }

  async #pushUntilKilled(): Promise<void> {
    title('First push, and kill -9 in the middle of it');
    const victim = this.#users[KILL_AT.user]!.mailboxes[KILL_AT.folder]!;
    const fatal = victim.records[KILL_AT.message]!;
    const server = this.#server!;
    const content: MessageSource = (record) =>
      record.guid === fatal.guid && record.size === fatal.size
        ? this.#halfThenKill(record, server)
        : this.#messages.get(record.guid)!;
    const client = await this.#connect();
    try {
      for (const user of this.#users) await this.#push(client, user, content);
      this.#check(false, 'the server was killed');
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== 'UNAVAILABLE') throw error;
      say(`  kill -9 ${server.pid}, half-way in message ${fatal.uid} of ${victim.mboxname}`);
      say(`  the client: ${error.message}`);
    } finally {
      client.close();
      this.#server = undefined;
    }
    // sync_client works mailbox by mailbox: those before the victim had their OK.
    const before = this.#users.flatMap(({ mailboxes }) => mailboxes);
    const done = before.slice(0, before.indexOf(victim));
    for (const { guid } of done.flatMap(({ records }) => records)) this.#acknowledged.add(guid);
    say(`  acknowledged until then: ${done.length} mailboxes with ${this.#acknowledged.size} messages`);
  }

  async *#halfThenKill(record: CsyncRecord, server: DemoServer): AsyncGenerator<Uint8Array> {
    const bytes = this.#messages.get(record.guid)!;
    yield bytes.subarray(0, bytes.length / 2);
    await server.kill();
    yield bytes.subarray(bytes.length / 2);
  }

  async #pushRest(): Promise<void> {
    title('Second push: what is missing, and nothing else');
    const client = await this.#connect();
    const again: string[] = [];
    let sent = 0;
    for (const user of this.#users) {
      const figures = await this.#push(client, user, ({ guid }) => {
        if (this.#acknowledged.has(guid)) again.push(guid);
        return this.#messages.get(guid)!;
      });
      sent += figures.messages;
    }
    await client.exit();
    const recovery = this.#server!.log.filter((line) => RECOVERY_LOG.test(messageOf(line) ?? ''));
    say('  what the server said about the recovery:');
    for (const line of recovery) say(`    ${line}`);
    this.#check(recovery.length > 0, 'the torn backup was recovered when it was opened');
    this.#check(
      again.length === 0,
      `none of the ${this.#acknowledged.size} acknowledged messages had to be sent again`,
    );
    const missing = this.#messages.size - this.#acknowledged.size;
    this.#check(sent === missing, `${sent} of ${missing} messages without an OK were sent`);
  }

  async #pushAgain(): Promise<void> {
    title('Third push: nothing has changed');
    const client = await this.#connect();
    let applies = 0;
    for (const user of this.#users) {
      applies += (await pushUser(client, user, { content: ({ guid }) => this.#messages.get(guid)! })).applies;
      await client.restart();
    }
    await client.exit();
    this.#check(applies === 0, `the client had ${applies} commands to send`);
  }

  async #list(): Promise<void> {
    title('What is stored');
    show('csync-backup list', await this.#site.runWell(['list']));
    const lines = (await this.#site.runWell(['list', '--json'])).toString().trim().split('\n');
    const userids = lines.map((line) => (JSON.parse(line) as { userid: string }).userid).sort();
    this.#check(userids.join() === USERIDS.join(), `the backups are those of ${userids.join(', ')}`);
  }

  async #verify(): Promise<void> {
    title('Is all of it well?');
    const begin = performance.now();
    const verified = await this.#site.run(['verify', '-A']);
    show('csync-backup verify -A', verified.stdout);
    this.#check(
      verified.status === 0,
      `verify took ${milliseconds(begin)} and ended with status ${verified.status}`,
    );
    if (verified.status !== 0) say(verified.stderr);
  }

  /** The largest message, one from before the crash and the one that was cut in two by it. */
  async #dump(): Promise<void> {
    title('Messages, byte for byte');
    const all = this.#users.flatMap((user) =>
      user.mailboxes.flatMap(({ records }) => records.map((record) => ({ userid: user.userid, ...record }))),
    );
    const largest = all.reduce((a, b) => (b.size > a.size ? b : a));
    const torn = this.#users[KILL_AT.user]!.mailboxes[KILL_AT.folder]!.records[KILL_AT.message]!;
    const chosen = [all[0]!, all.find(({ guid }) => guid === torn.guid)!, largest];
    for (const { userid, guid, size } of chosen) {
      const dumped = await this.#site.run(['dump', 'message', guid, '-u', userid]);
      say(`$ csync-backup dump message ${guid} -u ${userid}`);
      this.#check(dumped.stdout.equals(this.#messages.get(guid)!), `${size} bytes, the same that were sent`);
    }
  }

  /** What the others are for: somebody's mail back, that of the user in whose push the server was killed. */
  async #restore(): Promise<void> {
    title('And back: the mail of one user as files');
    const { userid, mailboxes } = this.#users[KILL_AT.user]!;
    const folder = path.join(this.#site.dir, 'restored');
    const args = ['restore', '-u', userid, '--to', `eml:${folder}`, '--in-place'];
    show(`csync-backup ${args.join(' ')}`, await this.#site.runWell(args));
    const files = globSync('**/*.eml', { cwd: folder }).map((name) => readFileSync(path.join(folder, name)));
    const found = files.map((bytes) => hash('sha1', bytes)).sort();
    const sent = mailboxes.flatMap(({ records }) => records.map(({ guid }) => guid)).sort();
    this.#check(found.join() === sent.join(), `${files.length} files, each byte for byte what was sent`);
  }

  async #connect(): Promise<CsyncClient> {
    return await CsyncClient.connect({ host: '127.0.0.1', port: this.#site.port, account: DEMO_ACCOUNT });
  }

  async #push(client: CsyncClient, user: GeneratedUser, content: MessageSource): Promise<PushFigures> {
    const begin = performance.now();
    const figures = await pushUser(client, user, { content });
    await client.restart();
    const elapsedMs = performance.now() - begin;
    const { messages, messageBytes, mailboxes } = figures;
    const rate = messages === 0 ? '' : `, ${(messageBytes / 1e3 / elapsedMs).toFixed(0)} MB/s`;
    say(
      `  ${user.userid.padEnd(6)} ${String(messages).padStart(4)} messages ${(messageBytes / 1e6).toFixed(1).padStart(6)} MB ` +
        `${mailboxes} mailboxes ${elapsedMs.toFixed(0).padStart(5)} ms${rate}`,
    );
    return figures;
  }

  #check(held: boolean, what: string): void {
    if (!held) this.differences++;
    say(`  ${held ? 'ok' : 'WRONG'}: ${what}`);
  }
}

function title(text: string): void {
  say(`\n${text}\n${'-'.repeat(text.length)}`);
}

function show(command: string, output: Buffer): void {
  say(`$ ${command}`);
  for (const line of output.toString().trimEnd().split('\n')) say(`  ${line}`);
}

function milliseconds(begin: number): string {
  return `${(performance.now() - begin).toFixed(0)} ms`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

// `npm run demo` starts this file. Not awaited: the program imports this module again, which has to be complete.
if (import.meta.main) void import('./main.ts').then(({ main }) => main(['demo', ...process.argv.slice(2)]));
