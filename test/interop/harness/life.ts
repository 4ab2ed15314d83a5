import type { Random } from '../../support/random.ts';
import type { CyrusSite } from './cyrus.ts';
import { pickAct } from './life-act.ts';
import { BY_ADMIN } from './life-admin.ts';
import { BY_USER } from './life-user.ts';
import { seedUser } from './mail.ts';

/** Users of the source and its administrator, who do anything at random: the same for the same seed. */
export class MailLife {
  /** Who is there. */
  users: string[];
  /** What was done, for who has to find out how it came to something. */
  readonly done: string[] = [];
  /**
   * Who has the name of somebody before. The mail server never says that seen states of that one are gone, and those in mailboxes
   * of others stay.
   */
  readonly reborn: Set<string> = new Set();
  readonly #gone = new Set<string>();
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
    if (this.#random.chance(0.1)) await this.#byAdmin();
    else await this.#byUser();
  }

  async #byUser(): Promise<void> {
    const random = this.#random;
    const [name, act] = pickAct(BY_USER, random);
    const user = random.pick(this.users);
    this.done.push(`${name} by ${user}`);
    const imap = await this.#cyrus.imap(user);
    const own = (await imap.folders()).filter((folder) => !/^(?:Shared Folders|Other Users)/.test(folder));
    await act({ ...this.#act(user), imap, own, folder: random.pick(own) });
    await imap.logout();
  }

  async #byAdmin(): Promise<void> {
    const [name, act] = pickAct(BY_ADMIN, this.#random);
    const user = this.#random.pick(this.users);
    this.done.push(`${name} of ${user}`);
    const imap = await this.#cyrus.imap();
    await act({
      ...this.#act(user),
      imap,
      add: (userid) => this.#add(userid),
      goes: (userid, to) => {
        this.users = this.users.flatMap((one) => (one !== userid ? [one] : to === undefined ? [] : [to]));
        this.#gone.add(userid);
        this.#wentAway(userid);
      },
    });
    await imap.logout();
  }

  #act(user: string) {
    const { users, done } = this;
    return { cyrus: this.#cyrus, random: this.#random, user, users, serial: ++this.#serial, done };
  }

  async #add(user: string): Promise<void> {
    await seedUser(this.#cyrus, user, { messages: 3 });
    this.users.push(user);
    if (this.#gone.has(user)) this.reborn.add(user);
  }
}
