import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BackupStore } from './backup-store.ts';
import { run } from './run.ts';

const GUID = '99d21d7ce9ee45898e12888cc8c59ed9f83a2565';

describe.concurrent('show', () => {
  let store: BackupStore;
  beforeAll(() => {
    store = new BackupStore().enter();
  });
  afterAll(() => store[Symbol.dispose]());

  const show = async (...args: string[]): Promise<unknown[]> => {
    const { status, stdout, stderr } = await run(['show', ...args, '--json', '-C', store.configFile]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  };

  test('chunks', async () => {
    const chunks = await show('chunks', '-u', 'erik');
    expect(chunks).toHaveLength(6);
    expect(chunks[2]).toEqual({
      id: 3,
      offset: 128_150,
      storedBytes: 378,
      contentBytes: 342,
      startedAt: '2026-11-23T00:56:29.000Z',
      endedAt: '2026-11-23T00:56:32.000Z',
      fileSha1: expect.stringMatching(/^[0-9a-f]{40}$/),
      dataSha1: expect.stringMatching(/^[0-9a-f]{40}$/),
    });
  });

  test('mailboxes, found by one of them', async () => {
    const mailboxes = await show('mailboxes', '-m', 'user/erik/Sent');
    expect(mailboxes).toHaveLength(6);
    expect(mailboxes[0]).toMatchObject({
      name: 'user/erik',
      internalName: 'user.erik',
      uniqueid: '5a44wbzaqk9e9xd9me1on1mv',
      messages: 8,
      expunged: 1,
      lastAppendAt: '2026-11-23T00:55:56.000Z',
      deletedAt: null,
    });
  });

  test('what is in a mailbox, by any of its names', async () => {
    const byName = await show('mailbox', 'user/erik', '-u', 'erik');
    expect(byName).toHaveLength(9);
    expect(byName[4]).toMatchObject({ uid: 5, expungedAt: '2026-11-23T00:56:03.000Z', hasContent: true });
    expect(byName[1]).toMatchObject({ flags: ['\\Seen', '$Forwarded', 'NonJunk'], modseq: 16 });
    expect(await show('mailbox', 'user.erik', '5a44wbzaqk9e9xd9me1on1mv', '-u', 'erik')).toEqual([
      ...byName,
      ...byName,
    ]);
    expect(await show('mailbox', 'INBOX', '-u', 'erik')).toEqual(byName);
    expect(await show('mailbox', 'Sent', '-u', 'erik')).toEqual(
      await show('mailbox', 'user/erik/Sent', '-u', 'erik'),
    );
  });

  test('messages, and one with its headers', async () => {
    const messages = await show('messages', '-f', store.erik);
    expect(messages).toHaveLength(12);
    expect(messages[0]).toMatchObject({ guid: GUID, sizeBytes: 5474, chunk: 1 });
    const [message] = await show('message', GUID.toUpperCase(), '-u', 'erik');
    expect(message).toMatchObject({
      guid: GUID,
      mailboxes: [{ name: 'user/erik' }, { name: 'user/erik/Archive' }],
      headers: { From: ['Bob <bob@example.net>'], 'MIME-Version': ['1.0'] },
    });
    const text = (await run(['show', 'message', GUID, '-f', store.erik])).stdout;
    expect(text).toMatch(/^guid\t99d21d.*\nsize\t5474\nchunk\t1\nmailbox\tuser\/erik\t/);
    expect(text).toContain('\n\nReturn-Path: <bob@example.net>\r\n');
  });

  test('without its index, too: as it is, and where a chunk is damaged', async () => {
    const place = path.join(store.folder, 'from-tape');
    fs.mkdirSync(place);
    const copy = path.join(place, '#1234');
    fs.copyFileSync(store.erik, copy);
    const all = ['show', 'mailboxes', '--json', '-C', store.configFile];
    const known = await run([...all, '-f', store.erik]);
    const found = await run([...all, '-f', copy]);
    expect(found.stderr).toContain('reading the data file instead');
    // Cyrus's index does not know that one.
    const comparable = ({ stdout }: { stdout: string }) => stdout.replaceAll(/"quotaRoot":[^,]*/g, '');
    expect([found.status, comparable(found)]).toEqual([0, comparable(known)]);
    expect(fs.readdirSync(place)).toEqual(['#1234']);
    const bytes = fs.readFileSync(copy);
    bytes.fill(0xff, 1000, 1100);
    fs.writeFileSync(copy, bytes);
    const damaged = await run(['show', 'chunks', '-f', copy, '-C', store.configFile]);
    expect(damaged).toMatchObject({ status: 65, stderr: expect.stringContaining('is damaged') });
  });

  test('what is not there', async () => {
    const of = ['-u', 'erik', '-C', store.configFile];
    const [mailbox, message, guid, both] = await Promise.all([
      run(['show', 'mailbox', 'user/erik/Sant', ...of]),
      run(['show', 'message', 'f'.repeat(40), ...of]),
      run(['show', 'message', 'Subject', ...of]),
      run(['show', 'chunks', '-f', store.erik, ...of]),
    ]);
    expect([mailbox.status, message.status, guid.status, both.status]).toEqual([65, 65, 64, 64]);
    expect(mailbox.stderr).toContain('NOT_FOUND: cannot find mailbox user/erik/Sant');
    expect(mailbox.stderr).toContain('Did you mean Sent?');
  });
});
