import { SeededRandom } from '../../src/cli/generated-mail.ts';
import type { GeneratedMailbox } from '../../src/cli/generated-user.ts';
import { syncCrcs } from '../../src/restore/csync-crc.ts';
import type { Job, JobResult } from './jobs.ts';
import { summarise } from './latency.ts';
import { Player, type PlayFigures, pack, type Target } from './player.ts';
import { playRolling } from './rolling.ts';
import { command, mailboxStep, messageSteps, RESTART, type Step, smallUpdate } from './session.ts';
import { Workload } from './workload.ts';

const SEED = 2_024;
/** Mail of `grow` is made and pushed in pieces of this size. */
const GROW_STEP_BYTES = 48 << 20;
const UPDATE_BYTES = 4096;
const LOGIN_VERBS = new Set(['STARTTLS', 'AUTHENTICATE', 'COMPRESS']);

/** Carries jobs out, one at a time, and remembers what each target holds by now. */
export class JobRunner {
  /** Prepared first pushes by their job's size, played against every target. */
  readonly #prepared = new Map<string, Step[][]>();
  readonly #targets = new Map<string, { workload: Workload; inboxes: Map<string, GeneratedMailbox> }>();

  async run(job: Job): Promise<JobResult> {
    switch (job.kind) {
      case 'first-push':
        return await playAll(
          job.target,
          divide(this.#firstPush(job.users, job.messages, job.from ?? 0), job.connections),
        );
      case 'rounds': {
        const { steps } = new Workload(SEED).userInRounds(job.userid, job.messages, job.rounds);
        return await playAll(job.target, [steps]);
      }
      case 'grow':
        return await this.#grow(job.target, job.userid, job.bytes, job.messageBytes);
      case 'small-updates':
        return await this.#smallUpdates(job.target, job.userid, job.count);
      case 'small-users':
        return await playAll(job.target, [this.#smallUsers(job.target, job.users)]);
      case 'turns':
        return await playAll(job.target, divide(this.#turns(job.target, job.users), job.connections));
      case 'fill-users':
        return await playAll(job.target, divide(this.#fillUsers(job), job.connections));
      case 'random-updates':
        return await this.#randomUpdates(job.target, job.count);
      case 'rolling': {
        const { players, begin, lateMs } = await playRolling(job, (n) => {
          const { workload, inboxes } = this.#target(job.target);
          return smallUpdate(inboxes.get(smallUserid(n))!, workload.mail.text(UPDATE_BYTES));
        });
        return { ...finish(players, begin), late: summarise(lateMs) };
      }
      case 'crowd':
        return await playAll(job.target, this.#crowd(job.connections, job.bytesPerUser));
    }
  }

  /** One list of steps for each user. */
  #firstPush(users: number, messages: number, from: number): Step[][] {
    // Others have other mail.
    return this.#prepare(
      `first-push ${users} ${messages} ${from}`,
      (workload) =>
        Array.from(
          { length: users },
          (_, n) => workload.user(`push${from + n}`, Math.round(messages / users)).steps,
        ),
      SEED + from,
    );
  }

  #crowd(connections: number, bytesPerUser: number): Step[][] {
    return this.#prepare(`crowd ${connections} ${bytesPerUser}`, (workload) =>
      Array.from({ length: connections }, (_, n) => workload.userOfSize(`crowd${n}`, bytesPerUser).steps),
    );
  }

  /** Keeps the last workload only: the largest are half a gigabyte. */
  #prepare(key: string, make: (workload: Workload) => Step[][], seed = SEED): Step[][] {
    const known = this.#prepared.get(key);
    if (known !== undefined) return known;
    this.#prepared.clear();
    const made = make(new Workload(seed));
    this.#prepared.set(key, made);
    return made;
  }

  async #grow(target: Target, userid: string, bytes: number, messageBytes?: number): Promise<JobResult> {
    const { workload, inboxes } = this.#target(target);
    const players: Player[] = [await Player.connect(target)];
    const begin = performance.now();
    for (let left = bytes; left > 0; left -= GROW_STEP_BYTES) {
      const size = Math.min(left, GROW_STEP_BYTES);
      const inbox = inboxes.get(userid);
      if (inbox === undefined) {
        const user = workload.userOfSize(userid, size, messageBytes);
        inboxes.set(userid, user.mailboxes[0]!);
        await players[0]!.play(user.steps);
        continue;
      }
      const since = { ...syncCrcs(inbox.records), modseq: inbox.highestmodseq };
      const messages = workload.mailOfSize(size, messageBytes);
      const records = messages.map((message) => inbox.append(message));
      const get = command('GET MAILBOXES', `GET MAILBOXES (${inbox.mboxname})`, 1);
      await players[0]!.play([get, ...messageSteps(messages), mailboxStep(inbox, records, since), RESTART]);
    }
    return finish(players, begin);
  }

  #fillUsers({ target, from, to, keepEvery }: Extract<Job, { kind: 'fill-users' }>): Step[][] {
    const { workload, inboxes } = this.#target(target);
    return Array.from({ length: to - from }, (_, at) => {
      const user = workload.smallUser(smallUserid(from + at));
      if ((from + at) % keepEvery === 0) inboxes.set(smallUserid(from + at), user.mailboxes[0]!);
      return user.steps;
    });
  }

  async #randomUpdates(target: Target, count: number): Promise<JobResult> {
    const { workload, inboxes } = this.#target(target);
    const random = new SeededRandom(count);
    const all = [...inboxes.values()];
    const updates = Array.from({ length: count }, () =>
      smallUpdate(random.pick(all), workload.mail.text(UPDATE_BYTES)),
    );
    return await playOneByOne(target, updates);
  }

