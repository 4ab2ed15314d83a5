/** Sieve scripts and which of them is active. */
import { storedVerb } from './stored-command.ts';
import { byUserid } from './users.ts';

export const sieveVerbs = [
  storedVerb({ verb: 'SIEVE', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'UNSIEVE', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'ACTIVATE_SIEVE', key: 'USERID', owner: byUserid }),
  storedVerb({ verb: 'UNACTIVATE_SIEVE', key: 'USERID', owner: byUserid }),
];
