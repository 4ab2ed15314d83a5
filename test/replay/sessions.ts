/**
 * Which captures are played to one server, in which order, and where our answers are meant to differ. A session
 * that builds on another's state stands behind it; what no session tells of that state is established before.
 */
export interface SessionGroup {
  /** `release/file`, in order. */
  names: string[];
  /** Options of the server beyond the usual ones. */
  config?: Record<string, string>;
  /** Also make a certificate. */
  tls?: boolean;
}

/** A difference that is meant, as a pattern over lines of `differences()`, and the reason for it. */
export type Expected = [pattern: RegExp, why: string];

export const GROUPS: SessionGroup[] = [
  {
    names: [
      '3.6/01-first-sync',
      '3.6/02-no-change',
      '3.6/03-messages',
      '3.6/04-folders',
      '3.6/05-meta',
      '3.6/06-shared',
      '3.6/08-rolling',
      '3.6/09-xbackup-csync',
      '3.6/10-deflate',
      '3.6/11-auth-SCRAM-SHA-256',
      '3.6/11-auth-SCRAM-SHA-1',
      '3.6/11-auth-CRAM-MD5',
      '3.6/13-big-literal',
      '3.6/14-rolling-user-rename',
      '3.6/15-rolling-user-delete',
      '3.6/12-errors',
    ],
  },
  { names: ['3.6/07-all', '3.6/17-duplicate-message'] },
  { names: ['3.6/18-starttls', '3.6/16-restore', '3.6/11-auth-DIGEST-MD5', '3.6/19-locked'] },
  {
    names: [
      '3.10/01-first-sync',
      '3.10/02-no-change',
      '3.10/03-messages',
      '3.10/04-folders',
      '3.10/05-meta',
      '3.10/06-no-change',
      '3.10/24-deflate',
      '3.10/07-rolling',
      '3.10/09-rolling-cache',
      '3.10/10-conversations',
      '3.10/08-rolling-users',
      '3.10/12-text-literal',
      '3.10/13-text-literal-get',
      '3.10/14-zero-apply',
    ],
  },
  {
    names: [
      '3.10/11-sieve-mailbox',
      '3.10/15-zero-apply-sync-server',
      '3.10/16-checksum-empty-get',
      '3.10/17-checksum-twice',
      '3.10/18-rolling-locked-bye',
      '3.10/22-try-imap-untagged-bad',
      '3.10/23-try-imap-tagged-bad',
    ],
  },
  // From before what the ones above leave, or without what was done in between: to them the mail server was put back.
  { names: ['3.10/19-rolling-denied'] },
  { names: ['3.10/20-after-expire'] },
  { names: ['head/13-intermediate-refused'] },
  { names: ['head/17-after-expire'] },
  {
    names: [
      'head/01-first-sync',
      'head/02-no-change',
      'head/03-messages',
      'head/04-folders',
      'head/05-meta',
      'head/06-no-change',
      'head/07-rolling',
      'head/10-rolling-cache',
      'head/11-conversations',
      'head/08-rolling-user-rename-loop',
      'head/09-rolling-user-rename',
      'head/15-text-literal',
      'head/16-zero-apply',
    ],
  },
  {
    names: [
      'head/12-sieve-mailbox',
      'head/18-checksum-twice',
      'head/14-intermediate-no-change',
      'head/20-rolling-locked-bye',
    ],
  },
  {
    names: ['3.10/21-starttls-forced', 'head/19-starttls-forced'],
    config: { backup_tls_required: 'yes' },
    tls: true,
  },
];

const UNKNOWN_HISTORY =
  'messages of this mailbox were sent before any capture began, so they are not here: the client is asked for all';
const TWO_USERS =
  'backupd refuses mailboxes of two users in one GET, which makes newer clients reconnect without end';
