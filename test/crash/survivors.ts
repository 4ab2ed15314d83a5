import { createHash } from 'node:crypto';
import { asList, asMap, readLine, type Value, writeDlist } from '../support/dlist-text.ts';
import type { CsyncWire } from '../support/wire.ts';
import type { MessageStore, UserState } from './model.ts';
import { ownerOf, type Users } from './pusher.ts';

/** A user's state in a form that can be compared and printed. */
type Plain = Record<string, unknown>;

const NO_GUID = '0'.repeat(40);

/** What a backup that holds `user` answers. */
function plainState(userid: string, user: UserState | undefined): Plain | undefined {
  if (user === undefined || user.mailboxes.size === 0) return undefined;
  return {
    mailboxes: Object.fromEntries(
      [...user.mailboxes.values()].sort(byName).map((m) => [
        m.name,
        {
          uniqueid: m.uniqueid,
          uidvalidity: m.uidvalidity,
          lastUid: m.lastUid,
          modseq: m.modseq,
          comment: m.comment,
          // A mailbox under its user's former name cannot be asked for by that name.
          records: (ownerOf(m.name) === userid ? [...m.records] : []).map(
            ([uid, r]) => `${uid} ${r.guid} ${r.modseq} ${[...r.flags].sort()}`,
          ),
        },
      ]),
    ),
    subscriptions: [...user.subscriptions].sort(),
    seen: [...user.seen].map(([id, uids]) => `${id} ${uids}`).sort(),
    scripts: [
      ...[...user.scripts].map(([name, s]) => `${name} ${s.lastUpdate} ${sha1(s.content)} 0`),
      ...(user.activeScript === undefined ? [] : [`${user.activeScript} 0 ${NO_GUID} 1`]),
    ].sort(),
    quotas: [...user.quotas].map(([root, n]) => `${root} ${n}`).sort(),
  };
}

/** The same, asked of the server. */
export async function askState(wire: CsyncWire, userid: string): Promise<Plain | undefined> {
  const lines = (await wire.ok(`GET USER ${writeDlist(userid)}`)).lines.map(readLine);
  const of = (name: string): Value[] => lines.filter((line) => line.name === name).map((line) => line.value);
  const mailboxes = of('MAILBOX').map(asMap);
  const answered: [string, Plain][] = [];
  for (const m of mailboxes) {
    const name = String(m.get('MBOXNAME'));
    const full = ownerOf(name) === userid ? await wire.ok(`GET FULLMAILBOX ${writeDlist(name)}`) : undefined;
    const records =
      full === undefined ? [] : asList(asMap(readLine(full.lines[0]!).value).get('RECORD')).map(asMap);
    const annotations = m.get('ANNOTATIONS');
    answered.push([
      name,
      {
        uniqueid: m.get('UNIQUEID'),
        uidvalidity: Number(m.get('UIDVALIDITY')),
        lastUid: Number(m.get('LAST_UID')),
        modseq: Number(m.get('HIGHESTMODSEQ')),
        comment:
          Array.isArray(annotations) && annotations.length > 0 ? asMap(annotations[0]).get('VALUE') : '',
        records: records
          .map(
            (r) =>
              [
                Number(r.get('UID')),
                `${r.get('UID')} ${r.get('GUID')} ${r.get('MODSEQ')} ${asList(r.get('FLAGS')).map(String).sort()}`,
              ] as const,
          )
          .sort(([a], [b]) => a - b)
          .map(([, text]) => text),
      },
    ]);
  }
  await wire.ok('RESTART');
  if (answered.length === 0) return undefined;
  return {
    mailboxes: Object.fromEntries(answered.sort(([a], [b]) => (a < b ? -1 : 1))),
    subscriptions: of('LSUB')
      .flatMap((v) => asList(v).map(String))
      .sort(),
    seen: of('SEEN')
      .map((v) => `${asMap(v).get('UNIQUEID')} ${asMap(v).get('SEENUIDS')}`)
      .sort(),
    scripts: of('SIEVE')
      .map((v) => ['FILENAME', 'LAST_UPDATE', 'GUID', 'ISACTIVE'].map((key) => asMap(v).get(key)).join(' '))
      .sort(),
    quotas: of('QUOTA')
      .map((v) => `${asMap(v).get('ROOT')} ${asMap(v).get('STORAGE')}`)
      .sort(),
  };
}

/**
 * Asserts that the server holds all that was acknowledged, and all or nothing of the command in doubt. Returns
 * which of these states it is.
 */
export async function expectSurvived(wire: CsyncWire, acknowledged: Users, inDoubt: Users[]): Promise<Users> {
  const candidates = [acknowledged, ...inDoubt];
  const userids = new Set(candidates.flatMap((users) => [...users.keys()]));
  const actual = new Map<string, string>();
  for (const userid of userids) actual.set(userid, print(await askState(wire, userid)));
  const differences = (expected: Users): string[] =>
    [...userids].filter((userid) => actual.get(userid) !== print(plainState(userid, expected.get(userid))));
  const survived = candidates.find((users) => differences(users).length === 0);
  if (survived !== undefined) return survived;
  const reports = candidates.map((users, i) => {
    const userid = differences(users)[0]!;
    const state = i === 0 ? 'acknowledged' : 'in doubt';
    return `${state}, of ${userid}:\n${compare(print(plainState(userid, users.get(userid))), actual.get(userid)!)}`;
  });
  throw new Error(`what was acknowledged is not there\n${reports.join('\n')}`);
}

/** Lines that only one of two printed states has. */
function compare(expected: string, actual: string): string {
  const [wanted, found] = [expected.split('\n'), actual.split('\n')];
  const lost = wanted.filter((line) => !found.includes(line)).map((line) => `- ${line.trim()}`);
  const extra = found.filter((line) => !wanted.includes(line)).map((line) => `+ ${line.trim()}`);
  return [...lost, ...extra].slice(0, 30).join('\n');
}

/** Asserts that the backups hold the bytes of the messages that their mailboxes name, by GET FETCH. */
export async function expectContent(
  wire: CsyncWire,
  users: Users,
  store: MessageStore,
  limit: number,
): Promise<number> {
  let checked = 0;
  for (const [userid, user] of users) {
    for (const mailbox of user.mailboxes.values()) {
      if (ownerOf(mailbox.name) !== userid) continue;
      const records = [...mailbox.records].reverse().slice(0, 3);
      for (const [uid, { guid }] of records) {
        if (checked >= limit) return checked;
        const ids = `MBOXNAME ${writeDlist(mailbox.name)} PARTITION default UNIQUEID ${mailbox.uniqueid}`;
        const { lines } = await wire.ok(`GET FETCH %(${ids} GUID ${guid} UID ${uid})`);
        if (!lines.join('').includes(store.get(guid).toString('latin1'))) {
          throw new Error(`message ${guid} of ${mailbox.name} is not what was sent`);
        }
        checked++;
      }
    }
  }
  return checked;
}

function print(state: Plain | undefined): string {
  return JSON.stringify(state, undefined, 1) ?? 'no backup';
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
