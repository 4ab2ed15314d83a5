/** MAILBOXES, FULLMAILBOX and UNIQUEIDS. */
import { textOf } from '../../csync/dlist.ts';
import { type Answer, badParameters, OK } from '../answer.ts';
import { ownerOfMailbox } from '../owners.ts';
import { field, type GetVerb } from './handler.ts';
import { sendPages } from './pages.ts';

/** Names of several users in one command do come: each is asked for its own, and all answers go together. */
const mailboxes: GetVerb = {
  verb: 'MAILBOXES',
  async run(session, value) {
    if (value.kind !== 'list') return badParameters('The argument is no list');
    const byOwner = new Map<string, string[]>();
    for (const item of value.items) {
      const name = textOf(item) ?? '';
      const owner = ownerOfMailbox(name, session.server.config);
      if (owner === undefined) return badParameters('A mailbox name names no user');
      const names = byOwner.get(owner);
      if (names === undefined) byOwner.set(owner, [name]);
      else names.push(name);
    }
    session.routing.asked([...byOwner.keys()]);
    for (const [userid, mboxnames] of byOwner) {
      const answer: Answer = await sendPages(session, userid, { what: 'MAILBOXES', mboxnames });
      if (answer.code !== 'OK') return answer;
    }
    return OK;
  },
};

const fullMailbox: GetVerb = {
  verb: 'FULLMAILBOX',
  async run(session, value) {
    const mboxname = field(value, '');
    const userid = ownerOfMailbox(mboxname, session.server.config);
    session.routing.asked(userid === undefined ? [] : [userid]);
    if (mboxname === undefined || userid === undefined)
      return badParameters('The argument is no mailbox name');
    return sendPages(session, userid, { what: 'FULLMAILBOX', mboxname });
  },
};

/**
 * Names no user, so nobody's index could be asked; clients take an empty answer as "not there", and ask by
 * name then.
 */
const uniqueIds: GetVerb = { verb: 'UNIQUEIDS', run: async () => OK };

export const mailboxVerbs = [mailboxes, fullMailbox, uniqueIds];
