import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  formatMailboxName,
  fromAdmin,
  isDeletedMailbox,
  isInboxOf,
  mailboxDeletedAt,
  mailboxOwner,
  type NameRules,
  parseMailboxName,
  toAdmin,
  userInbox,
} from '../../src/csync/mailbox-name.ts';

const SLASHES: NameRules = {
  defaultDomain: 'example.org',
  virtDomains: 'userid',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
};
const DOTS: NameRules = { ...SLASHES, unixHierarchySep: false };

describe('mailboxOwner', () => {
  it.each([
    ['user.anne', 'anne'],
    ['user.anne.Sent', 'anne'],
    ['user.anne.Sent.2024', 'anne'],
    ['user.dora^m.Sent', 'dora.m'],
    ['example.com!user.anne', 'anne@example.com'],
    ['example.com!user.dora^m.Sent', 'dora.m@example.com'],
    ['example.org!user.anne', 'anne'],
    ['user.anne@example^net', 'anne@example.net'],
    ['DELETED.user.anne.5F3A1B2C', 'anne'],
    ['DELETED.user.x.Old.5F3A1B2C', 'x'],
    ['DELETED.user.dora^m.Old.Sub.5F3A1B2C', 'dora.m'],
    ['example.com!DELETED.user.anne.Old.5F3A1B2C', 'anne@example.com'],
    ['DELETED.shared.announce.5F3A1B2C', '%SHARED'],
    ['DELETED.user.5F3A1B2C', '%SHARED'],
    ['DELETED.user', '%SHARED'],
    ['DELETED', '%SHARED'],
    ['user', '%SHARED'],
    ['user.', '%SHARED'],
    ['shared.announce', '%SHARED'],
    ['example.com!shared', '%SHARED'],
    ['users.anne', '%SHARED'],
    ['User.anne', '%SHARED'],
    ['shared.user.anne', '%SHARED'],
    ['deleted.user.anne.5F3A1B2C', '%SHARED'],
    ['', '%SHARED'],
  ])('of %s is %s', (name, owner) => {
    expect(mailboxOwner(name, SLASHES)).toBe(owner);
    expect(mailboxOwner(name, DOTS)).toBe(owner);
  });

  it('follows deletedprefix', () => {
    const rules = { ...SLASHES, deletedPrefix: 'BIN' };
    expect(mailboxOwner('BIN.user.x.Old.5F3A1B2C', rules)).toBe('x');
    expect(mailboxOwner('DELETED.user.x.Old.5F3A1B2C', rules)).toBe('%SHARED');
  });

  it('of the INBOX of a userid is that userid', () => {
    const userid = fc.stringMatching(/^[a-z0-9_.+-]*[a-z0-9](@[a-z0-9.-]*[a-z])?$/);
    const config = fc.constantFrom<NameRules['virtDomains']>('off', 'userid', 'on');
    fc.assert(
      fc.property(userid, config, (user, virtDomains) => {
        const rules = { ...SLASHES, virtDomains };
        const expected = virtDomains === 'off' ? user : user.replace(/@example\.org$/, '');
        expect(mailboxOwner(userInbox(user, rules), rules)).toBe(expected);
        expect(isInboxOf(userInbox(user, rules), expected, rules)).toBe(true);
      }),
    );
  });
});

describe('deleted mailboxes', () => {
  it('say when they were deleted', () => {
    expect(mailboxDeletedAt('DELETED.user.x.Old.5F3A1B2C', SLASHES)).toBe(0x5f3a1b2c);
    expect(mailboxDeletedAt('DELETED.user.x.Old.zzz', SLASHES)).toBeUndefined();
    expect(mailboxDeletedAt('user.x.Old.5F3A1B2C', SLASHES)).toBeUndefined();
    expect(isDeletedMailbox('DELETED.user.x.5F3A1B2C', SLASHES)).toBe(true);
    expect(isDeletedMailbox('example.com!DELETED.user.x.5F3A1B2C', SLASHES)).toBe(true);
    expect(isDeletedMailbox('user.DELETED.x', SLASHES)).toBe(false);
    expect(isDeletedMailbox('DELETED.x.5F3A1B2C', SLASHES)).toBe(true);
    expect(isDeletedMailbox('DELETED.5F3A1B2C', SLASHES)).toBe(false);
  });

  it('are nobody’s INBOX', () => {
    expect(isInboxOf('user.x', 'x', SLASHES)).toBe(true);
    expect(isInboxOf('user.x.Sent', 'x', SLASHES)).toBe(false);
    expect(isInboxOf('user.x', 'y', SLASHES)).toBe(false);
    expect(isInboxOf('DELETED.user.x.5F3A1B2C', 'x', SLASHES)).toBe(false);
    expect(isInboxOf('shared', '%SHARED', SLASHES)).toBe(false);
  });
});

