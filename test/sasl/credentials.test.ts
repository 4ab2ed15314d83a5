import { createHook } from 'node:async_hooks';
import { execFile } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { ensureEmbeddedDirectories } from '../../src/config/embedded.ts';
import { loadConfig } from '../../src/config/load.ts';
import { BackupError } from '../../src/platform/errors.ts';
import {
  checkUserName,
  makeKeys,
  parseCredentials,
  printCredentials,
  updateCredentials,
} from '../../src/sasl/credential-file.ts';
import { CredentialStore } from '../../src/sasl/credentials.ts';
import { ensureFirstCredentials } from '../../src/sasl/first-credentials.ts';
import { deriveKeys, parseKeys, printKeys, type ScramKeys } from '../../src/sasl/scram-keys.ts';

let directory: string;
let file: string;
beforeEach(() => {
  directory = mkdtempSync(path.join(os.tmpdir(), 'credentials-'));
  file = path.join(directory, 'passwd');
});
afterEach(() => rmSync(directory, { recursive: true }));

const cheap = async (password: string) => [await deriveKeys('sha256', password, undefined, 1)];
function put(user: string, keys: ScramKeys[]): void {
  updateCredentials(file, ({ users }) => users.set(user, keys));
}

describe('the text', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
  const keysOf = <H extends 'sha256' | 'sha1'>(hash: H, length: number) =>
    fc.record({
      hash: fc.constant(hash),
      iterations: fc.integer({ min: 1, max: 65_536 }),
      salt: fc.uint8Array({ minLength: 1, maxLength: 40 }),
      storedKey: bytes(length),
      serverKey: bytes(length),
    });
  const user = fc.stringMatching(/^[a-z0-9.@_+\u00e9-]{1,20}$/);
  const pair = fc.tuple(keysOf('sha256', 32), keysOf('sha1', 20));

  const plain = (keys: ScramKeys) => ({
    ...keys,
    salt: [...keys.salt],
    storedKey: [...keys.storedKey],
    serverKey: [...keys.serverKey],
  });

  test('property: what is printed is read back', () => {
    fc.assert(
      fc.property(
        bytes(32),
        fc.uniqueArray(fc.tuple(user, pair), { selector: ([name]) => name }),
        (secret, list) => {
          const text = printCredentials({ secret, users: new Map(list) });
          const read = parseCredentials(text, 'f');
          expect([...read.secret]).toEqual([...secret]);
          expect([...read.users].map(([name, keys]) => [name, keys.map(plain)])).toEqual(
            list.map(([name, keys]) => [name, keys.map(plain)]),
          );
        },
      ),
    );
  });

  test('property: any text is read or refused with CREDENTIALS_INVALID', () => {
    const line = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.tuple(user, pair).map(([name, keys]) => [name, ...keys.map(printKeys)].join(' ')),
    );
    fc.assert(
      fc.property(bytes(32), fc.array(line), (secret, lines) => {
        const text = printCredentials({ secret, users: new Map() }) + lines.join('\n');
        try {
          parseCredentials(text, 'f');
        } catch (error) {
          expect(error).toBeInstanceOf(BackupError);
          expect(error).toMatchObject({
            code: 'CREDENTIALS_INVALID',
            subject: expect.stringMatching(/^f:\d+$/),
          });
        }
      }),
    );
  });

  test('property: of keys with a byte changed none is read as the old ones', () => {
    fc.assert(
      fc.property(keysOf('sha256', 32), fc.nat(), fc.integer({ min: 32, max: 126 }), (keys, at, code) => {
        const text = printKeys(keys);
        const index = at % text.length;
        const changed = text.slice(0, index) + String.fromCharCode(code) + text.slice(index + 1);
        const read = parseKeys(changed);
        if (changed !== text && read) expect(plain(read)).not.toEqual(plain(keys));
      }),
    );
  });

  test('iterations at the limit and one over', () => {
    const text = (count: number) => `SCRAM-SHA-1$${count}:AA==$${'A'.repeat(27)}=:${'A'.repeat(27)}=`;
    expect(parseKeys(text(65_536))?.iterations).toBe(65_536);
    expect(parseKeys(text(65_537))).toBeUndefined();
    expect(parseKeys(text(0))).toBeUndefined();
  });

  test('errors name the line', async () => {
    put('anne', await cheap('x'));
    const [header, line] = readFileSync(file, 'utf8').split('\n');
    const cases: [string, number][] = [
      ['', 0],
      ['something else', 1],
      [`${header}x\n`, 1],
      [`${header}\n\n# note\nbob SCRAM\n`, 4],
      [`${header}\nbob\n`, 2],
      [`${header}\n${line}\n${line}\n`, 3],
      [`${header}\n ${line}\n`, 2],
      [`${header}\n${line} ${line!.slice(5)}\n`, 2],
    ];
    for (const [text, number] of cases) {
      if (number === 0) expect(parseCredentials(text, 'f').users.size).toBe(0);
      else expect(() => parseCredentials(text, 'f')).toThrow(`f:${number}:`);
    }
  });
});

