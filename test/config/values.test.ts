import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { addressOrOff, listenAddresses } from '../../src/config/addresses.ts';
import { OPTION_LIST, OPTIONS } from '../../src/config/options.ts';
import { ValueError } from '../../src/config/units.ts';
import { integer, switchValue } from '../../src/config/values.ts';

test.each(OPTION_LIST.map(([name, option]) => ({ name, option })))(
  '$name: the default is a value of its type, and prints as what reads back',
  ({ option }) => {
    const text = typeof option.default === 'function' ? option.default() : option.default;
    if (text !== undefined) {
      const value = option.type.parse(text);
      expect(option.type.parse(option.type.print(value))).toEqual(value);
    }
    expect(option.help).toMatch(/^[A-Z].*\.$/);
    expect(option.type.allowed).not.toBe('');
  },
);

test('property: every option gives a value that prints and reads back, or a ValueError', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary', minLength: 1 }),
    fc.constantFrom(
      'yes',
      'off',
      '12',
      '0x10',
      '1h',
      '64K',
      '[::1]:2005/tls',
      'saslauthd',
      'random',
      'disabled',
    ),
  );
  fc.assert(
    fc.property(text, fc.constantFrom(...OPTION_LIST), (value, [, option]) => {
      try {
        const parsed = option.type.parse(value);
        expect(option.type.parse(option.type.print(parsed))).toEqual(parsed);
      } catch (error) {
        expect(error).toBeInstanceOf(ValueError);
      }
    }),
    { numRuns: 1000 },
  );
});

test('switches', () => {
  for (const text of ['yes', 'on', 'true', 't', '1', 'y', 'Yes']) expect(switchValue.parse(text)).toBe(true);
  for (const text of ['no', 'off', 'false', 'f', '0', 'n', 'OFF'])
    expect(switchValue.parse(text)).toBe(false);
  for (const text of ['maybe', '2', 'yess', 'o']) expect(() => switchValue.parse(text)).toThrow(ValueError);
});

test('whole numbers are written as in C, at the limits and not beyond', () => {
  const type = integer(-8, 31);
  expect(['-8', '31', '0x1F', '037', '-0', '+7'].map((text) => type.parse(text))).toEqual([
    -8, 31, 31, 31, 0, 7,
  ]);
  for (const text of ['-9', '32', '08', '1e1', '', '1 ', '0x']) {
    expect(() => type.parse(text)).toThrow(ValueError);
  }
});

describe('what Cyrus treats as something else', () => {
  const parse = (name: keyof typeof OPTIONS, text: string): unknown => OPTIONS[name].type.parse(text);

  test('limits of 0 or more than an int are no limit', () => {
    expect(['0', '-1', '3G', '1K'].map((text) => parse('maxword', text))).toEqual([
      2 ** 31 - 1,
      2 ** 31 - 1,
      2 ** 31 - 1,
      1024,
    ]);
  });

  test('values below the least are the least', () => {
    expect(parse('sync_timeout', '2')).toBe(3000);
    expect(parse('backup_retention', '-1')).toBe(0);
    expect(parse('backup_retention', '2')).toBe(2 * 86_400_000);
    expect(parse('backup_compact_minsize', '-3')).toBe(0);
    expect(parse('backup_compact_maxsize', '3')).toBe(3072);
    expect(parse('backup_compact_work_threshold', '0')).toBe(1);
  });

  test('yes and no are on and off where there is a third choice', () => {
    expect(['yes', '1', 'on', 'no', 'f', 'userid'].map((text) => parse('virtdomains', text))).toEqual([
      'on',
      'on',
      'on',
      'off',
      'off',
      'userid',
    ]);
    expect(() => parse('virtdomains', 'maybe')).toThrow(ValueError);
  });

  test('mechanisms of other plugins are left out, but one must be ours', () => {
    expect(parse('sasl_mech_list', 'plain DIGEST-MD5 scram-sha-256')).toEqual(['SCRAM-SHA-256', 'PLAIN']);
    expect(() => parse('sasl_mech_list', 'GSSAPI')).toThrow(ValueError);
  });

  test('a method of checking passwords that we lack is refused', () => {
    expect(parse('sasl_pwcheck_method', 'auxprop saslauthd')).toEqual(['auxprop', 'saslauthd']);
    expect(() => parse('sasl_pwcheck_method', 'alwaystrue')).toThrow(ValueError);
  });
});

describe('addresses', () => {
  test('hosts, IPv4, IPv6, all, service name, TLS', () => {
    const all = listenAddresses.parse('*:1')[0]!.host;
    expect(['::', '0.0.0.0']).toContain(all);
    expect(listenAddresses.parse('127.0.0.1:2005 [::1]:2005/tls, backup.example.com:csync')).toEqual([
      { host: '127.0.0.1', port: 2005, tls: false },
      { host: '::1', port: 2005, tls: true },
      { host: 'backup.example.com', port: 2005, tls: false },
    ]);
    expect(addressOrOff.parse('off')).toBe('off');
    expect(addressOrOff.parse('localhost:0')).toEqual({ host: 'localhost', port: 0 });
  });

  test.each([
    '2005',
    ':2005',
    '::1:2005',
    '[::1]',
    '[1.2.3.4]:1',
    '1.2.3.4:65536',
    '1.2.3.4:-1',
    '1.2.3:4',
    'h:http',
    'h:1/ssl',
    'h:1/tls/tls',
    'a_-:1',
    'h:1 h',
  ])('%j is refused', (text) => {
    expect(() => listenAddresses.parse(text)).toThrow(ValueError);
  });
});
