/** What is different between two states of a backup: one pass over both at the same time, in bounded memory. */
import type { NameRules } from '../csync/mailbox-name.ts';
import type { CsyncAnnotation } from './csync-mailbox.ts';
import type { FieldChange, HistoryChange, MailboxField } from './history-event.ts';
import { isLive } from './selection.ts';
import type { BackupSource, StoredMailbox, StoredRecord } from './source.ts';

/** What of the user's would have to change for the one to become the other, mailboxes first. */
export function* differences(
  before: BackupSource,
  after: BackupSource,
  rules: NameRules,
): Generator<HistoryChange, void> {
  const [old, fresh] = [liveMailboxes(before, rules), liveMailboxes(after, rules)];
  for (const mailbox of old.values()) {
    const now = fresh.get(mailbox.uniqueid);
    if (now !== undefined) {
      yield* mailboxChanges(mailbox, now);
      yield* recordChanges(before, mailbox, after, now);
      continue;
    }
    const { mboxname, uniqueid } = mailbox;
    for (const record of before.records(mailbox)) yield messageChange('expunged', mailbox, record);
    yield { kind: 'mailbox', change: 'deleted', mboxname, uniqueid };
  }
  for (const mailbox of fresh.values()) {
    if (old.has(mailbox.uniqueid)) continue;
    const { mboxname, uniqueid } = mailbox;
    yield { kind: 'mailbox', change: 'created', mboxname, uniqueid };
    for (const record of after.records(mailbox)) yield messageChange('added', mailbox, record);
  }
  yield* settingChanges(before, after, fresh);
}

/** By unique id. */
function liveMailboxes(source: BackupSource, rules: NameRules): Map<string, StoredMailbox> {
  const found = new Map<string, StoredMailbox>();
  for (const mailbox of source.mailboxes()) if (isLive(mailbox, rules)) found.set(mailbox.uniqueid, mailbox);
  return found;
}

function* mailboxChanges(before: StoredMailbox, after: StoredMailbox): Generator<HistoryChange, void> {
  const { mboxname, uniqueid } = after;
  if (before.mboxname !== mboxname) {
    yield { kind: 'mailbox', change: 'renamed', mboxname, uniqueid, from: before.mboxname, to: mboxname };
  }
  const fields: FieldChange[] = [];
  const compare = (
    field: MailboxField,
    old: string | number | undefined,
    fresh: string | number | undefined,
  ) => {
    if (old !== fresh) fields.push({ field, before: String(old ?? ''), after: String(fresh ?? '') });
  };
  compare('acl', before.acl, after.acl);
  compare('partition', before.partition, after.partition);
  compare('uidvalidity', before.uidvalidity, after.uidvalidity);
  compare('options', before.options, after.options);
  compare('quotaroot', before.quotaroot, after.quotaroot);
  compare('type', before.mboxtype, after.mboxtype);
  compare('annotations', annotationText(before.annotations), annotationText(after.annotations));
  if (fields.length > 0) yield { kind: 'mailbox', change: 'changed', mboxname, uniqueid, fields };
}

function* recordChanges(
  before: BackupSource,
  old: StoredMailbox,
  after: BackupSource,
  fresh: StoredMailbox,
): Generator<HistoryChange, void> {
  const [left, right] = [before.records(old), after.records(fresh)];
  let [a, b] = [left.next(), right.next()];
  while (!a.done || !b.done) {
    const order = a.done ? 1 : b.done ? -1 : a.value.uid - b.value.uid;
    if (order < 0) yield messageChange('expunged', fresh, a.value!);
    else if (order > 0) yield messageChange('added', fresh, b.value!);
    else yield* messageChanges(fresh, a.value!, b.value!);
    if (order <= 0) a = left.next();
    if (order >= 0) b = right.next();
  }
}

function* messageChanges(
  mailbox: StoredMailbox,
  before: StoredRecord,
  after: StoredRecord,
): Generator<HistoryChange, void> {
  if (before.guid !== after.guid) {
    yield messageChange('expunged', mailbox, before);
    yield messageChange('added', mailbox, after);
    return;
  }
  if (before.flags.toSorted().join(' ') !== after.flags.toSorted().join(' ')) {
    yield { ...messageChange('flags', mailbox, after), flagsBefore: before.flags };
  }
  if (annotationText(before.annotations) !== annotationText(after.annotations)) {
    yield messageChange('annotated', mailbox, after);
  }
}

function messageChange(
  change: 'added' | 'expunged' | 'flags' | 'annotated',
  { mboxname, uniqueid }: StoredMailbox,
  { uid, guid, size, flags }: StoredRecord,
): Extract<HistoryChange, { kind: 'message' }> {
  return { kind: 'message', change, mboxname, uniqueid, uid, guid, size, flags };
}

function* settingChanges(
  before: BackupSource,
  after: BackupSource,
  mailboxes: ReadonlyMap<string, StoredMailbox>,
): Generator<HistoryChange, void> {
  const [oldNames, names] = [new Set(before.subscriptions()), new Set(after.subscriptions())];
  for (const mboxname of oldNames)
    if (!names.has(mboxname)) yield { kind: 'subscription', change: 'removed', mboxname };
  for (const mboxname of names)
    if (!oldNames.has(mboxname)) yield { kind: 'subscription', change: 'added', mboxname };

  const oldSeen = new Map(before.seen().map((seen) => [seen.uniqueid, seen]));
  for (const { uniqueid, lastuid, seenuids } of after.seen()) {
    const old = oldSeen.get(uniqueid);
    if (old?.lastuid === lastuid && old.seenuids === seenuids) continue;
    const mboxname = mailboxes.get(uniqueid)?.mboxname ?? '';
    yield { kind: 'seen', change: 'changed', mboxname, uniqueid, lastuid, seenuids };
  }

  const oldScripts = new Map(before.scripts().map(({ filename, guid }) => [filename, guid]));
  const scripts = new Map(after.scripts().map(({ filename, guid }) => [filename, guid]));
  for (const filename of oldScripts.keys())
    if (!scripts.has(filename)) yield { kind: 'sieve', change: 'removed', filename };
  for (const [filename, guid] of scripts)
    if (oldScripts.get(filename) !== guid) yield { kind: 'sieve', change: 'stored', filename };
  const active = after.activeScript();
  if (active !== before.activeScript()) {
    yield active === undefined
      ? { kind: 'sieve', change: 'deactivated' }
      : { kind: 'sieve', change: 'activated', filename: active };
  }

  const limitsOf = (source: BackupSource) =>
    new Map(source.quotas().map(({ root, limits }) => [root, limitTexts(limits)]));
  const [oldQuotas, quotas] = [limitsOf(before), limitsOf(after)];
  for (const [root, limits] of oldQuotas)
    if (!quotas.has(root)) yield { kind: 'quota', change: 'removed', root, limits };
  for (const [root, limits] of quotas) {
    if (JSON.stringify(oldQuotas.get(root)) !== JSON.stringify(limits))
      yield { kind: 'quota', change: 'set', root, limits };
  }
}

function limitTexts(limits: ReadonlyMap<string, number>): Record<string, string> {
  const texts = [...limits].map(([resource, limit]) => [resource, String(limit)] as const);
  return Object.fromEntries(texts.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function annotationText(list: readonly CsyncAnnotation[]): string {
  return list
    .map(({ entry, userid, value }) => `${entry} (${userid}) ${value ?? 'NIL'}`)
    .toSorted()
    .join(', ');
}
