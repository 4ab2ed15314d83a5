import type { Tagged } from '../../imap/client.ts';
import type { StoredRecord } from '../source.ts';
import type { AppendContext } from './append.ts';
import { fetchEach, selectMailbox, unselect } from './mailbox.ts';

const FIRST_CAPACITY = 1024;

/**
 * What the server said that it has taken in (APPENDUID, RFC 4315), to be compared with what it then shows. 32 bytes a
 * message.
 */
export class AppendedMessages {
  readonly #o: AppendContext;
  #count = 0;
  #uids = new Uint32Array(FIRST_CAPACITY);
  #sizes = new Float64Array(FIRST_CAPACITY);
  #guids = Buffer.alloc(FIRST_CAPACITY * 20);
  #isKnown = true;

  constructor(context: AppendContext) {
    this.#o = context;
  }

  add(records: readonly StoredRecord[], answer: Tagged): void {
    const uids = answer.code === 'APPENDUID' ? expandUids(answer.codeArguments.split(' ')[1] ?? '') : [];
    if (uids.length !== records.length) {
      this.#isKnown = false;
      return;
    }
    for (const [i, { guid, size }] of records.entries()) {
      if (this.#count === this.#uids.length) this.#grow();
      this.#uids[this.#count] = uids[i]!;
      this.#sizes[this.#count] = this.#o.source.findMessage(guid)?.size ?? size ?? 0;
      this.#guids.write(guid, this.#count * 20, 20, 'hex');
      this.#count++;
    }
  }

  /** Reads back what the server says of each: its SHA-1 where it tells that, else its size. */
  async verify(): Promise<void> {
    if (this.#count === 0 || !this.#isKnown) return;
    const { client, name, report } = this.#o;
    const { selected } = await selectMailbox(client, name);
    if (selected === undefined) return;
    const hasDigest = client.has('DIGEST=SHA1');
    const order = Uint32Array.from({ length: this.#count }, (_, i) => i).sort(
      (a, b) => this.#uids[a]! - this.#uids[b]!,
    );
    let [at, changed, seen] = [0, 0, 0];
    const range = `${this.#uids[order[0]!]}:${this.#uids[order.at(-1)!]}`;
    await fetchEach(client, range, `UID ${hasDigest ? 'DIGEST.SHA1' : 'RFC822.SIZE'}`, (fields) => {
      const uid = Number(fields.get('UID'));
      while (at < order.length && this.#uids[order[at]!]! < uid) at++;
      if (at === order.length || this.#uids[order[at]!] !== uid) return;
      const place = order[at++]!;
      seen++;
      const isSame = hasDigest
        ? fields.get('DIGEST.SHA1') === this.#guids.toString('hex', place * 20, place * 20 + 20)
        : Number(fields.get('RFC822.SIZE')) === this.#sizes[place];
      if (!isSame) changed++;
    });
    await unselect(client);
    if (changed > 0) {
      const how = hasDigest ? 'other bytes' : 'another size';
      report.remark(
        `${name}: the server keeps ${changed} of ${this.#count} messages with ${how} than it was sent`,
      );
    }
    // Others may expunge there at the same time; but whoever restores should know.
    if (seen < this.#count) {
      const reason = `the server took them, but does not show them any more; running the same again adds what is missing`;
      const what = `${this.#count - seen} of ${this.#count} messages of ${name}`;
      report.shortfall({ kind: 'refused', what, mailbox: this.#o.mailbox, reason });
    }
  }

  #grow(): void {
    const capacity = this.#uids.length * 2;
    const [uids, sizes, guids] = [
      new Uint32Array(capacity),
      new Float64Array(capacity),
      Buffer.alloc(capacity * 20),
    ];
    uids.set(this.#uids);
    sizes.set(this.#sizes);
    guids.set(this.#guids);
    [this.#uids, this.#sizes, this.#guids] = [uids, sizes, guids];
  }
}

/** `3,5:7` in the order in which it is written. */
export function expandUids(set: string): number[] {
  if (!/^\d+(?::\d+)?(?:,\d+(?::\d+)?)*$/.test(set)) return [];
  const uids: number[] = [];
  for (const part of set.split(',')) {
    const [first = 0, last = first] = part.split(':').map(Number);
    const [low, high] = first <= last ? [first, last] : [last, first];
    if (high - low > 100_000) return [];
    for (let uid = low; uid <= high; uid++) uids.push(uid);
  }
  return uids;
}
