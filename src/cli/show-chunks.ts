/** `csync-backup show chunks`. */
import { isoTime, print, type ShowContext } from './show-context.ts';

export function showChunks(context: ShowContext): void {
  const { index, sizeBytes } = context.backup;
  const chunks = index.chunks();
  for (const [i, chunk] of chunks.entries()) {
    const { id, offset, length: contentBytes, tsStart, tsEnd, fileSha1, dataSha1 } = chunk;
    const storedBytes = (chunks[i + 1]?.offset ?? sizeBytes) - offset;
    const [startedAt, endedAt] = [isoTime(tsStart), isoTime(tsEnd)];
    print(context, { id, offset, storedBytes, contentBytes, startedAt, endedAt, fileSha1, dataSha1 }, [
      id,
      offset,
      storedBytes,
      contentBytes,
      startedAt,
      endedAt,
    ]);
  }
}
