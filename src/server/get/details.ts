/** Single things of a user: quota, annotations, a script, a message. Restoring clients ask for them. */
import { SHARED_USERID } from '../../pipeline/messages.ts';
import { badParameters } from '../answer.ts';
import { ownerOfMailbox, validUserid } from '../owners.ts';
import { field, type GetVerb } from './handler.ts';
import { sendPages } from './pages.ts';

const quota: GetVerb = {
  verb: 'QUOTA',
  async run(session, value) {
    const root = field(value, '');
    const userid = ownerOfMailbox(root, session.server.config);
    if (root === undefined || userid === undefined) return badParameters('The argument is no quota root');
    return sendPages(session, userid, { what: 'QUOTA', root });
  },
};

/** An empty name asks for the server's own annotations. */
const annotation: GetVerb = {
  verb: 'ANNOTATION',
  async run(session, value) {
    const mboxname = field(value, '') ?? (value.kind === 'nil' ? '' : undefined);
    const userid = mboxname === '' ? SHARED_USERID : ownerOfMailbox(mboxname, session.server.config);
    if (mboxname === undefined || userid === undefined)
      return badParameters('The argument is no mailbox name');
    return sendPages(session, userid, { what: 'ANNOTATION', mboxname });
  },
};

const script: GetVerb = {
  verb: 'FETCH_SIEVE',
  async run(session, value) {
    const userid = validUserid(field(value, 'USERID'));
    const filename = field(value, 'FILENAME');
    if (userid === undefined || filename === undefined) return badParameters('USERID or FILENAME is missing');
    return sendPages(session, userid, { what: 'SIEVE', filename });
  },
};

const message: GetVerb = {
  verb: 'FETCH',
  async run(session, value) {
    const [mboxname, uniqueid, guid, uid] = ['MBOXNAME', 'UNIQUEID', 'GUID', 'UID'].map((key) =>
      field(value, key),
    );
    const userid = ownerOfMailbox(mboxname, session.server.config);
    if (userid === undefined || mboxname === undefined || guid === undefined || !/^[0-9a-f]{40}$/i.test(guid))
      return badParameters('MBOXNAME or GUID is missing');
    return sendPages(session, userid, {
      what: 'MESSAGE',
      mboxname,
      uniqueid: uniqueid ?? '',
      guid: guid.toLowerCase(),
      uid: uid ?? '',
    });
  },
};

export const detailVerbs = [quota, annotation, script, message];
