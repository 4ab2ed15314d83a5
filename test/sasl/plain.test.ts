import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { makeKeys, updateCredentials } from '../../src/sasl/credential-file.ts';
import { CredentialStore } from '../../src/sasl/credentials.ts';
import { createMechanism, type SaslStep } from '../../src/sasl/mechanism.ts';
import { parsePlain } from '../../src/sasl/plain.ts';
import { SaslauthdClient } from '../../src/sasl/saslauthd.ts';

const directory = mkdtempSync(path.join(os.tmpdir(), 'plain-'));
const file = path.join(directory, 'passwd');
const socketPath = path.join(directory, 'mux');
const store = new CredentialStore(file);
afterAll(() => rmSync(directory, { recursive: true }));

beforeAll(async () => {
  const keys = await makeKeys('secret');
  updateCredentials(file, ({ users }) => users.set('anne', keys).set('root', keys));
});

function login(message: string | Uint8Array, saslauthd?: SaslauthdClient): Promise<SaslStep> {
  const mechanism = createMechanism('PLAIN', store, saslauthd, { admins: ['root'] })!;
  return mechanism.step(Buffer.from(message as string));
}

describe('against the credential file', () => {
  test('right, wrong, unknown', async () => {
    expect(await login('\0anne\0secret')).toEqual({ type: 'success', user: 'anne' });
    expect(await login('\0anne\0Secret')).toMatchObject({ type: 'failure' });
    expect(await login('\0bob\0secret')).toMatchObject({ type: 'failure' });
  });

  test('what looks the same is the same', async () => {
    expect(await login('\0\uff41nne\0sec\u00adret')).toEqual({ type: 'success', user: 'anne' });
  });

  test('acting as oneself is allowed to all, as another to admins', async () => {
    expect(await login('anne\0anne\0secret')).toMatchObject({ user: 'anne' });
    expect(await login('root\0anne\0secret')).toEqual({
      type: 'failure',
      reason: 'anne may not act as root',
    });
    expect(await login('anne\0root\0secret')).toMatchObject({ user: 'anne' });
  });

  test('without an initial response the server asks for it', async () => {
    const mechanism = createMechanism('plain', store)!;
    expect(await mechanism.step(null)).toEqual({ type: 'challenge', data: new Uint8Array(0) });
    expect(await mechanism.step(Buffer.from('\0anne\0secret'))).toMatchObject({ type: 'success' });
  });

  test.each(['', 'anne', '\0anne', '\0anne\0', '\0\0secret', 'a\0b\0c\0d', '\0an\u0007ne\0secret'])(
    '%j is malformed',
    async (message) => {
      expect(await login(message)).toMatchObject({ type: 'failure' });
    },
  );

  test('responses at the limit and one over, and bytes that are no UTF-8', () => {
    expect(parsePlain(Buffer.from(`\0u\0${'p'.repeat(3059)}`))).toMatchObject({ authcid: 'u' });
    expect(parsePlain(Buffer.from(`\0u\0${'p'.repeat(3060)}`))).toBe('response too long');
    expect(parsePlain(Buffer.from([0, 0x61, 0, 0xff]))).toBe('response is not UTF-8');
  });

  test('property: fields come out as they went in', () => {
    const field = fc.string({ unit: 'grapheme', maxLength: 100 }).filter((one) => !one.includes('\0'));
    const filled = field.filter((one) => one !== '');
    fc.assert(
      fc.property(field, filled, filled, (authzid, authcid, password) => {
        const message = Buffer.from([authzid, authcid, password].join('\0'));
        expect(parsePlain(message)).toEqual({ authzid, authcid, password });
      }),
    );
  });
});

