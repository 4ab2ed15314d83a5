/** The backups of who had a userid before, beside the one of who has it now: see former-users.ts for when that happens. */
import { printString } from '../csync/encoder.ts';
import type { PieceRequest, ReadRequest, ShardReply } from '../pipeline/messages.ts';
import type { Backup } from './backup.ts';
import { formerKey, isNewPerson, mailboxOfFormerUser, queryOfFormerUser } from './former-users.ts';
import { mailboxByName } from './index/queries.ts';
import { appendStagedMessages, exportPending, type SpoolFile } from './line-text.ts';
import { writeNote } from './notes.ts';
import { peekFields } from './peek-fields.ts';
import { answerPages } from './read-pages.ts';
import type { StoreEnvironment } from './store-environment.ts';

/** What the shard does for it. */
export interface ShardBackups {
  /** The backup, locked for the session; undefined if there is none; a reply if it cannot be had now. */
  lock(
    request: { session: number; userid: string },
    create: boolean,
  ): Promise<Backup | ShardReply | undefined>;
  /** Closes it, as it is about to have another name. */
  forget(backup: Backup): void;
  newSpool(session: number, kind: string): SpoolFile;
  /** See LeftOut. */
  toldOf(backup: Backup): ReadonlySet<string>;
}

export class FormerOwners {
  readonly #env: StoreEnvironment;
  readonly #backups: ShardBackups;

  constructor(env: StoreEnvironment, backups: ShardBackups) {
    this.#env = env;
    this.#backups = backups;
  }

  /** Backups of who had the userid before the owner of this one, each locked for the session, or why one cannot be. */
  async *of(own: Backup, session: number): AsyncGenerator<Backup | ShardReply> {
    for (const userid of own.index.formerKeys()) {
      const former = await this.#backups.lock({ session, userid }, false);
      if (former !== undefined) yield former;
    }
  }

  /**
   * Where a command goes.
   *
   * @param firstText its first piece, in which the fields are that tell
   */
  async choose(
    own: Backup,
    { verb, session }: PieceRequest,
    firstText: () => Uint8Array,
  ): Promise<Backup | ShardReply> {
    if (own.index.formerKeys().length === 0 && own.index.unuserAt() === undefined) return own;
    const fields = peekFields(firstText());
    if (isNewPerson(own, verb, fields, this.#env)) return await this.#putAside(own, session);
    const name = mailboxOfFormerUser(own, verb, fields, this.#env);
    if (name === undefined) return own;
    for await (const former of this.of(own, session)) {
      if ('code' in former || mailboxByName(former.index, name) !== undefined) return former;
    }
    return own;
  }

  /** The backup of a user who is gone makes room for somebody new of the same name. */
  async #putAside(own: Backup, session: number): Promise<Backup | ShardReply> {
    const { userid } = own;
    let unuserAt = own.index.unuserAt()!;
    while (this.#env.catalog.get(formerKey(userid, unuserAt)) !== undefined) unuserAt++;
    const key = formerKey(userid, unuserAt);
    const spool = this.#backups.newSpool(session, 'messages');
    const pending = own.chunk === undefined ? [] : exportPending(own.chunk, spool);
    spool.close();
    own.chunk?.rollbackToCommitted();
    await own.release();
    this.#backups.forget(own);
    this.#env.catalog.rename(userid, key);
    this.#env.log.info(
      { userid, key },
      'the userid has a new owner; the backup of the former one is put aside',
    );
    const fresh = await this.#backups.lock({ session, userid }, true);
    if (fresh === undefined) throw new Error(`the backup of ${userid} that was to be made is not there`);
    if ('code' in fresh) return fresh;
    const chunk = fresh.ensureChunk();
    writeNote(chunk, 'FORMER', { bytes: Buffer.from(`%(KEY ${printString(key)})`, 'latin1') });
    fresh.index.addFormerKey(key);
    await fresh.commit();
    appendStagedMessages(chunk, pending);
    return fresh;
  }

  /** The pages of an answer, followed by what the backups of former owners have for it. */
  async answer(
    own: Backup,
    { query, session, mayAsk }: ReadRequest,
  ): Promise<Iterator<Uint8Array> | ShardReply> {
    const told = (backup: Backup): (() => ReadonlySet<string>) | undefined =>
      mayAsk && query.what === 'USER' ? () => this.#backups.toldOf(backup) : undefined;
    const pages = answerPages(own, query, told(own));
    if (own.index.formerKeys().length === 0) return pages;
    const all: Iterator<Uint8Array>[] = 'code' in pages ? [] : [pages];
    for await (const former of this.of(own, session)) {
      if ('code' in former) return former;
      const rest = queryOfFormerUser(query, former, this.#env);
      const more = rest === undefined ? undefined : answerPages(former, rest, told(former));
      if (more !== undefined && !('code' in more)) all.push(more);
    }
    return all.length === 0 ? pages : inTurn(all);
  }
}

function* inTurn(iterators: readonly Iterator<Uint8Array>[]): Generator<Uint8Array, void> {
  for (const iterator of iterators) {
    for (let next = iterator.next(); !next.done; next = iterator.next()) yield next.value;
  }
}
