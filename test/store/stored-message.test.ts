import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import { messages } from '../../src/store/index/queries.ts';
import { readMessage } from '../../src/store/stored-message.ts';
import { guidOf, messageLine, SampleBackup } from '../maintenance/backup-files.ts';

const CAROL = path.join(import.meta.dirname, '../fixtures/backup-sample/carol_fQAmPe');

/** Reads the messages with these GUIDs (by default: all). */
function readAll(backup: SampleBackup, guids?: string[]): Buffer[] {
  const fd = fs.openSync(backup.dataPath, 'r');
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  try {
    return (guids ?? [...messages(index)].map(({ guid }) => guid)).map((guid) => {
      const copies: Buffer[] = [];
      for (const piece of readMessage(fd, index, index.findMessage(guid)!, 'F'))
        copies.push(Buffer.from(piece));
      const bytes = Buffer.concat(copies);
      expect(createHash('sha1').update(bytes).digest('hex')).toBe(guid);
      return bytes;
    });
  } finally {
    index.close();
    fs.closeSync(fd);
  }
}

test('every message of a backup by Cyrus, whose index names only the lines', () => {
  using backup = SampleBackup.copyOf(CAROL);
  const listed = fs.readFileSync(path.join(path.dirname(CAROL), 'carol.list-messages.txt'), 'utf8');
  expect(
    readAll(backup)
      .map((bytes) => guidOf(bytes))
      .sort(),
  ).toEqual(listed.trim().split('\n').sort());
});

test('messages of every size of ours, in lines that hold many', () => {
  const contents = [0, 1, 100, 70_000, 300_000, 1_100_000, 5].map((size, i) =>
    Buffer.alloc(size, `${i} text\r\n`),
  );
  using backup = new SampleBackup([[messageLine(contents.slice(0, 3)), messageLine(contents.slice(3))]]);
  const read = readAll(
    backup,
    contents.map((content) => guidOf(content)),
  );
  expect(read.map((bytes) => bytes.length)).toEqual(contents.map((content) => content.length));
});

test('one that Cyrus stored again behind what we know is looked for in its line', () => {
  using backup = new SampleBackup([[messageLine(['first', 'second'])], [messageLine(['other', 'second'])]]);
  // As Cyrus leaves it: the row names the new line, our own table and state are of before.
  const second = guidOf('second');
  backup.sql(
    `UPDATE cb_message SET content_offset = 1 WHERE message_id = (SELECT id FROM message WHERE guid = '${second}')`,
    "UPDATE cb_state SET value = (SELECT offset FROM chunk WHERE id = 2) WHERE name = 'committed_end'",
  );
  expect(readAll(backup, [second, guidOf('first')]).map(String)).toEqual(['second', 'first']);
});

test('wrong bytes are said to be wrong', () => {
  const line = messageLine(['first message', 'second']);
  line.write('X', line.indexOf('first'));
  using backup = new SampleBackup([[line]]);
  expect(() => readAll(backup, [guidOf('first message')])).toThrow(
    /^cannot read message .* of F: the SHA-1 of its bytes is /,
  );
  backup.sql(
    `UPDATE message SET guid = '${'0'.repeat(40)}' WHERE guid = '${guidOf('second')}'`,
    'DELETE FROM cb_message',
  );
  expect(() => readAll(backup, ['0'.repeat(40)])).toThrow(
    "it is not in the line at 29 of the chunk's content",
  );
});
