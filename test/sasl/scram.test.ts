import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { printCredentials, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CredentialStore } from '../../src/sasl/credentials.ts';
import { createMechanism, type SaslServerMechanism, type SaslStep } from '../../src/sasl/mechanism.ts';
import { parseClientFinal, parseClientFirst, ScramServer } from '../../src/sasl/scram.ts';
import { deriveKeys } from '../../src/sasl/scram-keys.ts';
import { ScramClient } from './scram-client.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'scram-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Keys with few iterations: what is tested is the exchange, not the cost of deriving. */
const CHEAP = 16;
const NAMES = { sha256: 'SCRAM-SHA-256', sha1: 'SCRAM-SHA-1' } as const;
const store = new CredentialStore(path.join(directory, 'passwd'));

async function add(user: string, password: string): Promise<void> {
  const keys = [
    await deriveKeys('sha256', password, undefined, CHEAP),
    await deriveKeys('sha1', password, undefined, CHEAP),
  ];
  updateCredentials(path.join(directory, 'passwd'), ({ users }) => users.set(user, keys));
}

beforeAll(async () => {
  await add('anne', 'secret');
  await add('a=b,c', 'p\u00a3ss');
  await add('root', 'toor');
});

const send = (server: SaslServerMechanism, text: string) => server.step(Buffer.from(text));
const text = (step: SaslStep) => {
  if (step.type === 'failure') throw new Error(step.reason);
  return Buffer.from(step.data ?? []).toString();
};

describe('vectors of the RFCs', () => {
  async function exchange(
    hash: 'sha256' | 'sha1',
    salt: string,
    nonce: string,
    messages: string[],
  ): Promise<void> {
    const file = path.join(directory, hash);
    const keys = await deriveKeys(hash, 'pencil', Buffer.from(salt, 'base64'), 4096);
    const credentials = { secret: Buffer.alloc(32, 1), users: new Map([['user', [keys]]]) };
    writeFileSync(file, printCredentials(credentials), { mode: 0o600 });
    const server = new ScramServer(hash, new CredentialStore(file), { admins: [], nonce });
    expect(text(await send(server, messages[0]!))).toBe(messages[1]);
    const last = await send(server, messages[2]!);
    expect(last).toMatchObject({ type: 'success', user: 'user' });
    expect(text(last)).toBe(messages[3]);
  }

  test('RFC 5802, section 5', () =>
    exchange('sha1', 'QSXCR+Q6sek8bf92', '3rfcNHYJY1ZVvWVs7j', [
      'n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL',
      'r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096',
      'c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=',
      'v=rmF9pqV8S7suAoZWja4dJRkFsKQ=',
    ]));

  test('RFC 7677, section 3', () =>
    exchange('sha256', 'W22ZaJ0SNY7soEsUEjb6gQ==', '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0', [
      'n,,n=user,r=rOprNGfwEbeRWgbNEkqO',
      'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096',
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
      'v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=',
    ]));
});

interface Attempt {
  user?: string;
  password?: string;
  authzid?: string;
  flag?: string;
  tamper?: (final: string) => string;
}

