/** Every value of the label `verb` of commands_total but `imap probe`, which is none of csync. */
import type { CommandVerbs } from '../metrics/zeros.ts';
import { APPLY_VERBS } from './apply/registry.ts';
import { COMMAND_WORDS } from './commands/registry.ts';
import { GET_VERBS } from './get/registry.ts';

export const ANSWERED_VERBS: CommandVerbs = {
  stored: [...APPLY_VERBS.map((verb) => `APPLY ${verb}`), ...GET_VERBS.map((verb) => `GET ${verb}`)],
  others: [...COMMAND_WORDS, 'APPLY', 'GET', 'unknown'],
};
