import type { LinePlace } from '../store/past-index.ts';

/** Which mailbox; strings of one character a byte. */
interface OfMailbox {
  /** As it is called from then on; a deleted one as it was called. */
  mboxname: string;
  uniqueid: string;
}

interface When {
  /** When the backup was told, in seconds. */
  time: number;
  /** The line that said so. */
  place: LinePlace;
}

/** Fields of a mailbox that are told of when they change. */
export type MailboxField =
  | 'acl'
  | 'partition'
  | 'uidvalidity'
  | 'options'
  | 'quotaroot'
  | 'type'
  | 'annotations';

export interface FieldChange {
  field: MailboxField;
  before: string;
  after: string;
}

export type MailboxEvent = OfMailbox &
  (
    | { kind: 'mailbox'; change: 'created' | 'deleted' }
    /** `deleted` with `to`: the mail server has it in its deleted namespace under that name. */
    | { kind: 'mailbox'; change: 'renamed' | 'deleted'; from: string; to: string }
    | { kind: 'mailbox'; change: 'changed'; fields: FieldChange[] }
  );

export interface MessageEvent extends OfMailbox {
  kind: 'message';
  /** `restored`: it was expunged and is live again, `annotated`: its annotations changed. */
  change: 'added' | 'flags' | 'expunged' | 'restored' | 'annotated';
  uid: number;
  guid: string;
  /** In bytes; undefined where it is not known. */
  size: number | undefined;
  flags: string[];
  /** Before the change; of `flags` only. */
  flagsBefore?: string[];
}

export type SettingEvent =
  | { kind: 'subscription'; change: 'added' | 'removed'; mboxname: string }
  | ({ kind: 'seen'; change: 'changed'; lastuid: number; seenuids: string } & OfMailbox)
  | { kind: 'sieve'; change: 'stored' | 'removed' | 'activated'; filename: string }
  | { kind: 'sieve'; change: 'deactivated' }
  | { kind: 'quota'; change: 'set' | 'removed'; root: string; limits: Record<string, string> }
  | {
      kind: 'annotation';
      change: 'set' | 'removed';
      mboxname: string;
      entry: string;
      userid: string;
      value: string | null;
    }
  | { kind: 'user'; change: 'deleted'; userid: string };

/** Something that changed. */
export type HistoryEvent = When & (MailboxEvent | MessageEvent | SettingEvent);
/** What it is about, without when. */
export type HistoryChange = MailboxEvent | MessageEvent | SettingEvent;
