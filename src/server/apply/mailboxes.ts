/** MAILBOX, UNMAILBOX and EXPUNGE. */
import { ownerOfMailbox } from '../owners.ts';
import { type OwnerRule, storedVerb } from './stored-command.ts';

export const byMailbox: OwnerRule = (session, name) => ownerOfMailbox(name, session.server.config);

export const mailboxVerbs = [
  storedVerb({ verb: 'MAILBOX', key: 'MBOXNAME', owner: byMailbox }),
  storedVerb({ verb: 'UNMAILBOX', key: '', owner: byMailbox }),
  storedVerb({ verb: 'EXPUNGE', key: 'MBOXNAME', owner: byMailbox }),
];
