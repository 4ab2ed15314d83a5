import { mailboxValue, messageValue } from '../store/support/store-rig.ts';
import type { CsyncWire } from './wire.ts';

/** As sync_client does it: the messages, then the INBOX of `user` that holds these and no others, by UID from 1 on. */
export async function pushInbox(wire: CsyncWire, user: string, contents: readonly string[]): Promise<void> {
  await wire.ok(`GET USER ${user}`);
  await wire.ok(`APPLY MESSAGE ${messageValue(contents).value}`);
  await wire.ok(`APPLY MAILBOX ${mailboxValue(`user.${user}`, contents)}`);
}
