import type { Random } from '../../support/random.ts';
import type { CyrusSite } from './cyrus.ts';
import type { ImapClient } from './imap.ts';

/** What whoever acts in a life can reach. */
export interface Act {
  readonly cyrus: CyrusSite;
  readonly random: Random;
  readonly user: string;
  /** Who is there. */
  readonly users: readonly string[];
  /** Of the user, or of the administrator. */
  readonly imap: ImapClient;
  /** Another number at each act. */
  readonly serial: number;
  /** What was done, for who has to find out how it came to something. */
  readonly done: string[];
}

/** An act of a user. */
export interface UserAct extends Act {
  /** The user's own folders, and one of them. */
  readonly own: readonly string[];
  readonly folder: string;
}

/** An act of the administrator, who makes users and has them go. */
export interface AdminAct extends Act {
  add(user: string): Promise<void>;
  /** @param to another name of the user */
  goes(user: string, to?: string): void;
}

/** What one does, and how often. */
export type Acts<A> = Record<string, readonly [weight: number, act: (act: A) => Promise<void>]>;

export function pickAct<A>(acts: Acts<A>, random: Random): [name: string, act: (act: A) => Promise<void>] {
  const name = pickChance(
    Object.fromEntries(Object.entries(acts).map(([one, [weight]]) => [one, weight])),
    random,
  );
  return [name, acts[name]![1]];
}

/** One of the keys, as often as its weight says. */
export function pickChance<K extends string>(weights: Record<K, number>, random: Random): K {
  const all = Object.entries(weights) as [K, number][];
  let left = random.next() * all.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [name, weight] of all) {
    left -= weight;
    if (left < 0) return name;
  }
  throw new Error('nothing to choose from');
}

/** A folder with children may not go, one that is there may not come again. */
export async function tolerant({ imap, done }: Act, ...command: (string | Buffer)[]): Promise<boolean> {
  done.push(
    command
      .map((part) => (typeof part === 'string' ? part : `{${part.length}}`))
      .join('')
      .slice(0, 200),
  );
  try {
    await imap.command(...command);
    return true;
  } catch (error) {
    if (!/ (?:NO|BAD) /.test(String(error))) throw error;
    done.push(`  ${String(error).trim().slice(-80)}`);
    return false;
  }
}

/** Selects the folder; undefined if it is empty, or may not be read. */
export async function someUids(act: Act, folder: string): Promise<string | undefined> {
  const { imap, random } = act;
  if (!(await tolerant(act, `SELECT "${folder}"`))) return undefined;
  const uids = (await imap.command('UID SEARCH ALL'))
    .map(String)
    .find((line) => line.startsWith('* SEARCH'))!
    .trim()
    .split(' ')
    .slice(2);
  if (uids.length === 0) return undefined;
  if (random.chance(0.1)) return '1:*';
  return Array.from({ length: random.int(1, 4) }, () => random.pick(uids)).join(',');
}

/** One of Cyrus's programs over the source; throws unless it succeeds. */
export async function sourceTool({ cyrus, done }: Act, program: string, ...args: string[]): Promise<void> {
  done.push(`${program} ${args.join(' ')}`);
  const { status, signal, stderr } = await cyrus.tool(program, cyrus.conf('source'), args);
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: status ${status} ${signal}\n${stderr}`);
}