describe('changes', () => {
  test('the file is made for its owner alone, holds no password and leaves nothing beside it', async () => {
    const keys = await makeKeys('correct horse');
    put('anne', keys);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const text = readFileSync(file, 'utf8');
    expect(text).toMatch(
      /^csync-backup credentials 1 \S{44}\nanne SCRAM-SHA-256\$10000:\S+ SCRAM-SHA-1\$10000:\S+\n$/,
    );
    for (const form of ['correct horse', Buffer.from('correct horse').toString('base64')])
      expect(text).not.toContain(form);
    expect(readdirSync(directory)).toEqual(['passwd']);
  });

  test('the owner may let the group read; that stays so', async () => {
    put('anne', await cheap('x'));
    chmodSync(file, 0o640);
    put('bob', await cheap('x'));
    expect(statSync(file).mode & 0o777).toBe(0o640);
  });

  test.each([0o644, 0o604, 0o660, 0o620, 0o602, 0o601])('a file of mode %o is refused', async (mode) => {
    put('anne', await cheap('x'));
    chmodSync(file, mode);
    expect(() => updateCredentials(file, ({ users }) => users.delete('anne'))).toThrow(/chmod 600/);
    await expect(new CredentialStore(file).checkPassword('anne', 'x')).rejects.toMatchObject({
      code: 'CREDENTIALS_INVALID',
    });
  });

  test('a new file belongs to the owner of its directory, an old one to its own', async () => {
    const root = process.getuid?.() === 0;
    if (root) chownSync(directory, 1234, 1235);
    put('anne', await cheap('x'));
    expect(statSync(file)).toMatchObject({ uid: statSync(directory).uid, gid: statSync(directory).gid });
    if (root) chownSync(file, 4321, 4322);
    const { uid, gid } = statSync(file);
    put('bob', await cheap('x'));
    expect(statSync(file)).toMatchObject({ uid, gid });
  });

  test('a symbolic link stays one', async () => {
    const link = path.join(directory, 'link');
    put('anne', await cheap('x'));
    symlinkSync(file, link);
    const keys = await cheap('y');
    updateCredentials(link, ({ users }) => users.set('bob', keys));
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect([...parseCredentials(readFileSync(file, 'utf8'), file).users.keys()]).toEqual(['anne', 'bob']);
  });

  test('undefined leaves the file as it is', async () => {
    put('anne', await cheap('x'));
    const before = statSync(file);
    expect(updateCredentials(file, ({ users }) => void users.delete('anne'))).toBeUndefined();
    expect(statSync(file).ino).toBe(before.ino);
    expect(readFileSync(file, 'utf8')).toContain('anne');
  });

  test("the decoys' secret survives changes", async () => {
    put('anne', await cheap('x'));
    const header = readFileSync(file, 'utf8').split('\n')[0];
    put('bob', await cheap('x'));
    expect(readFileSync(file, 'utf8').split('\n')[0]).toBe(header);
  });

  test('a directory that is not there is an error that names the file', async () => {
    const lost = path.join(directory, 'none', 'passwd');
    expect(() => updateCredentials(lost, ({ users }) => users.size)).toThrow(lost);
  });

  test('processes that change it at the same time lose nothing', async () => {
    const module = path.join(import.meta.dirname, '../../src/sasl/credential-file.ts');
    const keysModule = path.join(import.meta.dirname, '../../src/sasl/scram-keys.ts');
    const program = `
      import { updateCredentials } from ${JSON.stringify(module)};
      import { deriveKeys } from ${JSON.stringify(keysModule)};
      const [file, name] = process.argv.slice(1);
      const keys = [await deriveKeys('sha1', 'x', undefined, 1)];
      for (let i = 0; i < 5; i++) updateCredentials(file, ({ users }) => users.set(name + i, keys));
    `;
    const run = (name: string) =>
      promisify(execFile)(process.execPath, ['--input-type=module', '-e', program, file, name]);
    await Promise.all(['a', 'b', 'c'].map(run));
    const names = [...parseCredentials(readFileSync(file, 'utf8'), file).users.keys()].sort();
    expect(names).toEqual(['a', 'b', 'c'].flatMap((name) => [0, 1, 2, 3, 4].map((i) => name + i)));
  });
});

test('names are prepared, and may hold nothing that splits a line', () => {
  expect(checkUserName('\uff41nne@example.com')).toBe('anne@example.com');
  for (const name of ['', 'a b', 'a\tb', '#a', 'a\n', '\u00a0']) {
    expect(() => checkUserName(name)).toThrow(BackupError);
  }
});

