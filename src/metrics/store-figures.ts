/** Figures that store shards keep, each declared here and nowhere else. */

/** The kind of a figure that shards keep. */
export interface ShardFigure {
  type: 'counter' | 'gauge' | 'histogram';
  help: string;
}

/**
 * What shards report by `stats`: `open_backups` becomes `csync_backup_store_open_backups`. One that is not
 * listed is exported all the same.
 */
export const SHARD_FIGURES: Record<string, ShardFigure> = {
  open_backups: { type: 'gauge', help: 'Backups whose files are held open, locked or cached.' },
  cache_hits_total: { type: 'counter', help: 'Times that a client came for a backup whose files were open.' },
  cache_misses_total: {
    type: 'counter',
    help: 'Times that the files of a backup had to be opened for a client.',
  },
  appends_total: {
    type: 'counter',
    help: 'Times that commands were added to a data file for good: a MAILBOX takes the MESSAGEs before it along.',
  },
  open_chunks: {
    type: 'gauge',
    help: 'Chunks that are not finished: what is in them is in no committed index yet.',
  },
  index_lag_bytes: { type: 'gauge', help: 'Uncompressed bytes of these that clients were told are stored.' },
  index_lag_seconds: { type: 'gauge', help: 'Age of the oldest of these chunks.' },
  backups_created_total: { type: 'counter', help: 'Backups made for new users.' },
  chunks_total: { type: 'counter', help: 'Chunks finished.' },
  written_bytes_total: { type: 'counter', help: 'Bytes of these chunks in the data files.' },
  content_bytes_total: { type: 'counter', help: 'Bytes of these chunks uncompressed.' },
  syncs_total: { type: 'counter', help: 'Times that a data file was synced to disk.' },
  sync_seconds: { type: 'histogram', help: 'Time of such a sync.' },
  index_commit_seconds: {
    type: 'histogram',
    help: 'Time to commit and sync an index at the end of a chunk.',
  },
  request_wait_seconds: {
    type: 'histogram',
    help: 'Time from the sending of a request to a store thread until it takes it up: the delay of its event loop.',
  },
  recoveries_total: { type: 'counter', help: 'Backups whose tail was recovered as they were opened.' },
  index_rebuilds_total: { type: 'counter', help: 'Indexes rebuilt from their data file.' },
  stale_backups_total: {
    type: 'counter',
    help: 'Cached backups that another program had changed meanwhile.',
  },
  damaged_chunks_total: { type: 'counter', help: 'Chunks found damaged.' },
  catalog_checkpoint_failures_total: {
    type: 'counter',
    help: 'Times that backups.db could not be put in order.',
  },
  lock_wait_seconds: {
    type: 'histogram',
    help: 'Time that a request waited for a lock of another program, whether it got it or not.',
  },
  locks_refused_total: { type: 'counter', help: 'Requests refused as somebody else held the lock.' },
  failures_total: { type: 'counter', help: 'Requests that failed.' },
  heals_requested_total: { type: 'counter', help: 'Mailboxes that clients were asked to send again.' },
  heals_completed_total: { type: 'counter', help: 'Mailboxes that came again as a whole after that.' },
  checksum_mismatches_total: {
    type: 'counter',
    help: "Times that a mailbox was not as the mail server has it, by the server's checksum, and was asked for or had been not long ago.",
  },
  checksums_unusable_total: {
    type: 'counter',
    help: "Times that the mail server's checksum of a mailbox did not fit though all of the mailbox had come.",
  },
  messages_lost_total: {
    type: 'counter',
    help: 'Messages found unreadable, which clients are asked for again.',
  },
  records_without_content_total: {
    type: 'counter',
    help: 'Records accepted although the client does not send their message.',
  },
  messages_moved_total: {
    type: 'counter',
    help: "Messages moved out of a file that turned out not to be its user's.",
  },
};

/** Kind and help of a figure, for a name that is not in the list by how it ends. */
export function shardFigure(name: string): ShardFigure {
  const listed = SHARD_FIGURES[name];
  if (listed !== undefined) return listed;
  const help = `${name.replaceAll('_', ' ')}, of the store.`;
  return { type: name.endsWith('_total') ? 'counter' : 'gauge', help };
}