describe('the admin namespace', () => {
  it.each([
    ['user.anne', 'user/anne', 'user.anne'],
    ['user.anne.Sent', 'user/anne/Sent', 'user.anne.Sent'],
    ['user.dora^m.v1^2', 'user/dora.m/v1.2', 'user.dora^m.v1^2'],
    ['example.com!user.anne.Sent', 'user/anne/Sent@example.com', 'user.anne.Sent@example.com'],
    ['example.com!user.dora^m', 'user/dora.m@example.com', 'user.dora^m@example.com'],
    ['DELETED.user.x.Old.5F3A1B2C', 'DELETED/user/x/Old/5F3A1B2C', 'DELETED.user.x.Old.5F3A1B2C'],
    [
      'example.com!DELETED.user.x.Old.5F3A1B2C',
      'DELETED/user/x/Old/5F3A1B2C@example.com',
      'DELETED.user.x.Old.5F3A1B2C@example.com',
    ],
    ['shared.announce', 'shared/announce', 'shared.announce'],
    ['user.x.Gr&APYA3w-e', 'user/x/Gr&APYA3w-e', 'user.x.Gr&APYA3w-e'],
  ])('writes %s as %s and %s', (internal, slashes, dots) => {
    expect(toAdmin(internal, SLASHES)).toBe(slashes);
    expect(fromAdmin(slashes, SLASHES)).toBe(internal);
    expect(toAdmin(internal, DOTS)).toBe(dots);
    expect(fromAdmin(dots, DOTS)).toBe(internal);
  });

  it('leaves the default domain off', () => {
    expect(toAdmin('example.org!user.anne', SLASHES)).toBe('user/anne');
    expect(fromAdmin('user/anne@example.org', SLASHES)).toBe('user.anne');
  });

  it('without virtual domains an @ belongs to the name', () => {
    const rules: NameRules = { ...SLASHES, virtDomains: 'off' };
    expect(fromAdmin('user/anne@example.com/Sent', rules)).toBe('user.anne@example^com.Sent');
    expect(toAdmin('user.anne@example^com.Sent', rules)).toBe('user/anne@example.com/Sent');
  });

  it.each([
    ['', SLASHES],
    ['/', SLASHES],
    ['user/a^b', SLASHES],
    ['user/a!b', SLASHES],
    ['user/a@', SLASHES],
    ['user/a@b!c', SLASHES],
    ['user/a\n', SLASHES],
    ['user.a/b', DOTS],
    ['...', DOTS],
  ])('refuses %j', (name, rules) => {
    expect(() => fromAdmin(name, rules)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });

  it('goes both ways for every internal name', () => {
    const part = fc.stringMatching(/^[A-Za-z0-9 &,_^-]*[A-Za-z0-9]$/);
    const domain = fc.option(fc.constantFrom('example.com', 'a.b.example'), { nil: undefined });
    fc.assert(
      fc.property(
        domain,
        fc.array(part, { minLength: 1, maxLength: 5 }),
        fc.boolean(),
        (dom, parts, user) => {
          const internal = `${dom === undefined ? '' : `${dom}!`}${user ? 'user.' : ''}${parts.join('.')}`;
          for (const rules of [SLASHES, DOTS]) {
            expect(fromAdmin(toAdmin(internal, rules), rules)).toBe(internal);
            expect(formatMailboxName(parseMailboxName(internal, rules), rules)).toBe(internal);
          }
        },
      ),
    );
  });
});
