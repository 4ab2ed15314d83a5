import { message, type Random } from '../../support/random.ts';
import type { CyrusSite } from './cyrus.ts';
import type { ImapClient } from './imap.ts';
import { seedUser } from './mail.ts';
import { manageSieve, putScript } from './sieve.ts';

const FLAGS = ['\\Seen', '\\Flagged', '\\Answered', '\\Draft', '$Label1', '$Forwarded', 'NonJunk'];
const NAMES = ['Work', 'Old', 'Neu &APw-', 'x'];

/** What users do, by mail program and ManageSieve, as often as it stands here. */
const BY_USER = [
  ...(['append', 'append', 'append', 'append', 'flags', 'flags', 'flags', 'expunge', 'expunge'] as const),
  ...(['copy', 'copy', 'create', 'rename', 'remove', 'subscribe', 'annotate', 'acl', 'sieve'] as const),
];
const BY_ADMIN = [
  ...([
    'newUser',
    'renameUser',
    'deleteUser',
    'expire',
    'quota',
    'shared',
    'unexpunge',
    'reconstruct',
  ] as const),
];

/** Users of the source and its administrator, who do anything at random: the same for the same seed. */
export class MailLife {
  /** Who is there. */
  users: string[];
  /** What was done, for who has to find out how it came to something. */
  readonly done: string[] = [];
  readonly #cyrus: CyrusSite;
  readonly #random: Random;
  readonly #wentAway: (user: string) => void;
  #serial = 0;

  /** @param wentAway called for who has gone, or has another name now */
  constructor(cyrus: CyrusSite, users: readonly string[], random: Random, wentAway: (user: string) => void) {
    this.#cyrus = cyrus;
    this.users = [...users];
    this.#random = random;
    this.#wentAway = wentAway;
  }

  async changeSomething(): Promise<void> {
    const random = this.#random;
    if (random.chance(0.08)) {
      await this.#byAdmin(random.pick(BY_ADMIN));
      return;
    }
    const what = random.pick(BY_USER);
    const user = random.pick(this.users);
    this.done.push(`${what} by ${user}`);
    if (what === 'sieve') {
      await this.#sieve(user);
      return;
    }
    const imap = await this.#cyrus.imap(user);
    const own = (await imap.folders()).filter((name) => !/^(Shared Folders|Other Users)/.test(name));
    await this.#byUser(what, user, imap, own);
    await imap.logout();
  }

