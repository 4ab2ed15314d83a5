/** USER and META: everything about one user, with its mailboxes or without. */
import { badParameters } from '../answer.ts';
import { validUserid } from '../owners.ts';
import { field, type GetVerb } from './handler.ts';
import { sendPages } from './pages.ts';

function about(what: 'USER' | 'META'): GetVerb {
  return {
    verb: what,
    async run(session, value) {
      const userid = validUserid(field(value, ''));
      session.routing.asked(userid === undefined ? [] : [userid]);
      if (userid === undefined) return badParameters('The argument is no userid');
      return sendPages(session, userid, { what });
    },
  };
}

export const userVerbs = [about('USER'), about('META')];
