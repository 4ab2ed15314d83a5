import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  MaildirKeywords,
  maildirBase,
  maildirFlags,
  parseMaildirName,
} from '../../../src/restore/files/maildir-names.ts';

/** As Dovecot reads them. */
function flagsOf(letters: string, keywordsFile: string): string[] {
  const system: Record<string, string> = {
    D: '\\Draft',
    F: '\\Flagged',
    R: '\\Answered',
    S: '\\Seen',
    T: '\\Deleted',
  };
  const keywords = new Map(keywordsFile.split('\n').map((line) => line.split(' ', 2) as [string, string]));
  return [...letters].flatMap(
    (letter) => system[letter] ?? keywords.get(String(letter.charCodeAt(0) - 0x61)) ?? [],
  );
}

test('flags and keywords come back from letters and dovecot-keywords', () => {
  const flag = fc.constantFrom(
    '\\Seen',
    '\\Answered',
    '\\Flagged',
    '\\Draft',
    '\\Deleted',
    '$Forwarded',
    '$Junk',
    'NonJunk',
    'k1',
    'k2',
  );
  fc.assert(
    fc.property(fc.array(fc.uniqueArray(flag), { maxLength: 20 }), (messages) => {
      const keywords = new MaildirKeywords();
      const letters = messages.map((flags) => maildirFlags(flags, keywords));
      for (const [at, flags] of messages.entries()) {
        expect(letters[at]).toBe([...letters[at]!].sort().join(''));
        expect(flagsOf(letters[at]!, keywords.text).sort()).toEqual([...flags].sort());
      }
    }),
  );
  expect(maildirFlags(['$Forwarded', '\\Seen'], new MaildirKeywords())).toBe('PSa');
});

test('letters that have been given stay, and the 27th keyword is named', () => {
  const keywords = new MaildirKeywords('0 $Junk\n3 work\n');
  expect(maildirFlags(['work', '$junk'], keywords)).toBe('ad');
  expect(keywords.changed).toBe(false);
  const many = Array.from({ length: 30 }, (_, i) => `k${i}`);
  expect(maildirFlags(many, keywords)).toBe('efghijklmnopqrstuvwxyz');
  expect([...keywords.lost]).toEqual(['k22', 'k23', 'k24', 'k25', 'k26', 'k27', 'k28', 'k29']);
  expect(new MaildirKeywords(keywords.text).text).toBe(keywords.text);
});

test('a message is known by its name whatever flags it has got', () => {
  const guid = 'ab'.repeat(20);
  const base = maildirBase({ internaldate: 5, uid: 7, guid });
  for (const flags of ['', ':2,', ':2,FSa']) {
    expect(parseMaildirName(`${base},S=12${flags}`)).toEqual({ uid: 7, guid, size: 12 });
  }
  expect(parseMaildirName('1276528487.M364837P9451.kurkku,S=1355,W=2394:2,S')).toBeUndefined();
});
