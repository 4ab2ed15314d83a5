import { afterEach, describe, expect, test } from 'vitest';
import { CsyncClient } from '../../src/restore/csync-client.ts';
import { CERT, GREETING, type ScriptedPeer, ScriptedServer } from './scripted-server.ts';

const GUID = '85f3068696564bcd9c845affa08553d000a8928b';
const OTHER = '166dd47f63524ecdfa462059119ad2ca92876a51';
const account = { user: 'backup', password: 'secret' };
const LOGIN = `AUTHENTICATE PLAIN ${Buffer.from('\0backup\0secret').toString('base64')}`;

let server: ScriptedServer | undefined;
const clients: CsyncClient[] = [];

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server?.stop();
  expect(server?.failures ?? []).toEqual([]);
  server = undefined;
});

/** Greets, then answers each command as `answer` says; undefined ends the connection. */
function answering(answer: (command: string) => string | undefined, seen: string[] = []) {
  return async (peer: ScriptedPeer): Promise<void> => {
    peer.send(GREETING);
    for (let command = await peer.command(); command !== null; command = await peer.command()) {
      seen.push(command);
      const reply = answer(command);
      if (reply === undefined) return peer.close();
      peer.send(reply);
    }
  };
}

async function open(script: (peer: ScriptedPeer) => Promise<void>): Promise<CsyncClient> {
  server = await ScriptedServer.start(script);
  const client = await CsyncClient.open(server.endpoint);
  clients.push(client);
  return client;
}