const NOT_LOCKED = 'the answer of then was that the backup was in use, or was injected; ours is free';
const INJECTED = 'the answer of then was injected by a proxy; ours has taken what the client sent';
const SERVER_ANNOTATIONS = 'backupd knows no server annotations';
const AFTER_INJECTION = 'ours has taken the mailbox at once, and the other server only later';

export const EXPECTED: Record<string, Expected[]> = {
  '3.6/08-rolling': [
    [/^APPLY MAILBOX .*shared\.announce .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
  ],
  '3.6/11-auth-CRAM-MD5': [
    [/^AUTHENTICATE CRAM-MD5: was \+, is NO$/, 'a mechanism that needs plain passwords'],
  ],
  '3.6/11-auth-DIGEST-MD5': [
    [/^AUTHENTICATE DIGEST-MD5: was \+, is NO$/, 'a mechanism that needs plain passwords'],
  ],
  '3.6/12-errors': [
    [
      /^APPLY MESSAGE .*: was NO IMAP_PROTOCOL_ERROR, is OK$/,
      'its owner is not known yet, which is no error',
    ],
    [/^GET MAILBOXES \(user\.alice user\.bob\): was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/, TWO_USERS],
    [/^APPLY LOCAL_UNMAILBOX user\.zz: was NO IMAP_PROTOCOL_ERROR, is OK$/, 'as UNMAILBOX'],
    [/^APPLY ANNOTATION .*: was NO IMAP_PROTOCOL_ERROR, is OK$/, SERVER_ANNOTATIONS],
    [/^APPLY EXPUNGE .*: was NO IMAP_PROTOCOL_ERROR, is NO IMAP_MAILBOX_NONEXISTENT$/, 'says what is wrong'],
    [/^GET QUOTA .*: was NO IMAP_PROTOCOL_ERROR, is OK$/, 'backupd knows no quota'],
    [/^get user alice: .* is missing$/, 'an UNUSER came before it, which backupd forgets'],
    [
      /^APPLY MAILBOX %\(MBOXNAME user\.alice: was \(nothing\), is BAD$/,
      'backupd waited for the end of GET USER',
    ],
    [/^(Get User erik|RESTART|EXIT): was \(nothing\), is OK$/, 'the recording client had left'],
    [/^(FORCE|ENABLE x|RESTART x): was \(nothing\), is BAD$/, 'the recording client had left'],
    [/^COMPRESS FOO: was \(nothing\), is NO$/, 'the recording client had left'],
  ],
  '3.6/14-rolling-user-rename': [
    [/^APPLY MAILBOX .*shared\.announce .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
    [/^GET MAILBOXES \(user\.heidi user\.hanna .*: was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/, TWO_USERS],
  ],
  '3.6/16-restore': [
    [/^APPLY RESERVE .*: MISSING \w+ is extra$/, 'that server had a message that no capture holds'],
    [/^RESTORE MAILBOX .*: was OK, is BAD$/, 'a command to a mail server, not to a backup server'],
  ],
  '3.6/19-locked': [[/^GET USER alice: was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED]],
  '3.10/08-rolling-users': [
    [/^GET MAILBOXES \(user\.frida user\.fritz .*: was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/, TWO_USERS],
    [/^GET ANNOTATION "": was NO IMAP_PROTOCOL_ERROR, is OK$/, SERVER_ANNOTATIONS],
  ],
  '3.10/09-rolling-cache': [
    [/^APPLY MAILBOX .*user\.bob .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
  ],
  '3.10/16-checksum-empty-get': [
    [/^APPLY MAILBOX .*user\.alice .*: was NO IMAP_SYNC_CHECKSUM, is OK$/, INJECTED],
    [/^GET MAILBOXES \(user\.alice\): MAILBOX user\.alice is extra$/, INJECTED],
  ],
  '3.10/17-checksum-twice': [
    [/^APPLY MAILBOX .*user\.alice .*: was NO IMAP_SYNC_CHECKSUM, is OK$/, INJECTED],
    [
      /^GET MAILBOXES \(user\.alice\): MAILBOX user\.alice (HIGHESTMODSEQ|LAST_UID|SYNC_CRC|SYNC_CRC_ANNOT) was/,
      AFTER_INJECTION,
    ],
    [/^GET FULLMAILBOX user\.alice: was NO IMAP_MAILBOX_NONEXISTENT, is OK$/, INJECTED],
  ],
  '3.10/18-rolling-locked-bye': [
    [/^GET MAILBOXES \(user\.bob\): was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED],
    [/^APPLY MAILBOX .*user\.bob .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
    [/^GET MAILBOXES \(user\.carol\): was BYE, is OK$/, INJECTED],
  ],
  '3.10/19-rolling-denied': [
    [/^APPLY MAILBOX .*user\.bob .*: was NO IMAP_IOERROR, is OK$/, INJECTED],
    [
      /^GET USER bob: MAILBOX user\.bob (HIGHESTMODSEQ|LAST_UID|SYNC_CRC|SYNC_CRC_ANNOT) was/,
      AFTER_INJECTION,
    ],
    [/^APPLY RESERVE .*: MISSING a65983f5\w+ is missing$/, AFTER_INJECTION],
    [/^APPLY MAILBOX .*user\.bob .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, AFTER_INJECTION],
  ],
  '3.10/21-starttls-forced': [[/^GET USER alice: was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED]],
  '3.10/22-try-imap-untagged-bad': [[/^GET USER alice: was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED]],
  '3.10/23-try-imap-tagged-bad': [
    [/^Q01 LOGOUT: was BAD, is BYE$/, 'the client closes after either'],
    [/^GET USER alice: was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED],
  ],
  'head/08-rolling-user-rename-loop': [
    [/^GET MAILBOXES \(user\.frida user\.fritz .*: was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/, TWO_USERS],
    [/^GET ANNOTATION "": was NO IMAP_PROTOCOL_ERROR, is OK$/, SERVER_ANNOTATIONS],
  ],
  'head/09-rolling-user-rename': [
    [/^APPLY MESSAGE .*: was NO IMAP_PROTOCOL_ERROR, is OK$/, 'backupd had no backup open to put them into'],
    [/^GET USER heidi: MAILBOX user\.heidi.* is missing$/, 'she was backed up before any capture began'],
  ],
  'head/10-rolling-cache': [
    [/^APPLY MAILBOX .*user\.bob .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
  ],
  'head/13-intermediate-refused': [
    [
      /^APPLY MAILBOX .*user\.alice\.X\.Y .*: was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/,
      'intermediate nodes are kept',
    ],
  ],
  'head/17-after-expire': [
    [
      /^APPLY MAILBOX .*user\.alice\.X\.Y .*: was NO IMAP_PROTOCOL_BAD_PARAMETERS, is OK$/,
      'intermediate nodes are kept',
    ],
  ],
  'head/18-checksum-twice': [
    [/^APPLY MAILBOX .*user\.alice .*: was NO IMAP_SYNC_CHECKSUM, is OK$/, INJECTED],
    [
      /^GET MAILBOXES \(user\.alice\): MAILBOX user\.alice (HIGHESTMODSEQ|LAST_UID|SYNC_CRC|SYNC_CRC_ANNOT) was/,
      AFTER_INJECTION,
    ],
    [/^GET FULLMAILBOX user\.alice: was NO IMAP_MAILBOX_NONEXISTENT, is OK$/, INJECTED],
  ],
  'head/19-starttls-forced': [[/^GET USER alice: was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED]],
  'head/20-rolling-locked-bye': [
    [/^GET MAILBOXES \(user\.bob\): was NO IMAP_MAILBOX_LOCKED, is OK$/, NOT_LOCKED],
    [/^APPLY MAILBOX .*user\.bob .*: was OK, is NO IMAP_SYNC_CHECKSUM$/, UNKNOWN_HISTORY],
    [/^GET MAILBOXES \(user\.carol\): was BYE, is OK$/, INJECTED],
  ],
};
