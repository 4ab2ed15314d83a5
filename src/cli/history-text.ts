/** How `history` and `diff` print what changed. */
import type { NameRules } from '../csync/mailbox-name.ts';
import { toAdmin } from '../csync/mailbox-name.ts';
import type { HistoryChange } from '../restore/history-event.ts';
import { printUserid as printBytes } from './userid-text.ts';

/** Keys of the JSON objects, for --help. */
export const CHANGE_KEYS =
  'type (mailbox, message, subscription, seen, sieve, quota, annotation, user), change, and what belongs to it: mailbox, uniqueid, uid, guid, ' +
  'sizeBytes, flags, flagsBefore, from, to, fields ({FIELD: {before, after}}), lastUid, seenUids, filename, root, limits, entry, userid, value';

/** A change as an object of JSON. */
export function changeObject(change: HistoryChange, rules: NameRules): Record<string, unknown> {
  const name = (mboxname: string): string => (mboxname === '' ? '' : printBytes(toAdmin(mboxname, rules)));
  const { kind, change: what } = change;
  const base = { type: kind, change: what };
  switch (change.kind) {
    case 'mailbox': {
      const of = { ...base, mailbox: name(change.mboxname), uniqueid: printBytes(change.uniqueid) };
      if ('fields' in change) {
        const fields = change.fields.map(({ field, before, after }) => [
          field,
          { before: printBytes(before), after: printBytes(after) },
        ]);
        return { ...of, fields: Object.fromEntries(fields) };
      }
      return 'from' in change ? { ...of, from: name(change.from), to: name(change.to) } : of;
    }
    case 'message': {
      const { uid, guid, size, flags, flagsBefore } = change;
      return {
        ...base,
        mailbox: name(change.mboxname),
        uniqueid: printBytes(change.uniqueid),
        uid,
        guid,
        sizeBytes: size ?? null,
        flags: flags.map(printBytes),
        ...(flagsBefore && { flagsBefore: flagsBefore.map(printBytes) }),
      };
    }
    case 'subscription':
      return { ...base, mailbox: name(change.mboxname) };
    case 'seen': {
      const { mboxname, uniqueid, lastuid: lastUid, seenuids } = change;
      return {
        ...base,
        mailbox: name(mboxname),
        uniqueid: printBytes(uniqueid),
        lastUid,
        seenUids: printBytes(seenuids),
      };
    }
    case 'sieve':
      return 'filename' in change ? { ...base, filename: printBytes(change.filename) } : base;
    case 'quota':
      return { ...base, root: name(change.root), limits: change.limits };
    case 'annotation': {
      const { mboxname, entry, userid, value } = change;
      const shown = value === null ? null : printBytes(value);
      return {
        ...base,
        mailbox: name(mboxname),
        entry: printBytes(entry),
        userid: printBytes(userid),
        value: shown,
      };
    }
    case 'user':
      return { ...base, userid: printBytes(change.userid) };
  }
}

/** What, which, and details, for columns that are separated by tabs. */
export function changeColumns(change: HistoryChange, rules: NameRules): string[] {
  const object = changeObject(change, rules) as Record<string, string>;
  const what = `${change.kind} ${change.change}`;
  const oneLine = (text: string): string => text.replaceAll(/\s/g, ' ').trim();
  switch (change.kind) {
    case 'mailbox': {
      const { mailbox, uniqueid, from, to } = object as { [key: string]: string };
      if ('fields' in change) {
        const fields = change.fields.map(
          ({ field, before, after }) =>
            `${field} ${oneLine(printBytes(before)) || '-'} -> ${oneLine(printBytes(after)) || '-'}`,
        );
        return [what, mailbox!, uniqueid!, ...fields];
      }
      return [what, mailbox!, uniqueid!, ...('from' in change ? [`${from} -> ${to}`] : [])];
    }
    case 'message': {
      const flags = change.flags.map(printBytes).join(' ') || '-';
      const before = change.flagsBefore && (change.flagsBefore.map(printBytes).join(' ') || '-');
      return [
        what,
        object.mailbox!,
        `uid ${change.uid}`,
        change.guid,
        `${change.size ?? '-'} bytes`,
        before === undefined ? flags : `${before} -> ${flags}`,
      ];
    }
    case 'subscription':
      return [what, object.mailbox!];
    case 'seen':
      return [what, object.mailbox || object.uniqueid!, `last uid ${change.lastuid}`, object.seenUids!];
    case 'sieve':
      return 'filename' in change ? [what, object.filename!] : [what];
    case 'quota':
      return [
        what,
        object.root!,
        ...Object.entries(change.limits).map(([resource, limit]) => `${resource} ${limit}`),
      ];
    case 'annotation':
      return [
        what,
        object.mailbox || 'of the server',
        object.entry!,
        object.userid || '-',
        oneLine(object.value ?? '-'),
      ];
    case 'user':
      return [what, object.userid!];
  }
}