describe('connecting', () => {
  test('reads the greeting', async () => {
    const client = await open(answering(() => 'OK\r\n'));
    expect(client.greeting).toEqual({
      saslMechanisms: ['PLAIN'],
      capabilities: ['STARTTLS', 'COMPRESS DEFLATE'],
      text: 'host test',
    });
    expect(client.offers('compress deflate')).toBe(true);
    expect(client.offers('SIEVE-MAILBOX')).toBe(false);
  });

  test('is refused by a server that says good-bye', async () => {
    server = await ScriptedServer.start(async (peer) => peer.send('* BYE too many connections\r\n'));
    await expect(CsyncClient.open(server.endpoint)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      reason: expect.stringContaining('too many connections'),
    });
  });

  test('says that nobody listens', async () => {
    const stopped = await ScriptedServer.start(async () => {});
    const { endpoint } = stopped;
    await stopped.stop();
    await expect(CsyncClient.open(endpoint)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      subject: expect.any(String),
    });
  });

  test('gives up on a server that does not answer in time', async () => {
    server = await ScriptedServer.start(async () => {});
    await expect(CsyncClient.open({ ...server.endpoint, timeoutMs: 50 })).rejects.toThrow(
      /says nothing for 0.05 seconds/,
    );
  });

  test('logs in by PLAIN where that is allowed', async () => {
    const seen: string[] = [];
    server = await ScriptedServer.start(answering(() => 'OK Success (no protection)\r\n', seen));
    clients.push(await CsyncClient.connect({ ...server.endpoint, account, allowPlaintext: true }));
    expect(seen).toEqual([LOGIN]);
  });

  test('does not send the password in clear unasked', async () => {
    const seen: string[] = [];
    server = await ScriptedServer.start(answering(() => 'OK\r\n', seen));
    await expect(CsyncClient.connect({ ...server.endpoint, account })).rejects.toMatchObject({
      code: 'CREDENTIALS_INVALID',
    });
    expect(seen).toEqual([]);
  });

  test('reports refused credentials', async () => {
    const client = await open(answering(() => 'NO authentication failure\r\n'));
    await expect(client.login(account, true)).rejects.toMatchObject({
      code: 'CREDENTIALS_INVALID',
      reason: expect.stringContaining('authentication failure'),
    });
  });

  test('does not believe an OK without the proof of SCRAM', async () => {
    server = await ScriptedServer.start(async (peer) => {
      peer.send('* SASL SCRAM-SHA-256\r\n* OK host\r\n');
      await peer.command();
      peer.send('OK Success\r\n');
    });
    await expect(CsyncClient.connect({ ...server.endpoint, account })).rejects.toThrow(/did not prove/);
  });

  test('secures itself by STARTTLS, and reads the greeting anew', async () => {
    const seen: (string | null)[] = [];
    server = await ScriptedServer.start(async (peer) => {
      peer.send('* STARTTLS\r\n* OK host\r\n');
      seen.push(await peer.command());
      peer.send('OK begin\r\n');
      peer.startTls();
      peer.send('* SASL PLAIN\r\n* OK host secure\r\n');
      seen.push(await peer.command());
      peer.send('OK Success\r\n');
    });
    const tlsOptions = { ca: CERT, checkServerIdentity: () => undefined };
    const client = await CsyncClient.connect({ ...server.endpoint, account, startTls: true, tlsOptions });
    clients.push(client);
    expect(client.greeting).toEqual({ saslMechanisms: ['PLAIN'], capabilities: [], text: 'host secure' });
    expect(seen).toEqual(['STARTTLS', LOGIN]);
  });

  test('does not go on with a certificate that it cannot trust', async () => {
    server = await ScriptedServer.start(async (peer) => peer.send(GREETING), true);
    await expect(CsyncClient.open({ ...server.endpoint, tls: true })).rejects.toThrow(/self.signed/);
  });

  test('speaks TLS from the first byte', async () => {
    server = await ScriptedServer.start(
      answering(() => 'OK Success\r\n'),
      true,
    );
    const tlsOptions = { ca: CERT, checkServerIdentity: () => undefined };
    const client = await CsyncClient.connect({ ...server.endpoint, account, tls: true, tlsOptions });
    clients.push(client);
    await client.command('NOOP');
  });

  test('refuses text that was slipped in before the handshake', async () => {
    const client = await open(answering(() => 'OK begin\r\n* SASL PLAIN\r\n* OK'));
    await expect(client.startTls()).rejects.toThrow(/in clear/);
  });

  test('compresses both ways', async () => {
    const seen: (string | null)[] = [];
    const client = await open(async (peer) => {
      peer.send(GREETING);
      seen.push(await peer.command());
      peer.send('OK DEFLATE active\r\n');
      peer.startCompression();
      for (let command = await peer.command(); command !== null; command = await peer.command()) {
        seen.push(command);
        peer.send(`* MISSING (${GUID})\r\nOK Success\r\n`);
      }
    });
    await client.compress();
    expect(client.compressed).toBe(true);
    const content = Buffer.alloc(300_000, 'abc');
    await client.sendMessages('default', [{ guid: GUID, size: content.length, content }]);
    expect(await client.reserve('default', ['user.a'], [GUID])).toEqual([GUID]);
    expect(seen).toEqual([
      'COMPRESS DEFLATE',
      `APPLY MESSAGE (%{default ${GUID} 300000}\r\n${content.toString('latin1')})`,
      `APPLY RESERVE %(PARTITION default MBOXNAME (user.a) GUID (${GUID}))`,
    ]);
  });
});

describe('a compressed connection', () => {
  test('gives the last answer of a server that closes behind it', async () => {
    for (let round = 0; round < 20; round++) {
      const client = await open(async (peer) => {
        peer.send(GREETING);
        await peer.command();
        peer.send('OK DEFLATE active\r\n');
        peer.startCompression();
        await peer.command();
        await peer.finish(`* X ${'x'.repeat(100_000)}\r\nOK Finished\r\n`);
      });
      await client.compress();
      expect(await client.command('EXIT')).toHaveLength(1);
      await expect(client.restart()).rejects.toThrow(/closed/);
      await server?.stop();
    }
  });
});

