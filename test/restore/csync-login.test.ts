import { describe, expect, test } from 'vitest';
import { chooseMechanism } from '../../src/restore/csync-login.ts';

const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

describe('SCRAM', () => {
  test('gives the answers of RFC 7677, section 3', async () => {
    const sasl = chooseMechanism(
      ['SCRAM-SHA-256'],
      { user: 'user', password: 'pencil' },
      false,
      'rOprNGfwEbeRWgbNEkqO',
    );
    expect(utf8(sasl.initial)).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    const nonce = 'rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0';
    const final = await sasl.respond(Buffer.from(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`));
    expect(utf8(final)).toBe(`c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`);
    expect(sasl.complete).toBe(false);
    const last = await sasl.respond(Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='));
    expect(last).toHaveLength(0);
    expect(sasl.complete).toBe(true);
  });

  test('gives the answers of RFC 5802, section 5', async () => {
    const sasl = chooseMechanism(
      ['SCRAM-SHA-1'],
      { user: 'user', password: 'pencil' },
      false,
      'fyko+d2lbbFgONRv9qkxdawL',
    );
    const nonce = 'fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j';
    const final = await sasl.respond(Buffer.from(`r=${nonce},s=QSXCR+Q6sek8bf92,i=4096`));
    expect(utf8(final)).toBe(`c=biws,r=${nonce},p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=`);
    await sasl.respond(Buffer.from('v=rmF9pqV8S7suAoZWja4dJRkFsKQ='));
    expect(sasl.complete).toBe(true);
  });

  test('says what the real client said to a real server', async () => {
    // The dialogue of the recorded session 11-auth-SCRAM-SHA-256.
    const sasl = chooseMechanism(
      ['PLAIN', 'SCRAM-SHA-1', 'SCRAM-SHA-256'],
      { user: 'backup', password: 'secret' },
      true,
      'qfkX4zhSRJMDd0cln059faHIHieXAZQF',
    );
    const base64 = (text: string) => Buffer.from(text, 'base64');
    const final = await sasl.respond(
      base64(
        'cj1xZmtYNHpoU1JKTURkMGNsbjA1OWZhSElIaWVYQVpRRjFZTncvL1ZzbUtVKzc0NHhVNEp1eUVXbVFvSWlPYVQvLHM9VnRUU0crKzNtcTE5cEtjOU9EYTlTaE1xVVBPcFpscUpjM1ZVdHVWSkMvZz0saT00MDk2',
      ),
    );
    expect(final.toString('base64')).toBe(
      'Yz1iaXdzLHI9cWZrWDR6aFNSSk1EZDBjbG4wNTlmYUhJSGllWEFaUUYxWU53Ly9Wc21LVSs3NDR4VTRKdXlFV21Rb0lpT2FULyxwPU5TaTdleHdtTE15WFBHZjFRSWlleTRyOGgyZEk1U3NjSklWSS9zWHN4QlE9',
    );
    await sasl.respond(base64('dj1LL2ZyUFRiZlNZcGRpd01qU1ZkakVPMEVia0xUaWZoRDBoZnRXNFN2a1BjPQ=='));
    expect(sasl.complete).toBe(true);
  });

  test.each([
    ['another nonce', 'r=other1234,s=QSXCR+Q6sek8bf92,i=4096'],
    ['our nonce alone', 'r=mine,s=QSXCR+Q6sek8bf92,i=4096'],
    ['no rounds', 'r=mine+x,s=QSXCR+Q6sek8bf92,i=0'],
    ['rounds without end', 'r=mine+x,s=QSXCR+Q6sek8bf92,i=999999999'],
    ['something else', 'hello'],
  ])('does not go on with %s', async (_, challenge) => {
    const sasl = chooseMechanism(['SCRAM-SHA-256'], { user: 'u', password: 'p' }, false, 'mine');
    await expect(sasl.respond(Buffer.from(challenge))).rejects.toMatchObject({ code: 'CREDENTIALS_INVALID' });
  });

  test.each(['v=AAAA', 'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=', 'e=invalid-proof', ''])(
    'does not believe a server that proves itself with %j',
    async (proof) => {
      const sasl = chooseMechanism(['SCRAM-SHA-1'], { user: 'u', password: 'p' }, false, 'mine');
      await sasl.respond(Buffer.from('r=mine+x,s=QSXCR+Q6sek8bf92,i=1'));
      await expect(sasl.respond(Buffer.from(proof))).rejects.toMatchObject({ code: 'CREDENTIALS_INVALID' });
      expect(sasl.complete).toBe(false);
    },
  );

  test('escapes the name and prepares both as RFC 5802 asks', () => {
    const sasl = chooseMechanism(['SCRAM-SHA-256'], { user: 'a=b,c\u00aa', password: 'p' }, false, 'n');
    expect(utf8(sasl.initial)).toBe('n,,n=a=3Db=2Cca,r=n');
    expect(() => chooseMechanism(['SCRAM-SHA-256'], { user: 'a\u0007', password: 'p' }, false)).toThrow(
      /control/,
    );
  });
});

describe('chooseMechanism', () => {
  const account = { user: 'u', password: 'p' };

  test('takes the strongest', () => {
    const of = (...offered: string[]) => chooseMechanism(offered, account, true).mechanism;
    expect(of('PLAIN', 'DIGEST-MD5', 'SCRAM-SHA-1', 'SCRAM-SHA-256')).toBe('SCRAM-SHA-256');
    expect(of('PLAIN', 'SCRAM-SHA-1')).toBe('SCRAM-SHA-1');
    expect(of('PLAIN')).toBe('PLAIN');
  });

  test('sends the password itself only where that is allowed', () => {
    expect(() => chooseMechanism(['PLAIN'], account, false)).toThrow(/TLS/);
    expect(utf8(chooseMechanism(['PLAIN'], account, true).initial)).toBe('\0u\0p');
  });

  test('says what the server offers when nothing fits', () => {
    expect(() => chooseMechanism(['GSSAPI'], account, true)).toThrow(/offers GSSAPI/);
    expect(() => chooseMechanism([], account, true)).toThrow(/no mechanism/);
  });
});
