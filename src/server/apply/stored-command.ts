/** An APPLY command that goes into the backup of the user whom its fields name. */
import type { ShardReply, StagedMessage, StoredVerb, SupplyRequest } from '../../pipeline/messages.ts';
import { shardOf } from '../../pipeline/shard-pools.ts';
import { type Answer, protocolError } from '../answer.ts';
import type { CommandText } from '../command-text.ts';
import type { Session } from '../session.ts';
import type { ApplyHandler, ApplyVerb } from './handler.ts';
import { BackupSink } from './sinks.ts';
import { findListed, listStaged } from './staging-list.ts';

/** Userid by one field of the command; undefined if the value names nobody. */
export type OwnerRule = (session: Session, value: string | null) => string | undefined;

export interface StoredVerbRule {
  verb: StoredVerb;
  /** Name of the field that says whose it is, '' for the bare argument. */
  key: string;
  owner: OwnerRule;
}

export function storedVerb(rule: StoredVerbRule): ApplyVerb {
  return { verb: rule.verb, begin: (session) => new StoredCommand(session, rule) };
}

export class StoredCommand implements ApplyHandler {
  readonly text: CommandText;
  readonly #session: Session;
  readonly #rule: StoredVerbRule;
  #owner: string | undefined;
  #namesNobody = false;
  #sink: BackupSink | undefined;

  constructor(session: Session, rule: StoredVerbRule) {
    this.#session = session;
    this.#rule = rule;
    this.text = session.newText();
    this.text.onNeedSink = () => this.#sinkOfOwner();
  }

  field(key: string, value: string | null): void {
    if (key !== this.#rule.key || this.#owner !== undefined || this.#namesNobody) return;
    this.#owner = this.#rule.owner(this.#session, value);
    this.#namesNobody = this.#owner === undefined;
  }

  async finish(): Promise<Answer> {
    const sink = this.#sinkOfOwner();
    if (sink === undefined) {
      const what = this.#rule.key === '' ? 'name' : this.#rule.key;
      this.text.fail(
        'IMAP_PROTOCOL_ERROR',
        this.#namesNobody ? `The ${what} names no user` : `${what} is missing`,
      );
    }
    const reply = await this.text.finish();
    return sink === undefined ? protocolError(reply.text) : finishStored(this.#session, sink, reply);
  }

  #sinkOfOwner(): BackupSink | undefined {
    if (this.#owner === undefined) return undefined;
    if (this.#sink === undefined) {
      this.#sink = new BackupSink(this.#session, this.#owner, this.#rule.verb);
      this.text.sink = this.#sink;
    }
    return this.#sink;
  }
}

/** Brings a stored command to its answer: supplies what the backup asks for, remembers what it gives back. */
export async function finishStored(session: Session, sink: BackupSink, first: ShardReply): Promise<Answer> {
  const { routing } = session;
  let reply = first;
  // Of many the store asks for some at a time, as long as it gets some.
  for (let hasFound = true; reply.code === 'NEED' && hasFound; ) {
    const wanted = reply.guids ?? [];
    const found = await findMessages(session, sink.userid, wanted);
    // To take the MAILBOX without them, when it comes again, would be to lose what the client has sent.
    if (found.staged.length < wanted.length && routing.staged.isIncomplete) {
      await sink.abort();
      return { code: 'IMAP_MAILBOX_LOCKED', text: FORGOTTEN };
    }
    hasFound = found.staged.length > 0;
    reply = await sink.supply({ ...found, unsent: routing.unsent });
  }
  // Messages that lay in this user's file and are somebody else's.
  for (const message of reply.staged ?? []) routing.staged.add(message);
  await listStaged(session);
  session.backups.setPending(sink.userid, false);
  routing.unsent = 0;
  if (reply.code === 'NEED') {
    return { code: 'IMAP_MAILBOX_LOCKED', text: 'The store asked twice for the same messages' };
  }
  return { code: reply.code, text: reply.text };
}

const FORGOTTEN = 'Too little room to note where new messages of several users lie; try again';

/** Messages of this session that lie in its staging files or in a backup that one of its users has, or had. */
async function findMessages(
  session: Session,
  userid: string,
  guids: readonly string[],
): Promise<Pick<SupplyRequest, 'staged' | 'lost'>> {
  const found: StagedMessage[] = [];
  const missing = new Set<string>();
  const elsewhere = new Map<string, string[]>();
  for (const guid of guids) {
    const staged = session.routing.staged.get(guid);
    if (staged === undefined) missing.add(guid);
    else found.push(staged);
  }
  for (const message of await findListed(session, missing)) {
    found.push(message);
    missing.delete(message.guid);
  }
  for (const guid of missing) {
    const holder = session.routing.holderOf(guid);
    if (holder === undefined) continue;
    const list = elsewhere.get(holder);
    if (list === undefined) elsewhere.set(holder, [guid]);
    else list.push(guid);
  }
  // Making room for another backup must not give up this one, in the middle of its command.
  session.backups.setPending(userid, true);
  const exportFrom = async (holder: string, wanted: readonly string[]): Promise<void> => {
    const path = session.routing.stagingFile(shardOf(holder, session.server.shards.count));
    const reply = await session.backups.ask({
      op: 'export',
      session: session.id,
      userid: holder,
      guids: [...wanted],
      path,
    });
    for (const message of reply.staged ?? []) {
      found.push(message);
      missing.delete(message.guid);
    }
    await session.backups.touch(userid);
  };
  for (const [holder, wanted] of elsewhere) await exportFrom(holder, wanted);
  // What is known of holders is limited. The user's own may be that of who had the userid before.
  for (const other of session.backups.users) {
    if (missing.size > 0) await exportFrom(other, [...missing]);
  }
  session.server.metrics.supplied.inc(found.length);
  const lost = [...missing].filter((guid) => session.routing.holderOf(guid) !== undefined);
  return { staged: found, lost };
}
