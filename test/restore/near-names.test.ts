import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { familiarName, nearNames } from '../../src/restore/near-names.ts';

const RULES = {
  defaultDomain: '',
  virtDomains: 'userid' as const,
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
};

describe('familiarName', () => {
  test.each([
    ['user.anne', 'INBOX'],
    ['user.anne.Sent.2025', 'Sent/2025'],
    ['user.anne.Entw&APw-rfe', 'Entwürfe'],
    ['example.com!user.anne.Sent', 'Sent'],
    ['Board', 'Board'],
    ['DELETED.user.anne.Old.6B04A1C0', 'Old'],
  ])('%s is %s', (mboxname, expected) => {
    expect(familiarName({ mboxname }, RULES)).toBe(expected);
  });
});

describe('nearNames', () => {
  const NAMES = ['INBOX', 'Sent', 'Sent/2025', 'Entwürfe', 'Projects/Board', 'Archive', 'Archives/Old'];
  test.each([
    ['sent', ['Sent', 'Sent/2025']],
    ['user/anne/Sent', ['Sent', 'Sent/2025']],
    ['Entwurfe', ['Entwürfe']],
    ['Board', ['Projects/Board']],
    ['INBOX.Archiv', ['Archive', 'Archives/Old']],
    ['2025', ['Sent/2025']],
    ['Xylophone', []],
  ])('%s', (wanted, expected) => {
    expect(nearNames(wanted, NAMES)).toEqual(expected);
  });

  test('a name with one letter wrong is found, whatever the name', () => {
    fc.assert(
      fc.property(
        fc.stringMatching(/^[a-z]{4,12}$/),
        fc.nat(),
        fc.constantFrom('q', 'Z', ''),
        (name, at, letter) => {
          const i = at % name.length;
          const wrong = name.slice(0, i) + letter + name.slice(i + 1);
          expect(nearNames(wrong, ['INBOX', name, '0000000000000000'])).toContain(name);
        },
      ),
    );
  });
});