  async #smallUpdates(target: Target, userid: string, count: number): Promise<JobResult> {
    const { workload, inboxes } = this.#target(target);
    const updates = Array.from({ length: count }, () =>
      smallUpdate(inboxes.get(userid)!, workload.mail.text(UPDATE_BYTES)),
    );
    return await playOneByOne(target, updates);
  }

  #smallUsers(target: Target, users: number): Step[] {
    const { workload, inboxes } = this.#target(target);
    return Array.from({ length: users }, (_, n) => {
      const user = workload.smallUser(smallUserid(n));
      inboxes.set(smallUserid(n), user.mailboxes[0]!);
      return user.steps;
    }).flat();
  }

  #turns(target: Target, users: number): Step[][] {
    const { workload, inboxes } = this.#target(target);
    return Array.from({ length: users }, (_, n) =>
      smallUpdate(inboxes.get(smallUserid(n))!, workload.mail.text(UPDATE_BYTES)),
    );
  }

  /** Each target gets the same mail, from a generator of its own. */
  #target({ store }: Target): { workload: Workload; inboxes: Map<string, GeneratedMailbox> } {
    const known = this.#targets.get(store);
    if (known !== undefined) return known;
    const made = { workload: new Workload(SEED), inboxes: new Map<string, GeneratedMailbox>() };
    this.#targets.set(store, made);
    return made;
  }
}

function smallUserid(n: number): string {
  return `small${n}`;
}

/** Deals users out to connections, in turn. */
function divide(users: readonly Step[][], connections: number): Step[][] {
  const hands: Step[][] = Array.from({ length: connections }, () => []);
  for (const [n, steps] of users.entries()) hands[n % connections]!.push(...steps);
  return hands;
}

/** A connection for each, from connect to the last reply. */
async function playOneByOne(target: Target, updates: readonly Step[][]): Promise<JobResult> {
  const players: Player[] = [];
  const samplesMs: number[] = [];
  const begin = performance.now();
  for (const steps of updates) {
    const before = performance.now();
    const player = await Player.connect(target);
    await player.play(steps);
    samplesMs.push(performance.now() - before);
    player.close();
    players.push(player);
  }
  return { ...finish(players, begin), samplesMs };
}

/** Logs in all connections, then plays all of them at once. */
async function playAll(target: Target, sessions: readonly Step[][]): Promise<JobResult> {
  if (target.compress) for (const steps of sessions) pack(steps);
  const players = await Promise.all(sessions.map(() => Player.connect(target)));
  const begin = performance.now();
  const cpuBefore = process.cpuUsage();
  try {
    await Promise.all(players.map((player, n) => player.play(sessions[n]!)));
  } catch (error) {
    for (const player of players) player.close();
    throw error;
  }
  const { user, system } = process.cpuUsage(cpuBefore);
  return { ...finish(players, begin), cpuSeconds: (user + system) / 1e6 };
}

function finish(players: readonly Player[], begin: number): JobResult {
  const elapsedMs = performance.now() - begin;
  const latenciesMs: PlayFigures['latenciesMs'] = {};
  let bytes = 0;
  let messages = 0;
  for (const { figures } of players) {
    bytes += figures.bytes;
    messages += figures.messages;
    for (const [verb, values] of Object.entries(figures.latenciesMs))
      (latenciesMs[verb] ??= []).push(...values);
  }
  for (const player of players) player.close();
  const latencies = Object.fromEntries(
    Object.entries(latenciesMs).map(([verb, values]) => [verb, summarise(values)]),
  );
  const commands = Object.entries(latenciesMs).filter(([verb]) => !LOGIN_VERBS.has(verb));
  const acks = summarise(commands.flatMap(([, values]) => values));
  return { elapsedMs, bytes, messages, latencies, acks };
}
