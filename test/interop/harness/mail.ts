import { message, Random } from '../../support/random.ts';
import type { CyrusSite } from './cyrus.ts';
import { ADMIN } from './cyrus-conf.ts';
import { manageSieve, putScript } from './sieve.ts';

export const FOLDERS = ['Sent', 'Drafts', 'Archive', 'Archive/2024', 'Projekte Gr&APYA3w-e'];

const FLAGS = [
  [],
  ['\\Seen'],
  ['\\Seen', '\\Answered'],
  ['\\Flagged'],
  ['\\Seen', '$Forwarded', 'NonJunk'],
  ['\\Draft'],
];
const DATE = '15-Jan-2024 12:00:00 +0000';

export interface SeedOptions {
  messages?: number;
  /** Without a Sieve script: its text is a literal, which Cyrus's own reindex does not get over. */
  sieve?: boolean;
}

/** Makes a mail user with folders, mail, annotations, subscriptions, quota and Sieve scripts on the source. */
export async function seedUser(site: CyrusSite, user: string, options: SeedOptions = {}): Promise<void> {
  const random = new Random(`seed/${user}`);
  const count = options.messages ?? 12;
  const admin = await site.imap();
  await admin.command(`CREATE "user/${user}"`);
  await admin.command(`SETQUOTA "user/${user}" (STORAGE 10000000)`);
  await admin.logout();
  const imap = await site.imap(user);
  for (const folder of FOLDERS) await imap.command(`CREATE "${folder}"`);
  for (const folder of ['INBOX', ...FOLDERS.slice(0, 4)]) await imap.command(`SUBSCRIBE "${folder}"`);
  for (let i = 0; i < count; i++) {
    const folder = i % 10 < 6 ? 'INBOX' : FOLDERS[i % FOLDERS.length]!;
    const body = message(random, random.int(600, 9000), i % 5 === 4);
    await imap.append(folder, body, random.pick(FLAGS), DATE);
  }
  await imap.command('SELECT INBOX');
  await imap.command('COPY 1 "Archive"');
  await imap.command('STORE 4 +FLAGS (\\Deleted)');
  await imap.command('EXPUNGE');
  await imap.command('STORE 2 ANNOTATION (/comment (value.shared "a note"))');
  await imap.command(`SETMETADATA INBOX (/shared/comment "inbox of ${user}" /private/comment "mine")`);
  await imap.logout();
  if (options.sieve !== false) {
    const scripts = [
      putScript('main', script(user, 1)),
      'SETACTIVE "main"',
      putScript('holiday', script(user, 2)),
    ];
    await manageSieve(site.ports('source').sieve, user, scripts);
  }
}

/** Makes the shared mailboxes `shared` and `shared/announce`; `readers` read some of the latter. */
export async function seedShared(site: CyrusSite, readers: string[]): Promise<void> {
  const admin = await site.imap();
  for (const name of ['shared', 'shared/announce']) {
    const random = new Random(name);
    await admin.command(`CREATE "${name}"`);
    await admin.command(`SETACL "${name}" ${ADMIN.user} lrswipkxtecda`);
    await admin.command(`SETACL "${name}" anyone lrsip`);
    for (let i = 0; i < 5; i++) await admin.append(name, message(random, 3000), [], DATE);
  }
  await admin.logout();
  for (const [i, user] of readers.entries()) {
    const imap = await site.imap(user);
    await imap.command('SELECT "Shared Folders/shared/announce"');
    await imap.command(`STORE 1:${i + 1} +FLAGS (\\Seen)`);
    await imap.logout();
  }
}

export type Change =
  | 'new'
  | 'flags'
  | 'expunge'
  | 'create'
  | 'rename'
  | 'delete'
  | 'copy'
  | 'sub'
  | 'unsub'
  | 'sieve'
  | 'unsieve'
  | 'seen'
  | 'annot'
  | 'acl';

let changes = 0;

/** One change of the source, as a user makes it by mail client. */
export async function change(site: CyrusSite, user: string, what: Change): Promise<void> {
  const serial = ++changes;
  const random = new Random(`change/${user}/${serial}`);
  if (what === 'sieve') {
    return manageSieve(site.ports('source').sieve, user, [putScript('main', script(user, serial))]);
  }
  if (what === 'unsieve') return manageSieve(site.ports('source').sieve, user, ['DELETESCRIPT "holiday"']);
  const imap = await site.imap(user);
  const commands: Record<Exclude<Change, 'sieve' | 'unsieve' | 'new'>, string[]> = {
    flags: ['SELECT INBOX', 'STORE 1:3 +FLAGS (\\Flagged $Label1)', 'STORE 1 -FLAGS (\\Seen)'],
    expunge: ['SELECT INBOX', 'STORE 2 +FLAGS (\\Deleted)', 'EXPUNGE'],
    create: ['CREATE "New Folder"'],
    rename: ['RENAME "Archive/2024" "Archive/Old years"'],
    delete: ['DELETE "Drafts"'],
    copy: ['SELECT INBOX', 'COPY 1:2 "Sent"'],
    sub: ['SUBSCRIBE "Projekte Gr&APYA3w-e"'],
    unsub: ['UNSUBSCRIBE "Sent"'],
    seen: ['SELECT "Shared Folders/shared/announce"', 'STORE 1:* +FLAGS (\\Seen)'],
    annot: [`SETMETADATA INBOX (/shared/comment "changed ${serial}")`],
    acl: ['SETACL "Sent" bob lrs'],
  };
  if (what === 'new') await imap.append('INBOX', message(random, 2500), [], DATE);
  else for (const command of commands[what]) await imap.command(command);
  if (what === 'create') await imap.append('New Folder', message(random, 1500), [], DATE);
  await imap.logout();
}

function script(user: string, version: number): string {
  return (
    `require ["fileinto"];\r\n# filter of ${user}, version ${version}\r\n` +
    'if header :contains "Subject" ["report", "plan"] {\r\n    fileinto "INBOX/Archive";\r\n}\r\n'
  );
}