  async #byUser(
    what: Exclude<(typeof BY_USER)[number], 'sieve'>,
    user: string,
    imap: ImapClient,
    own: string[],
  ): Promise<void> {
    const random = this.#random;
    const folder = random.pick(own);
    const serial = ++this.#serial;
    switch (what) {
      case 'append':
        for (let n = random.int(1, 6); n > 0; n--) {
          const body = message(random, random.int(300, 30_000), random.chance(0.2));
          await imap.append(folder, body, random.chance(0.5) ? [random.pick(FLAGS)] : []);
        }
        return;
      case 'flags': {
        const flags = `${random.pick(['+', '-', ''])}FLAGS (${random.pick(FLAGS)} ${random.pick(FLAGS)})`;
        const uids = await this.#someUids(imap, folder);
        if (uids !== undefined) await imap.command(`UID STORE ${uids} ${flags}`);
        return;
      }
      case 'expunge': {
        const uids = await this.#someUids(imap, folder);
        if (uids === undefined) return;
        await imap.command(`UID STORE ${uids} +FLAGS (\\Deleted)`);
        await imap.command('EXPUNGE');
        return;
      }
      case 'copy': {
        const uids = await this.#someUids(imap, folder);
        const verb = random.pick(['COPY', 'MOVE']);
        if (uids !== undefined) await imap.command(`UID ${verb} ${uids} "${random.pick(own)}"`);
        return;
      }
      case 'create': {
        const parent = random.chance(0.6) ? '' : `${folder}/`;
        const between = random.chance(0.2) ? 'deep/deeper/' : '';
        await this.#tolerant(imap, `CREATE "${parent}${between}${random.pick([...NAMES, `F${serial}`])}"`);
        return;
      }
      case 'rename': {
        // Debian's imapd 3.6.1 ends when INBOX is renamed, and leaves the user broken.
        if (folder === 'INBOX') return;
        const under = `${random.pick(own)}/sub ${serial}`;
        const to = random.pick([...NAMES, `Renamed ${serial}`, under, `deep/${serial}`]);
        await this.#tolerant(imap, `RENAME "${folder}" "${to}"`);
        return;
      }
      case 'remove':
        if (folder === 'INBOX') return;
        await this.#tolerant(imap, `DELETE "${folder}"`);
        if (random.chance(0.5)) await this.#tolerant(imap, `CREATE "${folder}"`);
        return;
      case 'subscribe':
        await this.#tolerant(imap, `${random.pick(['SUBSCRIBE', 'UNSUBSCRIBE'])} "${folder}"`);
        return;
      case 'annotate': {
        await this.#tolerant(imap, `SETMETADATA "${folder}" (/private/comment "note ${serial}")`);
        const uids = await this.#someUids(imap, folder);
        if (uids === undefined) return;
        await imap.command(`UID STORE ${uids} ANNOTATION (/comment (value.shared "a ${serial}"))`);
        return;
      }
      case 'acl': {
        const reader = random.pick(this.users.filter((other) => other !== user));
        await this.#tolerant(imap, `SETACL "${folder}" ${reader} ${random.pick(['lrs', 'lrswi', '""'])}`);
      }
    }
  }

  async #sieve(user: string): Promise<void> {
    const random = this.#random;
    const name = random.pick(['main', 'holiday', 'other']);
    const commands = [putScript(name, `# version ${++this.#serial}\r\nkeep;\r\n`)];
    if (random.chance(0.5)) commands.push(`SETACTIVE "${name}"`);
    if (random.chance(0.3)) commands.push('SETACTIVE ""');
    if (random.chance(0.2)) commands.push('SETACTIVE ""', `DELETESCRIPT "${name}"`);
    await manageSieve(this.#cyrus.ports('source').sieve, user, commands);
  }

  async #byAdmin(what: (typeof BY_ADMIN)[number]): Promise<void> {
    const random = this.#random;
    const user = random.pick(this.users);
    const serial = ++this.#serial;
    this.done.push(`${what} of ${user}`);
    const admin = await this.#cyrus.imap();
    switch (what) {
      case 'newUser':
        await this.#add(`user${serial}`);
        break;
      case 'renameUser':
        await admin.command(`RENAME "user/${user}" "user/new${serial}"`);
        this.users = this.users.map((one) => (one === user ? `new${serial}` : one));
        this.#wentAway(user);
        break;
      case 'deleteUser':
        if (this.users.length < 4) break;
        await admin.command(`SETACL "user/${user}" backup lrswipkxtecda`);
        await admin.command(`DELETE "user/${user}"`);
        this.users = this.users.filter((one) => one !== user);
        this.#wentAway(user);
        // Somebody else under the same name, at once.
        if (random.chance(0.5)) await this.#add(user);
        break;
      case 'expire':
        await this.#tool('cyr_expire', '-E', '1', '-X', '0', '-D', '0');
        break;
      case 'quota':
        await admin.command(`SETQUOTA "user/${user}" (STORAGE ${random.int(100_000, 900_000)})`);
        break;
      case 'shared':
        await admin.append('shared', message(random, 3000));
        break;
      case 'unexpunge':
        await this.#tool('unexpunge', '-a', `user/${user}`);
        break;
      case 'reconstruct':
        await this.#tool('reconstruct', '-r', '-G', `user/${user}`);
    }
    await admin.logout();
  }

  async #add(user: string): Promise<void> {
    await seedUser(this.#cyrus, user, { messages: 3 });
    this.users.push(user);
  }

  async #tool(program: string, ...args: string[]): Promise<void> {
    const { status, stderr } = await this.#cyrus.tool(program, this.#cyrus.conf('source'), args);
    if (status !== 0) throw new Error(`${program} ${args.join(' ')}: status ${status}\n${stderr}`);
  }

  async #someUids(imap: ImapClient, folder: string): Promise<string | undefined> {
    await imap.command(`SELECT "${folder}"`);
    const uids = (await imap.command('UID SEARCH ALL'))[0]!.toString().trim().split(' ').slice(2);
    if (uids.length === 0) return undefined;
    if (this.#random.chance(0.1)) return '1:*';
    return Array.from({ length: this.#random.int(1, 4) }, () => this.#random.pick(uids)).join(',');
  }

  /** A folder with children may not go, one that is there may not come again. */
  async #tolerant(imap: ImapClient, command: string): Promise<void> {
    this.done.push(command);
    await imap.command(command).catch((error: unknown) => {
      if (!/ NO /.test(String(error))) throw error;
    });
  }
}
