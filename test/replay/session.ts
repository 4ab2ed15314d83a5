import { asList, asMap, readDlist, readLine, type Value, writeDlist } from '../support/dlist-text.ts';
import { loginByScram } from '../support/scram.ts';
import { type Answer, CsyncWire, shorten } from '../support/wire.ts';
import { isFinal, kindOf, splitUnits, summary } from '../support/wire-text.ts';
import { type CaptureEvent, putInMessages } from './captures.ts';

/** One command of a capture, with what the server of then and ours said to it. */
export interface Exchange {
  conn: number;
  /** The command, shortened. */
  command: string;
  captured: Answer;
  ours: Answer;
}

/** The captured server's text as answers. */
export function answersOf(text: string): Answer[] {
  const answers: Answer[] = [];
  let lines: string[] = [];
  for (const unit of splitUnits(Buffer.from(text, 'latin1')).units) {
    const line = unit.toString('latin1').replace(/\r?\n$/, '');
    if (!isFinal(line)) lines.push(line);
    else {
      answers.push({ lines, final: line, kind: kindOf(line) });
      lines = [];
    }
  }
  return answers;
}

/**
 * Plays the client's side of a capture to the server at `port` and notes what it answers. Logins by SCRAM,
 * whose nonces cannot be repeated, are done anew; mechanisms that we do not have are tried, then PLAIN is used.
 */
export async function replay(
  events: CaptureEvent[],
  pool: Map<string, Buffer>,
  port: number,
): Promise<Exchange[]> {
  const exchanges: Exchange[] = [];
  const wires = new Map<number, CsyncWire>();
  // Turns of a connection that belong to a login which is done in another way.
  const skipping = new Set<number>();
  for (const event of events) {
    if ('ev' in event) {
      if (event.ev === 'open') wires.set(event.conn, await CsyncWire.connect(port));
      if (event.ev === 'close') wires.get(event.conn)!.destroy();
      continue;
    }
    const wire = wires.get(event.conn)!;
    const captured = answersOf(event.s);
    if (event.c === '') {
      const ours = wire.greeting;
      exchanges.push({ conn: event.conn, command: '(greeting)', captured: captured[0]!, ours });
      continue;
    }
    if (skipping.has(event.conn)) {
      if (captured.some((a) => a.final.startsWith('OK Success'))) skipping.delete(event.conn);
      continue;
    }
    const login = /^AUTHENTICATE ((?:SCRAM|DIGEST|CRAM)-\S+)/.exec(event.c);
    if (login !== null) {
      skipping.add(event.conn);
      exchanges.push(await loginAnew(wire, event.conn, login[1]!, captured[0]!));
      continue;
    }
    for (const [i, unit] of splitUnits(putInMessages(event.c, pool)).units.entries()) {
      const command = shorten(unit);
      const then = captured[i] ?? { lines: [], final: '(nothing)', kind: '(nothing)' };
      const ours = await perform(wire, unit, then);
      exchanges.push({ conn: event.conn, command, captured: then, ours });
    }
  }
  for (const wire of wires.values()) wire.destroy();
  return exchanges;
}

async function perform(wire: CsyncWire, unit: Buffer, captured: Answer): Promise<Answer> {
  const done: Answer = { lines: [], final: 'OK', kind: 'OK' };
  if (captured.kind === 'OK' && unit.equals(Buffer.from('COMPRESS DEFLATE\r\n'))) {
    await wire.compress();
    return done;
  }
  if (captured.kind === 'OK' && unit.equals(Buffer.from('STARTTLS\r\n'))) {
    await wire.startTls();
    return done;
  }
  wire.send(unit);
  return wire.read();
}

async function loginAnew(
  wire: CsyncWire,
  conn: number,
  mechanism: string,
  captured: Answer,
): Promise<Exchange> {
  const command = `AUTHENTICATE ${mechanism}`;
  if (mechanism === 'SCRAM-SHA-1' || mechanism === 'SCRAM-SHA-256') {
    await loginByScram(wire, mechanism, 'backup', 'secret');
    return { conn, command, captured, ours: captured };
  }
  const ours = await wire.command(command);
  await wire.login();
  return { conn, command, captured, ours };
}

/** What the server of a capture held before the session began, as far as its answers and the client tell. */
export interface PriorState {
  mailboxes: Map<string, Value>[];
  seen: { userid: string; entry: Map<string, Value> }[];
  subscriptions: { userid: string; mboxname: string }[];
  quotas: Map<string, Value>[];
  activeScripts: { userid: string; filename: string }[];
}

/**
 * Reads the prior state off a capture: mailboxes that a GET named before the client had sent them, with the
 * records of messages which the client did not send because that server had them.
 */
