/**
 * The state that an index holds, as rows of text in an order of their own: two indexes say the same of the same
 * history if these are equal, wherever in data files it lies. Ids, places and checksums that no longer hold are left
 * out.
 */
import type { BackupIndex } from './backup-index.ts';

export interface StateRow {
  kind: StateKind;
  /** Unique in its kind; printable. */
  key: string;
  text: string;
  /** When it was deleted, expunged, replaced; null: it is live. */
  gone: number | null;
}

export type StateKind = (typeof KINDS)[number]['kind'];

/** Text columns may hold any bytes. */
const hex = (column: string): string => `ifnull(hex(CAST(${column} AS BLOB)), '-')`;
const joined = (...columns: string[]): string =>
  columns.map((column) => `ifnull(${column}, '-')`).join(" || ' ' || ");
const uid = (column: string): string => `printf('%010d', ${column})`;

const MAILBOX_COLUMNS = [
  hex('b.mboxname'),
  hex('b.mboxtype'),
  'b.last_uid',
  'b.highestmodseq',
  'b.recentuid',
  'b.recenttime',
  'b.last_appenddate',
  'b.pop3_last_login',
  'b.pop3_show_after',
  'b.uidvalidity',
  hex('b.partition'),
  hex('b.acl'),
  hex('b.options'),
  hex('b.quotaroot'),
  'b.xconvmodseq',
  hex('b.annotations'),
  'b.deleted',
  // A checksum of 0 stands for one that is not known, as one that holds no more does.
  'iif(c.crc_stale, 0, ifnull(b.sync_crc, 0))',
  'iif(c.crc_stale, 0, ifnull(b.sync_crc_annot, 0))',
  hex("ifnull(c.fields, '')"),
];

const RECORD_COLUMNS = (alias: string): string[] => [
  `${alias}.modseq`,
  `${alias}.last_updated`,
  // A RECORD that says nothing of flags has none, which a compacted one says.
  hex(`iif(${alias}.flags = '', '()', ${alias}.flags)`),
  `${alias}.internaldate`,
  hex(`${alias}.annotations`),
  `${alias}.expunged`,
];

/** Each selects key, text, gone; in the order of the kinds' names and of the keys. */
const KINDS = [
  {
    kind: 'annotation',
    sql: `SELECT ${joined(hex('mboxname'), hex('entry'), hex('userid'))}, ${hex('fields')}, NULL FROM cb_annotation`,
  },
  { kind: 'heal', sql: `SELECT ${hex('uniqueid')}, '', NULL FROM cb_heal` },
  {
    kind: 'intermediate',
    sql: `SELECT ${hex('uniqueid')}, ${joined(hex('mboxname'), hex('mboxtype'), 'highestmodseq', hex('fields'))}, NULL
      FROM cb_intermediate`,
  },
  {
    kind: 'mailbox',
    sql: `SELECT ${hex('b.uniqueid')}, ${joined(...MAILBOX_COLUMNS)}, b.deleted
      FROM mailbox b LEFT JOIN cb_mailbox c ON c.mailbox_id = b.id`,
  },
  {
    kind: 'message',
    sql: `SELECT guid, ${joined('size', hex('partition'))}, NULL FROM message`,
  },
  { kind: 'quota', sql: `SELECT ${hex('root')}, ${hex('fields')}, NULL FROM cb_quota` },
  {
    kind: 'record',
    sql: `SELECT ${joined(hex('b.uniqueid'), uid('r.uid'), 'm.guid')},
        ${joined(...RECORD_COLUMNS('r'), "'here'", 'm.size', hex('x.fields'))}, r.expunged
      FROM mailbox_message r JOIN mailbox b ON b.id = r.mailbox_id JOIN message m ON m.id = r.message_id
        LEFT JOIN cb_record_extra x ON x.mailbox_id = r.mailbox_id AND x.uid = r.uid
      UNION ALL SELECT ${joined(hex('b.uniqueid'), uid('r.uid'), 'r.guid')},
        ${joined(...RECORD_COLUMNS('r'), "iif(m.id IS NULL, 'missing', 'here')", 'ifnull(m.size, r.size)', hex('iif(r.replaced, NULL, x.fields)'))}
          || iif(r.replaced, ' replaced', ''), r.expunged
      FROM cb_record r JOIN mailbox b ON b.id = r.mailbox_id LEFT JOIN message m ON m.guid = r.guid
        LEFT JOIN cb_record_extra x ON x.mailbox_id = r.mailbox_id AND x.uid = r.uid`,
  },
  {
    kind: 'seen',
    sql: `SELECT ${hex('uniqueid')}, ${joined('lastread', 'lastuid', 'lastchange', hex("ifnull(seenuids, '')"))}, NULL FROM seen`,
  },
  {
    kind: 'sieve',
    sql: `SELECT ${joined(hex('filename'), 'guid', "printf('%015d', last_update)", "printf('%015d', ifnull(deleted, 0))")},
        '', deleted FROM sieve`,
  },
  {
    kind: 'state',
    sql: `SELECT name, ${hex('value')}, NULL FROM cb_state WHERE name IN ('unuser_at', 'former', 'active_sieve')`,
  },
  {
    kind: 'subscription',
    sql: `SELECT ${hex('mboxname')}, ${joined('unsubscribed')}, unsubscribed FROM subscription`,
  },
] as const;

/** All rows, by kind and key. The index must not be written to meanwhile. */
export function* stateRows(index: BackupIndex): Generator<StateRow, void> {
  for (const { kind, sql } of KINDS) {
    const rows = index.statement(`${sql} ORDER BY 1, 2`, 'raw').iterate() as Iterable<
      [string, string | number, number | null]
    >;
    for (const [key, text, gone] of rows) yield { kind, key, text: String(text), gone };
  }
}
