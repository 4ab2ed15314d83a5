/** What the programs say about themselves. Options and commands are those of Cyrus IMAP 3.10. */

export const CTL_BACKUPS_USAGE = `Usage:
    ctl_backups [options] compact [mode] backup...
    ctl_backups [options] list [-t hours] [[mode] backup...]
    ctl_backups [options] lock [-c] [-p | -s | -x command] [mode] backup
    ctl_backups [options] reindex [mode] backup...
    ctl_backups [options] stat [mode] backup...
    ctl_backups [options] verify [mode] backup...

Commands:
    compact             # reduce storage, as retention allows
    list                # list backups: end of the latest chunk, size, userid, file (all if none are named)
    lock                # lock a backup and hold the lock
    reindex             # make indexes anew from the data files
    stat                # sizes, ratios and times
    verify              # check data files and indexes against each other

Options:
    -C file             # configuration file (default: /etc/imapd.conf)
    -F, --force         # do it even if it is not needed
    -S, --stop-on-error # stop at the first backup that fails
    -V, --no-verify     # list and stat: do not check the latest chunk
    -j, --json          # output in JSON
    -v, --verbose       # say more (again: even more)
    -w, --wait-for-locks
                        # wait for backups that are locked (default: skip them)
        --help

List options:
    -t [hours], --stale[=hours]
                        # only those without an update for so long (default: 24)

Lock options:
    -c, --create        # create the backup, which must not exist
    -p, --pause         # hold the lock until end of file on standard input (default)
    -s, --sqlite3       # open the index in sqlite3
    -x, --execute command
                        # run the command, with $ctl_backups_lock_data_fname and $ctl_backups_lock_index_fname

Modes:
    -A, --all           # all known backups
    -D, --domains       # backups of users in these domains
    -P, --prefixes      # backups of users whose userids begin like this
    -f, --filenames     # backups in these data files
    -m, --mailboxes     # backups that hold these mailboxes
    -u, --userids       # backups of these users (default)
    Not -A, -D and -P for lock.

Examples:
    ctl_backups list -t 48
    ctl_backups -S verify -D example.com
    ctl_backups lock -x 'cp "$ctl_backups_lock_data_fname" /media/copy/' anne

Exit statuses:
    0   done
    64  wrong usage
    75  a backup was not found, skipped or failed
    78  wrong configuration
`;

export const CYR_BACKUP_USAGE = `Usage:
    cyr_backup [options] [mode] backup list chunks | mailboxes | messages | all
    cyr_backup [options] [mode] backup show chunks id...
    cyr_backup [options] [mode] backup show mailboxes mboxname|uniqueid...
    cyr_backup [options] [mode] backup show messages guid...
    cyr_backup [options] [mode] backup dump chunk id
    cyr_backup [options] [mode] backup dump message guid
    cyr_backup [options] [mode] backup json chunks | mailboxes | messages
    cyr_backup [options] [mode] backup json headers guid...

Commands:
    list                # list items
    show                # show items in detail
    dump                # the bytes of a chunk (uncompressed) or a message
    json                # details in JSON

Options:
    -C file             # configuration file (default: /etc/imapd.conf)
    -v, --verbose       # say more
        --help

Modes:
    -f, --filename      # backup is a data file
    -m, --mailbox       # backup is the name of a mailbox in it
    -u, --userid        # backup is a userid (default)

Examples:
    cyr_backup anne list mailboxes
    cyr_backup anne show mailboxes user/anne/Sent
    cyr_backup -f /backup/a/anne_x1Y2z3 dump message 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed

Exit statuses:
    0   done
    64  wrong usage
    75  the backup or what was asked for was not found, or is damaged
    78  wrong configuration
`;

export const RESTORE_USAGE = `Usage:
    restore [options] server [mode] backup [mboxname | uniqueid | guid]...

The server is HOST[:PORT]: imapd with replication, or sync_server. Without a port imap is tried, then csync.

Options:
    -A, --override-acl [acl]
                        # apply this ACL to mailboxes that are made (empty: the default of the owner)
    -C file             # configuration file (default: /etc/imapd.conf)
    -D, --keep-deletedprefix
                        # deleted mailboxes come back as deleted ones
    -F, --input-file file
                        # read mailboxes and messages from a file, one a line (-: standard input)
    -L, --local-only    # no mupdate
    -M, --dest-mailbox mboxname
                        # restore everything to this mailbox
    -P, --dest-partition partition
                        # make mailboxes on this partition
    -U, --keep-uidvalidity
                        # as it was: unique ids, UIDs, modseqs
    -X, --skip-expunged # no expunged messages
    -a, --all-mailboxes # all mailboxes in the backup
    -n, --dry-run       # do nothing (with -v: say what would be done)
    -r, --recursive     # submailboxes as well
    -v, --verbose       # say more
    -w, --delayed-startup seconds
                        # wait first
    -x, --only-expunged # only expunged messages, which are then not expunged any more
    -z, --require-compression
                        # fail if the connection cannot be compressed
        --help

Modes:
    -f, --file          # backup is a data file
    -m, --mailbox       # backup is the name of a mailbox in it
    -u, --userid        # backup is a userid (default)

The user is sync_authname with sync_password of the configuration file, an admin of the server.

Examples:
    restore -v -U -a mail.example.com anne
    restore mail.example.com anne user/anne/Sent
    restore -M user/anne/Found mail.example.com anne 2aae6c35c94fcfb415dbe95f408b9ce91ee846ed

Exit statuses:
    0   done
    64  wrong usage
    75  the backup or an object was not found, or something was not restored
    78  wrong configuration
`;
