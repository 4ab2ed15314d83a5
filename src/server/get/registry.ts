/** Every GET command by its name. */
import { detailVerbs } from './details.ts';
import type { GetVerb } from './handler.ts';
import { mailboxVerbs } from './mailboxes.ts';
import { userVerbs } from './user.ts';

const verbs: readonly GetVerb[] = [...userVerbs, ...mailboxVerbs, ...detailVerbs];
const byName = new Map(verbs.map((verb) => [verb.verb, verb]));

/** Their names. */
export const GET_VERBS: readonly string[] = [...byName.keys()];

/** The command of this name, upper-case. */
export function findGetVerb(name: string): GetVerb | undefined {
  return byName.get(name);
}