describe.each(['sha256', 'sha1'] as const)('%s', (hash) => {
  async function login(attempt: Attempt): Promise<{ last: SaslStep; client: ScramClient }> {
    const server = createMechanism(NAMES[hash].toLowerCase(), store, undefined, { admins: ['root'] })!;
    const client = new ScramClient({ hash, user: 'anne', password: 'secret', nonce: 'abc', ...attempt });
    const challenge = await send(server, client.first());
    if (challenge.type === 'failure') return { last: challenge, client };
    const final = client.final(text(challenge));
    return { last: await send(server, attempt.tamper?.(final) ?? final), client };
  }

  test('the right password, after which both sides know each other', async () => {
    const { last, client } = await login({});
    expect(last).toMatchObject({ type: 'success', user: 'anne' });
    expect(client.verify(text(last))).toBe(true);
  });

  test('a client that could bind but sees no offer (gs2 flag y)', async () => {
    expect((await login({ flag: 'y' })).last.type).toBe('success');
  });

  test('names with commas and equals signs, passwords beyond ASCII', async () => {
    expect((await login({ user: 'a=b,c', password: 'p\u00a3ss' })).last).toMatchObject({ user: 'a=b,c' });
  });

  test('wrong password, unknown user', async () => {
    expect((await login({ password: 'Secret' })).last).toEqual({
      type: 'failure',
      reason: 'wrong password for anne',
    });
    expect((await login({ user: 'nobody' })).last).toEqual({
      type: 'failure',
      reason: 'no such user: nobody',
    });
  });

  test('acting as oneself is allowed to all, as another to admins', async () => {
    expect((await login({ authzid: 'anne' })).last).toMatchObject({ user: 'anne' });
    expect((await login({ authzid: 'root' })).last).toEqual({
      type: 'failure',
      reason: 'anne may not act as root',
    });
    expect((await login({ user: 'root', password: 'toor', authzid: 'anne' })).last).toMatchObject({
      user: 'anne',
    });
  });

  test('channel binding is refused', async () => {
    expect((await login({ flag: 'p=tls-unique' })).last).toMatchObject({ type: 'failure' });
    const header = Buffer.from('y,,').toString('base64');
    const { last } = await login({ tamper: (final) => final.replace(/^c=[^,]*/, `c=${header}`) });
    expect(last).toEqual({ type: 'failure', reason: 'channel binding differs' });
  });

  test('another nonce, a proof cut short, other fields', async () => {
    const changes: ((final: string) => string)[] = [
      (final) => final.replace('r=abc', 'r=abd'),
      (final) => final.replace(/p=.*/, 'p=AAAA'),
      (final) => final.replace(/,p=.*/, ''),
      (final) => final.replace(',p=', ',x=1,p='),
      () => '',
    ];
    for (const tamper of changes) expect((await login({ tamper })).last.type).toBe('failure');
  });

  test('a response after the end is refused', async () => {
    const server = createMechanism(NAMES[hash], store)!;
    const client = new ScramClient({ hash, user: 'anne', password: 'secret', nonce: 'abc' });
    const final = client.final(text(await send(server, client.first())));
    expect((await send(server, final)).type).toBe('success');
    expect((await send(server, final)).type).toBe('failure');
  });

  test('without an initial response the server asks for it', async () => {
    const server = createMechanism(NAMES[hash], store)!;
    expect(await server.step(null)).toEqual({ type: 'challenge', data: new Uint8Array(0) });
    expect((await send(server, 'n,,n=anne,r=x')).type).toBe('challenge');
    expect((await server.step(null)).type).toBe('failure');
  });

  test("a user that does not exist has the same salt at every try, and nobody else's", async () => {
    const saltOf = async (user: string) => {
      const first = await send(createMechanism(NAMES[hash], store)!, `n,,n=${user},r=x`);
      return /s=([^,]+)/.exec(text(first))![1];
    };
    expect(await saltOf('ghost')).toBe(await saltOf('ghost'));
    expect(await saltOf('ghost')).not.toBe(await saltOf('spirit'));
    expect(await saltOf('ghost')).toHaveLength((await saltOf('anne'))!.length);
  });

  test('no two exchanges have the same nonce', async () => {
    const nonces = await Promise.all(
      Array.from({ length: 50 }, async () =>
        text(await send(createMechanism(NAMES[hash], store)!, 'n,,n=anne,r=x')),
      ),
    );
    expect(new Set(nonces).size).toBe(50);
  });
});

test.each([
  '',
  'n,,',
  'n,,n=,r=x',
  'n,,n=anne',
  'n,,n=anne,r=',
  'n,,r=x,n=anne',
  'n,n=anne,r=x',
  'x,,n=anne,r=x',
  'n,b=root,n=anne,r=x',
  'n,,m=ext,n=anne,r=x',
  'n,,n=an=ne,r=x',
  'n,,n=an=2cne,r=x',
  'n,a=r=oot,n=anne,r=x',
  'n,,n=anne,r=x y',
  'n,,n=anne,r=\u00e9',
])('the first message %j is malformed', (message) => {
  expect(parseClientFirst(message)).toBeTypeOf('string');
});

test('extensions that are optional are passed over, and signed', () => {
  expect(parseClientFirst('n,,n=anne,r=x,z=1,y=')).toMatchObject({ user: 'anne', bare: 'n=anne,r=x,z=1,y=' });
  expect(parseClientFinal('c=biws,r=x,z=1,p=AAAA')).toMatchObject({ withoutProof: 'c=biws,r=x,z=1' });
});

test('property: names survive escaping', () => {
  const name = fc.string({ minLength: 1, unit: 'grapheme' }).filter((one) => !one.includes('\0'));
  fc.assert(
    fc.property(name, name, (user, authzid) => {
      const client = new ScramClient({ hash: 'sha1', user, authzid, password: 'x', nonce: 'n' });
      expect(parseClientFirst(client.first())).toMatchObject({ user, authzid, nonce: 'n' });
    }),
  );
});

test('property: any bytes, at any step, are a failure or the next challenge', async () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ minLength: 4090, maxLength: 5000 }),
    fc.stringMatching(/^[ny],(a=\w)?,n=anne,r=\w+[\x20-\x7e]{0,5}$/).map((one) => Buffer.from(one)),
    fc.stringMatching(/^c=biws,r=\w+,p=[A-Za-z0-9+/=]{0,50}$/).map((one) => Buffer.from(one)),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { minLength: 1, maxLength: 3 }), async (responses) => {
      const server = createMechanism('SCRAM-SHA-256', store)!;
      for (const response of responses) expect((await server.step(response)).type).not.toBe('success');
    }),
  );
});

test('there is no other mechanism', () => {
  expect(createMechanism('SCRAM-SHA-256-PLUS', store)).toBeUndefined();
  expect(createMechanism('', store)).toBeUndefined();
});
