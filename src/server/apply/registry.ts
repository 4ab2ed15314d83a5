/** Every APPLY command by its name. */
import { annotationVerbs } from './annotation.ts';
import { sessionVerbs } from './capabilities.ts';
import type { ApplyVerb } from './handler.ts';
import { mailboxVerbs } from './mailboxes.ts';
import { messageVerb } from './message.ts';
import { quotaVerbs } from './quota.ts';
import { renameVerb } from './rename.ts';
import { reserveVerb } from './reserve.ts';
import { sieveVerbs } from './sieve.ts';
import { userVerbs } from './users.ts';

const verbs: readonly ApplyVerb[] = [
  messageVerb,
  reserveVerb,
  renameVerb,
  ...mailboxVerbs,
  ...userVerbs,
  ...sieveVerbs,
  ...quotaVerbs,
  ...annotationVerbs,
  ...sessionVerbs,
];

const byName = new Map(verbs.map((verb) => [verb.verb, verb]));

/** Their names. */
export const APPLY_VERBS: readonly string[] = [...byName.keys()];

/** The command of this name, upper-case; `LOCAL_` in front of it means nothing here. */
export function findApplyVerb(name: string): ApplyVerb | undefined {
  return byName.get(name.replace(/^LOCAL_/, ''));
}