describe('against saslauthd', () => {
  let daemon: Server | undefined;
  afterEach(() => new Promise((resolve) => (daemon ? daemon.close(resolve) : resolve(undefined))));

  /** A daemon that reads the four strings as saslauthd does, and then does `answer`. */
  function serve(answer: (strings: string[], socket: Socket) => void): Promise<void> {
    daemon = createServer((socket) => {
      let bytes = Buffer.alloc(0);
      socket.on('error', () => {});
      socket.on('data', (more) => {
        bytes = Buffer.concat([bytes, more]);
        const strings: string[] = [];
        let at = 0;
        while (strings.length < 4 && at + 2 <= bytes.length) {
          const end = at + 2 + bytes.readUInt16BE(at);
          if (end > bytes.length) return;
          strings.push(bytes.subarray(at + 2, end).toString());
          at = end;
        }
        if (strings.length === 4 && at === bytes.length) answer(strings, socket);
      });
    });
    return new Promise((resolve) => daemon!.listen(socketPath, resolve));
  }

  function framed(text: string): Buffer {
    return Buffer.concat([Buffer.from([text.length >> 8, text.length & 255]), Buffer.from(text)]);
  }

  test('login, password, service and realm are asked, OK and NO are obeyed', async () => {
    const asked: string[][] = [];
    await serve((strings, socket) => {
      asked.push(strings);
      socket.end(framed(strings[1] === 'letmein' ? 'OK' : 'NO authentication failed'));
    });
    const saslauthd = new SaslauthdClient(socketPath);
    expect(await login('\0bob\0letmein', saslauthd)).toEqual({ type: 'success', user: 'bob' });
    expect(await login('\0bob\0p\u00e4ss', saslauthd)).toMatchObject({ type: 'failure' });
    expect(await login('\0bob@example.com\0letmein', saslauthd)).toMatchObject({ user: 'bob@example.com' });
    expect(asked).toEqual([
      ['bob', 'letmein', 'csync', ''],
      ['bob', 'p\u00e4ss', 'csync', ''],
      ['bob', 'letmein', 'csync', 'example.com'],
    ]);
  });

  test('it is not asked about a password that the file has', async () => {
    await serve((_, socket) => socket.end(framed('NO')));
    expect(await login('\0anne\0secret', new SaslauthdClient(socketPath))).toMatchObject({ type: 'success' });
  });

  test('an answer that comes byte by byte', async () => {
    await serve((_, socket) => {
      socket.setNoDelay(true);
      const bytes = [...framed('OK done')];
      const next = () => {
        const byte = bytes.shift();
        if (byte === undefined) socket.end();
        else socket.write(Buffer.from([byte]), () => setImmediate(next));
      };
      next();
    });
    expect(await new SaslauthdClient(socketPath).check('u', 'p')).toBe(true);
  });

  test('strings at the limit and one over', async () => {
    await serve((strings, socket) => socket.end(framed(strings[1]!.length === 65_535 ? 'OK' : 'NO')));
    const saslauthd = new SaslauthdClient(socketPath);
    expect(await saslauthd.check('u', 'p'.repeat(65_535))).toBe(true);
    expect(await saslauthd.check('u', 'p'.repeat(65_536))).toBe(false);
    expect(await saslauthd.check('u\0', 'p'.repeat(65_535))).toBe(false);
  });

  test.each([
    [
      'closes before the answer',
      (socket: Socket) => socket.end(Buffer.from([0, 5, 79])),
      /closed before the answer/,
    ],
    ['answers neither OK nor NO', (socket: Socket) => socket.end(framed('MAYBE')), /neither OK nor NO/],
    ['says nothing', () => {}, /no answer within 0.05 s/],
  ] as const)("a daemon that %s is unavailable, which is nobody's wrong password", async (_, act, reason) => {
    await serve((_strings, socket) => act(socket));
    const saslauthd = new SaslauthdClient(socketPath, { timeoutMs: 50 });
    const check = login('\0bob\0x', saslauthd);
    await expect(check).rejects.toMatchObject({ code: 'UNAVAILABLE', reason: expect.stringMatching(reason) });
  });

  test('no daemon at all', async () => {
    daemon = undefined;
    const check = new SaslauthdClient(path.join(directory, 'none')).check('u', 'p');
    await expect(check).rejects.toMatchObject({ code: 'UNAVAILABLE', subject: path.join(directory, 'none') });
  });
});
