import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { BackupIndex, type MessageLocation } from '../../src/store/index/backup-index.ts';
import { messages } from '../../src/store/index/queries.ts';
import { messagesInOrder } from '../../src/store/messages-in-order.ts';
import { guidOf, messageLine, SampleBackup } from '../maintenance/backup-files.ts';

const CAROL = path.join(import.meta.dirname, '../fixtures/backup-sample/carol_fQAmPe');

interface Found {
  guid: string;
  bytes: Buffer | undefined;
  damage: string | undefined;
}

/** @param pick which of all messages, in which order */
function readAll(
  backup: SampleBackup,
  maxBytes: number,
  pick: (all: MessageLocation[]) => MessageLocation[] = (all) => all,
): Found[] {
  const fd = fs.openSync(backup.dataPath, 'r');
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  try {
    const all = [...messages(index)].map(({ guid }) => index.findMessage(guid)!);
    const options = { fd, index, path: backup.dataPath, maxBytes };
    return [...messagesInOrder(pick(all), options)].map(({ location, bytes, damage }) => ({
      guid: location.guid,
      bytes,
      damage: damage?.code,
    }));
  } finally {
    index.close();
    fs.closeSync(fd);
  }
}

test('all of a backup that Cyrus wrote, each once, whole', () => {
  using backup = SampleBackup.copyOf(CAROL);
  const listed = fs.readFileSync(path.join(path.dirname(CAROL), 'carol.list-messages.txt'), 'utf8');
  const found = readAll(backup, 1 << 20, (all) => all.toReversed());
  for (const { guid, bytes } of found) expect(guidOf(bytes!)).toBe(guid);
  expect(found.map(({ guid }) => guid).sort()).toEqual(listed.trim().split('\n').sort());
});

test('some of ours, far from each other and near, in the order of the file; too long ones are only named', () => {
  const contents = Array.from({ length: 60 }, (_, i) =>
    Buffer.alloc([1, 10, 5_000, 400_000, 1_200_000][i % 5]!, `${String.fromCharCode(64 + i)} text\r\n`),
  );
  using backup = new SampleBackup([
    [messageLine(contents.slice(0, 20)), messageLine(contents.slice(20, 40))],
    [messageLine(contents.slice(40))],
  ]);
  const order = [...new Set(contents.map((content) => guidOf(content)))];
  for (const step of [1, 7, 13]) {
    const wanted = order.filter((_, i) => i % step === 0);
    const found = readAll(backup, 1_000_000, (all) =>
      all.filter(({ guid }) => wanted.includes(guid)).sort((a, b) => (a.guid < b.guid ? -1 : 1)),
    );
    expect(found.map(({ guid }) => guid)).toEqual(wanted);
    for (const { guid, bytes } of found) {
      const content = contents.find((one) => guidOf(one) === guid)!;
      expect(bytes?.equals(content)).toBe(content.length > 1_000_000 ? undefined : true);
    }
  }
});

test('what is damaged is named, and the rest is there', () => {
  const contents = Array.from({ length: 10 }, (_, i) => `${i} ${'some text '.repeat(20)}`);
  using backup = new SampleBackup([[messageLine(contents)]]);
  const wrong = guidOf('not in the file');
  backup.sql(`UPDATE message SET guid = '${wrong}' WHERE guid = '${guidOf(contents[4]!)}'`);
  const found = readAll(backup, 1 << 20);
  expect(found.filter(({ bytes }) => bytes !== undefined)).toHaveLength(9);
  expect(found.filter(({ damage }) => damage !== undefined)).toEqual([
    { guid: wrong, bytes: undefined, damage: 'CHUNK_CORRUPT' },
  ]);
});
