import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeMailboxName } from '../../../src/csync/modified-utf7.ts';
import {
  cutName,
  fileName,
  MAX_NAME_BYTES,
  mailboxNameOf,
  placeMailboxes,
} from '../../../src/restore/files/file-names.ts';
import { foldersOfMaildir, maildirFolder } from '../../../src/restore/files/maildir-names.ts';

/** Names as they may stand in a backup: encoded as they should be, bytes as they are, and all that means something. */
const nameParts = [
  '.',
  '..',
  '/',
  '\\',
  '%',
  '%2E',
  '%=',
  '%~',
  '&',
  '&-',
  '&AC4-',
  '&2AA-',
  '&APw-',
  '.eml',
  '.mbox',
  '\0',
  '\n',
  'inbox',
  'a',
];
const name = fc.oneof(
  fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).map(encodeMailboxName),
  fc.string({
    unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
    minLength: 1,
    maxLength: 30,
  }),
  fc.array(fc.constantFrom(...nameParts), { minLength: 1, maxLength: 6 }).map((parts) => parts.join('')),
);

describe('names of mailboxes as file names', () => {
  test('are safe, and say which mailbox it is', () => {
    fc.assert(
      fc.property(name, (mailbox) => {
        const file = fileName(mailbox);
        expect(file).not.toMatch(/[/\\\p{Cc}]|^\.|\.(eml|mbox|part)$/u);
        expect(file).not.toBe('');
        // As the file system keeps it.
        expect(mailboxNameOf(Buffer.from(file).toString('utf8'))).toBe(mailbox);
      }),
      { numRuns: 2000 },
    );
  });

  test('what people see stays as it is', () => {
    expect(fileName('Entw&APw-rfe')).toBe('Entwürfe');
    expect(fileName('A&-B (1)')).toBe('A&B (1)');
    expect(fileName('..')).toBe('%2E.');
    expect(fileName('a/b')).toBe('a%2Fb');
    // Not the same mailbox as the first, though it looks so.
    expect(fileName(Buffer.from('Entwürfe').toString('latin1'))).toBe('%=Entw%C3%BCrfe');
  });

  test('that are too long are cut to what fits, each in its own way', () => {
    const long = (last: string): string => `${'ü'.repeat(200)}${last}`;
    const [one, two] = [cutName(long('1')), cutName(long('2'))];
    expect(one).not.toBe(two);
    for (const cut of [one, two]) {
      expect(Buffer.byteLength(`${cut}%~12.mbox.part`)).toBeLessThanOrEqual(MAX_NAME_BYTES);
      expect(mailboxNameOf(cut)).toBeUndefined();
    }
  });

  test('no two mailboxes get the same path, and what was changed is noted', () => {
    const mailboxes = [
      { folders: ['Old'] },
      { folders: ['Old'] },
      { folders: ['x'.repeat(300), 'y'] },
      { folders: [] },
    ];
    const { paths, cut } = placeMailboxes({ mailboxes });
    const all = [...paths.values()].map((path) => path.join('/'));
    expect(new Set(all).size).toBe(4);
    expect(all[0]).toBe('INBOX/Old');
    expect(all[1]).toBe('INBOX/Old%~2');
    expect(all[3]).toBe('INBOX');
    expect([...cut]).toEqual([
      ['INBOX/Old%~2', 'INBOX/Old'],
      [all[2], `INBOX/${'x'.repeat(300)}/y`],
    ]);
  });

  test('folders of a Maildir++ are one name each, never that of another', () => {
    fc.assert(
      fc.property(fc.array(name, { maxLength: 4 }), (folders) => {
        const folder = maildirFolder(folders);
        expect(folder).not.toMatch(/[^\x20-\x7e]|[/\\]/);
        expect(folder.toLowerCase()).not.toMatch(/^\.inbox(\.|$)/);
        if (folders.length > 0) expect(folder).toMatch(/^\.[^.]/);
        expect(foldersOfMaildir(folder)).toEqual(folders);
      }),
      { numRuns: 1000 },
    );
    expect(maildirFolder(['Entw&APw-rfe', 'v1.2'])).toBe('.Entw&APw-rfe.v1%2e2');
  });
});
