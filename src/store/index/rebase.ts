import { ResumableSha1 } from '../../platform/sha1.ts';
import { hashRange } from '../chunk/hash-range.ts';
import type { BackupIndex } from './backup-index.ts';

/**
 * Makes the index's hashes of the file what its bytes are now. Where a chunk is damaged those of everything behind
 * it are wrong for ever otherwise, and would hide what is damaged later. One pass over the file; synced.
 *
 * @param end of the data file, which is the committed end of the index
 * @returns the state of the SHA-1 up to there; undefined if nothing had to be changed
 */
export function rebaseHashes(fd: number, index: BackupIndex, end: number): ResumableSha1 | undefined {
  const state = index.state();
  if (state === undefined || state.committedEnd !== end) return undefined;
  const hash = ResumableSha1.create();
  const wrong: { id: number; sha1: string }[] = [];
  let at = 0;
  for (const { id, offset, fileSha1 } of index.chunks()) {
    hashRange(fd, at, offset, hash);
    at = offset;
    const sha1 = hash.digestHex();
    if (sha1 !== fileSha1) wrong.push({ id, sha1 });
  }
  hashRange(fd, at, end, hash);
  const fileSha1State = hash.save();
  if (wrong.length === 0 && Buffer.compare(fileSha1State, state.fileSha1State) === 0) return undefined;
  // No unfinished chunk tells that the index is being changed: SQLite has to see to it.
  index.setFullSync(true);
  index.begin();
  const update = index.statement('UPDATE chunk SET file_sha1 = ? WHERE id = ?');
  for (const { id, sha1 } of wrong) update.run(sha1, id);
  index.setState({ ...state, fileSha1State });
  index.commit();
  index.setFullSync(false);
  return hash;
}
