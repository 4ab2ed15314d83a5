import { beforeEach, expect, test } from 'vitest';
import type { ReplyCode, ShardReply, UserRequest } from '../../src/pipeline/messages.ts';
import type { Shards } from '../../src/pipeline/shard-pools.ts';
import { MAX_OPEN_BACKUPS, OpenBackups } from '../../src/server/open-backups.ts';
import { FREE_ACCESS } from '../../src/server/user-access.ts';

let served: string[];
let answer: ReplyCode;
let backups: OpenBackups;

beforeEach(() => {
  served = [];
  answer = 'OK';
  const shards = { count: 1, ask: async (): Promise<ShardReply> => ({ code: answer, text: '' }) };
  const access = { ...FREE_ACCESS, served: (userid: string) => void served.push(userid) };
  backups = new OpenBackups(1, shards as unknown as Shards, access);
});

async function ask(userid: string, code: ReplyCode = 'OK'): Promise<void> {
  answer = code;
  await backups.ask({ op: 'reserve', session: 1, userid, guids: [] } satisfies UserRequest);
  answer = 'OK';
}

test('a user counts as served when the client is done with him, unless something was refused', async () => {
  await ask('anne');
  await ask('bob');
  await ask('bob', 'IMAP_MAILBOX_LOCKED'); // looking goes well, but nothing can be stored
  await ask('bob');
  await ask('carol', 'IMAP_SYNC_CHECKSUM'); // and sends all of it then
  await ask('carol');
  expect(served).toEqual([]);
  await backups.releaseAll();
  expect(served).toEqual(['anne', 'carol']);
  await ask('bob');
  await backups.releaseAll();
  expect(served).toEqual(['anne', 'carol', 'bob']);
});

test('also one who makes room for the next', async () => {
  for (let i = 0; i <= MAX_OPEN_BACKUPS; i++) await ask(`user${i}`);
  expect(served).toEqual(['user0']);
});
