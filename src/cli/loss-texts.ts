/** What commands say of a backup of which something was found lost when its index was made anew. */
import type { ReindexLosses } from '../maintenance/reindex.ts';

/** What was at the end of the data file, what still knows of it, and how to get at that. */
export function lossTexts(report: ReindexLosses): string[] {
  const { lostBytes, keptIndex, putAside, damagedChunks } = report;
  const parts: string[] = [];
  if (lostBytes > 0) parts.push(`the last ${lostBytes} bytes that the index knew of are lost`);
  if (keptIndex !== null && lostBytes + damagedChunks > 0)
    parts.push(`the old index, which may know more, is kept as ${keptIndex}`);
  if (putAside !== null) {
    const { path, from, messages } = putAside;
    const as = path === null ? 'would be put aside' : `is put aside as ${path}`;
    const what = messages === 0 ? '' : `, with ${messages} messages that no mailbox names`;
    parts.push(`the end from byte ${from} on counts for nothing and ${as}${what}`);
  }
  if (parts.length > 0)
    parts.push(
      'the next sync brings what the mail server has; for the rest see "A data file that was cut off" in docs/operations.md',
    );
  return parts;
}
