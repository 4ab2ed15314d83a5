/** The moment before something was changed for the last time. */
import { BackupError } from '../platform/errors.ts';
import type { Moment } from '../store/past-index.ts';
import { type HistoryOptions, readHistory } from './history.ts';
import type { HistoryChange, HistoryEvent } from './history-event.ts';
import { MailboxFilter, unknownMailbox } from './mailbox-filter.ts';
import { isoSeconds } from './moments.ts';

const GUID = /^[0-9a-f]{40}$/i;
const PLACE = /^(.+):(\d{1,10})$/;

/**
 * What was so before the line that changed it last, up to `options.moment`. That line may have changed more.
 *
 * @param object the GUID of a message, a message in a mailbox as `UNIQUEID:UID`, or a mailbox by its name or unique id;
 *   one character a byte
 * @throws BackupError NOT_FOUND if nothing has changed it in the history that is kept
 */
export async function beforeLastChange(
  dataPath: string,
  options: HistoryOptions,
  object: string,
): Promise<{ moment: Moment; change: HistoryEvent }> {
  const place = PLACE.exec(object);
  const isMessage = GUID.test(object) || place !== null;
  const filter = isMessage ? undefined : await MailboxFilter.open(object, dataPath, options.rules);
  const guid = object.toLowerCase();
  const matches = (change: HistoryChange): boolean => {
    if (change.kind !== 'mailbox' && change.kind !== 'message') return false;
    if (filter !== undefined) return filter.takes(change);
    if (change.kind !== 'message') return false;
    return change.guid === guid || (change.uniqueid === place?.[1] && change.uid === Number(place[2]));
  };
  let last: HistoryEvent | undefined;
  const { since } = await readHistory(dataPath, options, (event) => {
    if (matches(event)) last = event;
  });
  if (last !== undefined) {
    return { moment: { kind: 'before', place: last.place, time: last.time }, change: last };
  }
  if (filter?.isKnown === false) throw unknownMailbox(object, dataPath);
  throw new BackupError({
    code: 'NOT_FOUND',
    tried: 'find a change of',
    subject: object,
    reason: `nothing has changed it in the history that ${dataPath} keeps, which begins at ${isoSeconds(since)}`,
    remedy: 'Leave --before-change out for the latest state; csync-backup history shows what changed',
  });
}
