/** MAILBOX, UNMAILBOX and EXPUNGE. */
import { ownerOfMailbox } from '../owners.ts';
import { type OwnerRule, storedVerb } from './stored-command.ts';
import { unmailboxVerb } from './unmailbox.ts';

export const byMailbox: OwnerRule = (session, name) => ownerOfMailbox(name, session.server.config);

export const mailboxVerbs = [
  storedVerb({ verb: 'MAILBOX', key: 'MBOXNAME', owner: byMailbox }),
  unmailboxVerb,
  storedVerb({ verb: 'EXPUNGE', key: 'MBOXNAME', owner: byMailbox }),
];