export function priorState(events: CaptureEvent[], pool: Map<string, Buffer>): PriorState {
  const state: PriorState = { mailboxes: [], seen: [], subscriptions: [], quotas: [], activeScripts: [] };
  const known = new Map<string, Map<string, Value>>();
  const touched = new Set<string>();
  const sent = new Set<string>();
  const metaOf = new Set<string>();
  for (const event of events) {
    if ('ev' in event) continue;
    const command = summary(Buffer.from(event.c, 'latin1'));
    for (const [, guid] of event.c.matchAll(/%\{\S+ ([0-9a-f]{40}) \d+\}/g)) sent.add(guid!);
    const userid = /^GET (?:USER|META) (\S+)/.exec(command)?.[1];
    for (const answer of answersOf(event.s)) {
      for (const line of answer.lines) {
        const { name, value } = /^\* (MAILBOX|SEEN|LSUB|QUOTA|SIEVE) /.test(line)
          ? readLine(line)
          : { name: '', value: null };
        if (name === 'MAILBOX') {
          const mailbox = asMap(value);
          const id = String(mailbox.get('UNIQUEID'));
          if (known.has(id) || touched.has(id)) continue;
          known.set(id, mailbox);
          mailbox.set('RECORD', []);
          state.mailboxes.push(mailbox);
        }
        if (userid === undefined || metaOf.has(userid)) continue;
        if (name === 'QUOTA') state.quotas.push(asMap(value));
        if (name === 'SIEVE' && asMap(value).get('ISACTIVE') === '1') {
          state.activeScripts.push({ userid, filename: String(asMap(value).get('FILENAME')) });
        }
        if (name === 'SEEN') state.seen.push({ userid, entry: asMap(value) });
        if (name === 'LSUB') {
          for (const m of asList(value)) state.subscriptions.push({ userid, mboxname: String(m) });
        }
      }
    }
    if (userid !== undefined) metaOf.add(userid);
    if (!event.c.startsWith('APPLY MAILBOX ')) continue;
    const mailbox = asMap(readDlist(event.c.slice('APPLY MAILBOX '.length)));
    const id = String(mailbox.get('UNIQUEID'));
    touched.add(id);
    const before = known.get(id);
    for (const item of before === undefined ? [] : asList(mailbox.get('RECORD') ?? [])) {
      const record = asMap(item);
      const guid = String(record.get('GUID'));
      if (sent.has(guid) || !pool.has(guid)) continue;
      const records = asList(before!.get('RECORD'));
      if (records.some((r) => asMap(r).get('UID') === record.get('UID'))) continue;
      records.push(new Map(record).set('MODSEQ', '1').set('FLAGS', []));
    }
  }
  return state;
}

/** All that is sent of a node which is there only because it has folders below it. */
const INTERMEDIATE_FIELDS = new Set([
  'UNIQUEID',
  'MBOXNAME',
  'MBOXTYPE',
  'HIGHESTMODSEQ',
  'CREATEDMODSEQ',
  'FOLDERMODSEQ',
]);

/** Brings the server at `port` to a prior state where it differs from what it has. */
export async function establish(state: PriorState, pool: Map<string, Buffer>, port: number): Promise<void> {
  if (Object.values(state).every((list) => list.length === 0)) return;
  const wire = await (await CsyncWire.connect(port)).login();
  for (const mailbox of state.mailboxes) {
    const name = String(mailbox.get('MBOXNAME'));
    const has = (await wire.ok(`GET MAILBOXES (${writeDlist(name)})`)).lines.map((l) =>
      asMap(readLine(l).value),
    );
    const same = ['UNIQUEID', 'HIGHESTMODSEQ', 'LAST_UID', 'SYNC_CRC', 'SYNC_CRC_ANNOT'];
    if (has.some((m) => same.every((key) => m.get(key) === mailbox.get(key)))) continue;
    const guids = asList(mailbox.get('RECORD')).map((r) => String(asMap(r).get('GUID')));
    if (guids.length > 0) await wire.ok('APPLY MESSAGE (', ...fileList(guids, pool), ')');
    const sorted = asList(mailbox.get('RECORD')).sort(
      (a, b) => Number(asMap(a).get('UID')) - Number(asMap(b).get('UID')),
    );
    const isIntermediate = mailbox.get('PARTITION') === null;
    const fields = isIntermediate
      ? new Map([...mailbox].filter(([key]) => INTERMEDIATE_FIELDS.has(key)))
      : new Map(mailbox).set('RECORD', sorted);
    const text = `APPLY MAILBOX ${writeDlist(fields)}`;
    // Where an earlier session left a later state the server asks once for all of it, which this is.
    if ((await wire.command(text)).kind !== 'OK') await wire.ok(text);
  }
  for (const { userid, entry } of state.seen) {
    await wire.ok(`APPLY SEEN ${writeDlist(new Map([['USERID', userid], ...entry] as [string, Value][]))}`);
  }
  for (const { userid, mboxname } of state.subscriptions) {
    await wire.ok(`APPLY SUB %(USERID ${writeDlist(userid)} MBOXNAME ${writeDlist(mboxname)})`);
  }
  for (const quota of state.quotas) await wire.ok(`APPLY QUOTA ${writeDlist(quota)}`);
  for (const { userid, filename } of state.activeScripts) {
    await wire.ok(`APPLY ACTIVATE_SIEVE %(USERID ${writeDlist(userid)} FILENAME ${writeDlist(filename)})`);
  }
  await wire.ok('EXIT');
  await wire.closed();
}

function fileList(guids: string[], pool: Map<string, Buffer>): (string | Uint8Array)[] {
  return [...new Set(guids)].flatMap((guid, i) => {
    const bytes = pool.get(guid)!;
    return [`${i > 0 ? ' ' : ''}%{default ${guid} ${bytes.length}}\r\n`, bytes];
  });
}
