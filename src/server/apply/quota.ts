/** Quota roots: each is the name of a mailbox. */
import { byMailbox } from './mailboxes.ts';
import { storedVerb } from './stored-command.ts';

export const quotaVerbs = [
  storedVerb({ verb: 'QUOTA', key: 'ROOT', owner: byMailbox }),
  storedVerb({ verb: 'UNQUOTA', key: '', owner: byMailbox }),
];
