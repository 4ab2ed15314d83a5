/** Where messages in staging files lie, as far as the session does not remember it: listed in a staging file of its own. */
import type { StagedMessage } from '../../pipeline/messages.ts';
import { stagedListText } from '../../store/staged-list.ts';
import type { Session } from '../session.ts';

/** Listed at a time. */
const BATCH = 10_000;

/** Lists what has been staged since and is not remembered. */
export async function listStaged(session: Session): Promise<void> {
  const { staged } = session.routing;
  const messages = staged.takeToList();
  for (let at = 0; at < messages.length; at += BATCH) {
    const { shard, path } = listOf(session);
    const bytes = Uint8Array.from(Buffer.from(stagedListText(messages.slice(at, at + BATCH)), 'latin1'));
    const request = { op: 'stage', session: session.id, path, piece: { kind: 'bytes', bytes } } as const;
    const { code } = await session.backups.askShard(shard, request);
    if (code !== 'OK') staged.isIncomplete = true;
  }
  if (messages.length > 0) staged.hasList = true;
}

/** Those of these messages that are listed. */
export async function findListed(session: Session, guids: Iterable<string>): Promise<StagedMessage[]> {
  const { staged } = session.routing;
  await listStaged(session);
  const wanted = [...guids];
  if (!staged.hasList || wanted.length === 0) return [];
  const { shard, path } = listOf(session);
  const request = { op: 'listed', session: session.id, path, guids: wanted } as const;
  const reply = await session.backups.askShard(shard, request);
  if (reply.code !== 'OK') staged.isIncomplete = true;
  return reply.staged ?? [];
}

function listOf({ id, server, routing }: Session): { shard: number; path: string } {
  const shard = id % server.shards.count;
  return { shard, path: `${routing.stagingFile(shard)}.list` };
}
