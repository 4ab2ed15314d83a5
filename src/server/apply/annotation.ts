/** Annotations of mailboxes, and of the server, which have an empty mailbox name. */
import { SHARED_USERID } from '../../pipeline/messages.ts';
import { byMailbox } from './mailboxes.ts';
import { type OwnerRule, storedVerb } from './stored-command.ts';

export const byAnnotated: OwnerRule = (session, name) =>
  name === '' || name === null ? SHARED_USERID : byMailbox(session, name);

export const annotationVerbs = [
  storedVerb({ verb: 'ANNOTATION', key: 'MBOXNAME', owner: byAnnotated }),
  storedVerb({ verb: 'UNANNOTATION', key: 'MBOXNAME', owner: byAnnotated }),
];