describe('commands', () => {
  test('gives the lines before the OK', async () => {
    const client = await open(answering(() => '* MISSING (a)\r\n* X {3}\r\na\r\n\r\nOK Success\r\n'));
    const lines = await client.get('USER', 'anne.b c');
    expect(lines.map(({ name }) => name)).toEqual(['MISSING', 'X']);
    expect(lines[1]!.value).toEqual({ kind: 'atom', value: Buffer.from('a\r\n') });
  });

  test('hands lines over as they come when asked to', async () => {
    const client = await open(answering(() => '* A 1\r\n* B 2\r\nOK Success\r\n'));
    const names: string[] = [];
    expect(await client.get('USER', 'a', ({ name }) => names.push(name))).toEqual([]);
    expect(names).toEqual(['A', 'B']);
  });

  test('quotes names, and sends what cannot be quoted as literals that need no answer', async () => {
    const seen: string[] = [];
    const client = await open(answering(() => 'OK Success\r\n', seen));
    await client.get('FULLMAILBOX', 'user.anne.Old mail');
    await client.getMailboxes(['user.a', 'user.\xe4']);
    expect(seen).toEqual([
      'GET FULLMAILBOX "user.anne.Old mail"',
      'GET MAILBOXES (user.a {6+}\r\nuser.\xe4)',
    ]);
  });

  test.each([
    ['NO IMAP_MAILBOX_LOCKED Mailbox locked', 'LOCKED', 75],
    ['NO IMAP_MAILBOX_NONEXISTENT No such mailbox', 'NOT_FOUND', 65],
    ['NO IMAP_PROTOCOL_BAD_PARAMETERS bad', 'BAD_PARAMETERS', 64],
    ['NO IMAP_SYNC_CHECKSUM differs', 'UNAVAILABLE', 69],
    ['BAD IMAP_PROTOCOL_ERROR Unrecognized command', 'BAD_COMMAND', 64],
    ['* BYE shutting down', 'UNAVAILABLE', 69],
  ])('%s', async (answer, code, exitStatus) => {
    const client = await open(answering(() => `${answer}\r\n`));
    const failure = client.get('USER', 'anne');
    const said = answer.replace('* ', '');
    await expect(failure).rejects.toMatchObject({
      code,
      exitStatus,
      tried: 'GET USER anne',
      reason: expect.stringContaining(said),
    });
  });

  test('goes on after a refusal', async () => {
    const client = await open(answering((command) => (command === 'HELLO' ? 'BAD what\r\n' : 'OK\r\n')));
    expect((await client.request('HELLO')).status).toBe('BAD');
    await client.restart();
  });

  test('reports a server that goes away', async () => {
    const client = await open(answering(() => undefined));
    await expect(client.restart()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await expect(client.restart()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('reports a server that goes away while a message is sent', async () => {
    const client = await open(async (peer) => {
      peer.send(GREETING);
      await new Promise((resolve) => setTimeout(resolve, 20));
      peer.close();
    });
    const content = (async function* () {
      for (;;) yield Buffer.alloc(1 << 20);
    })();
    const sent = client.sendMessages('default', [{ guid: GUID, size: 2 ** 40, content }]);
    await expect(sent).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  test('passes on what a server says that dies', async () => {
    const client = await open(answering(() => '* Fatal error: Internal error: assertion failed\r\n'));
    await expect(client.command('APPLY MESSAGE ()')).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      reason: 'the server died: Internal error: assertion failed',
      remedy: expect.stringContaining('--partition') as string,
    });
  });

  test('reports an answer of another protocol', async () => {
    const client = await open(answering(() => '250 hello\r\n'));
    await expect(client.restart()).rejects.toMatchObject({ code: 'UNAVAILABLE', subject: '"250 hello"' });
  });
});

describe('sendMessages', () => {
  test('sends bytes as they are, from memory and from a stream', async () => {
    const seen: string[] = [];
    const client = await open(answering(() => 'OK Success\r\n', seen));
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
    const stream = (async function* () {
      for (const byte of bytes) yield Buffer.of(byte);
    })();
    await client.sendMessages('part2', [
      { guid: GUID, size: 256, content: bytes },
      { guid: OTHER, size: 256, content: stream },
      { guid: OTHER, size: 0, content: Buffer.alloc(0) },
    ]);
    const text = bytes.toString('latin1');
    expect(seen).toEqual([
      `APPLY MESSAGE (%{part2 ${GUID} 256}\r\n${text} %{part2 ${OTHER} 256}\r\n${text} %{part2 ${OTHER} 0}\r\n)`,
    ]);
  });

  test.each([
    ['short', 11],
    ['long', 9],
  ])('gives up on a %s message, and on the connection', async (_, size) => {
    const client = await open(answering(() => 'OK Success\r\n'));
    const content = (async function* () {
      yield Buffer.from('0123456789');
    })();
    const message = { guid: GUID, size, content };
    await expect(client.sendMessages('default', [message])).rejects.toMatchObject({
      code: 'INTERNAL',
      subject: GUID,
    });
    await expect(client.restart()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});
