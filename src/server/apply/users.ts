/** Subscriptions, seen state and the end of a user. */
import { validUserid } from '../owners.ts';
import { type OwnerRule, storedVerb } from './stored-command.ts';

export const byUserid: OwnerRule = (_session, userid) => validUserid(userid);

export const userVerbs = [
  storedVerb({ verb: 'SUB', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'UNSUB', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'SEEN', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'UNUSER', key: '', owner: byUserid }),
];