test('passwords that SASLprep prohibits are refused', async () => {
  for (const password of ['', '\u0007', 'a\nb']) {
    await expect(makeKeys(password)).rejects.toMatchObject({ code: 'BAD_PARAMETERS' });
  }
});

describe('a running server', () => {
  test('sees each change at the next login', async () => {
    const store = new CredentialStore(file);
    expect(await store.checkPassword('anne', 'one')).toBe(false);
    put('anne', await cheap('one'));
    expect(await store.checkPassword('anne', 'one')).toBe(true);
    put('anne', await cheap('two'));
    expect(await store.checkPassword('anne', 'one')).toBe(false);
    expect(await store.checkPassword('anne', 'two')).toBe(true);
    updateCredentials(file, ({ users }) => users.delete('anne'));
    expect(await store.checkPassword('anne', 'two')).toBe(false);
    rmSync(file);
    expect((await store.scramKeys('anne', 'sha256')).known).toBe(false);
  });

  test('derives the keys of a password once, and those of a wrong one each time', async () => {
    put('anne', await cheap('one'));
    put('bert', await cheap('two'));
    const store = new CredentialStore(file);
    let derived = 0;
    const counter = createHook({
      init: (_id, type) => void (type === 'PBKDF2REQUEST' && derived++),
    }).enable();
    onTestFinished(() => void counter.disable());
    const costs = async (user: string, password: string, isRight: boolean): Promise<number> => {
      derived = 0;
      expect(await store.checkPassword(user, password)).toBe(isRight);
      return derived;
    };
    expect(await costs('anne', 'one', true)).toBe(1);
    expect(await costs('anne', 'one', true)).toBe(0);
    expect(await costs('anne', 'two', false)).toBe(1);
    expect(await costs('anne', 'two', false)).toBe(1);
    expect(await costs('bert', 'one', false)).toBe(1);
    expect(await costs('dora', 'one', false)).toBe(1);
    expect(await costs('anne', 'one', true)).toBe(0);
    // Whatever changes in the file, nothing that was known of it counts any more.
    put('cora', await cheap('three'));
    expect(await costs('anne', 'one', true)).toBe(1);
  });

  test('sees a change in place of the same length', async () => {
    put('anne', await cheap('one'));
    put('bert', await cheap('one'));
    const store = new CredentialStore(file);
    expect(await store.checkPassword('bert', 'one')).toBe(true);
    writeFileSync(file, readFileSync(file, 'utf8').replace('bert', 'cora'));
    expect(await store.checkPassword('bert', 'one')).toBe(false);
    expect(await store.checkPassword('cora', 'one')).toBe(true);
  });

  test('does not go on with old credentials when the file is broken', async () => {
    put('anne', await cheap('one'));
    const store = new CredentialStore(file);
    expect(await store.checkPassword('anne', 'one')).toBe(true);
    writeFileSync(file, 'garbage');
    await expect(store.checkPassword('anne', 'one')).rejects.toMatchObject({ code: 'CREDENTIALS_INVALID' });
  });

  test('has decoys with the shape of real keys', async () => {
    put('anne', await makeKeys('x'));
    const store = new CredentialStore(file);
    for (const hash of ['sha256', 'sha1'] as const) {
      const [real, decoy] = [await store.scramKeys('anne', hash), await store.scramKeys('ghost', hash)];
      expect([real.known, decoy.known]).toEqual([true, false]);
      for (const field of ['salt', 'storedKey', 'serverKey'] as const) {
        expect(decoy.keys[field]).toHaveLength(real.keys[field].length);
      }
      expect(decoy.keys.iterations).toBe(real.keys.iterations);
    }
    const again = new CredentialStore(file);
    expect((await again.scramKeys('ghost', 'sha1')).keys).toEqual(
      (await store.scramKeys('ghost', 'sha1')).keys,
    );
  });
});

describe('the first start with the embedded configuration', () => {
  test('makes one password, once, that works', async () => {
    const config = loadConfig({ systemFile: path.join(directory, 'none'), cwd: directory });
    ensureEmbeddedDirectories(config);
    const first = await ensureFirstCredentials(config);
    expect(first).toMatchObject({ user: 'backup', password: expect.stringMatching(/^[\w-]{24}$/) });
    expect(await new CredentialStore(config.passwdFile).checkPassword('backup', first!.password)).toBe(true);
    expect(await ensureFirstCredentials(config)).toBeUndefined();
    updateCredentials(config.passwdFile, ({ users }) => users.delete('backup'));
    expect(await ensureFirstCredentials(config)).toBeUndefined();
  });

  test('makes none with a configuration file', async () => {
    const conf = path.join(directory, 'imapd.conf');
    writeFileSync(conf, `configdirectory: ${directory}\nbackuppartition-a: ${directory}\n`);
    expect(await ensureFirstCredentials(loadConfig({ file: conf }))).toBeUndefined();
    expect(readdirSync(directory)).toEqual(['imapd.conf']);
  });
});
