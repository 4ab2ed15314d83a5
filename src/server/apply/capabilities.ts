/** Commands about the session itself: none of them is stored. */
import { OK } from '../answer.ts';
import type { ApplyVerb } from './handler.ts';

/** CAPABILITIES (c...): sent where the greeting offers some. Ours offers none, so none is enabled. */
const capabilities: ApplyVerb = {
  verb: 'CAPABILITIES',
  begin: (session) => ({
    async finish() {
      session.transport.write('* ENABLED ()\r\n');
      return OK;
    },
  }),
};

/** FORCE: overwrite what differs. A backup always takes what the client sends. */
const force: ApplyVerb = { verb: 'FORCE', begin: () => ({ finish: async () => OK }) };

export const sessionVerbs = [capabilities, force];
