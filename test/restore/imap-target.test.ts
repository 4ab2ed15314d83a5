import { afterEach, describe, expect, test } from 'vitest';
import { BackupError } from '../../src/platform/errors.ts';
import { MailServer } from '../support/mail-server.ts';
import { closeAll, planOf, restore, serve, target } from './imap-restores.ts';

afterEach(closeAll);

const letter = (i: number, body = 'text') => `Subject: ${i}\r\n\r\n${body} ${i}\r\n`;
const letters = (count: number) => Array.from({ length: count }, (_, i) => ({ content: letter(i) }));
const ALL = [
  'AUTH=PLAIN',
  'SASL-IR',
  'LITERAL+',
  'UIDPLUS',
  'UNSELECT',
  'MULTIAPPEND',
  'NAMESPACE',
  'BINARY',
];

describe('what the server can do', () => {
  const sets: [string, string[]][] = [
    ['all', [...ALL, 'COMPRESS=DEFLATE', 'DIGEST=SHA1']],
    ['no MULTIAPPEND', ALL.filter((name) => name !== 'MULTIAPPEND')],
    ['LITERAL-', [...ALL.filter((name) => name !== 'LITERAL+'), 'LITERAL-']],
    ['literals that are asked for', ALL.filter((name) => name !== 'LITERAL+')],
    ['nothing but LOGIN', []],
  ];
  test.each(sets)('%s', async (_, capabilities) => {
    const server = await serve({ capabilities });
    const big = letter(1000, 'x'.repeat(1_200_000));
    const records = [...letters(250), { content: big, flags: '\\Seen Work' }, { content: letter(3) }];
    const plan = planOf({ 'user.anne': records, 'user.anne.A^b': letters(2) });
    const first = await restore(server, plan, { compress: true });
    expect(first).toMatchObject({ messages: 254, present: 0, shortfalls: [], remarks: [], mailboxes: 2 });
    const wanted = records.map(({ content }) => content);
    expect(server.bodies('INBOX').sort()).toEqual(wanted.sort());
    expect(server.bodies('A.b')).toHaveLength(2);
    const stored = server.mailboxes.get('INBOX')!.find(({ body }) => body.length > 1e6)!;
    expect(stored).toMatchObject({ flags: ['\\Seen', 'Work'], date: '13-Sep-2020 12:26:40 +0000' });
    expect(await restore(server, plan)).toMatchObject({ messages: 0, present: 254, shortfalls: [] });
    expect(server.log.some((line) => line.startsWith('COMPRESS'))).toBe(
      capabilities.includes('COMPRESS=DEFLATE'),
    );
  });

  test('a separator of its own, a prefix, and names that it cannot have', async () => {
    const server = await serve({ capabilities: ALL, namespace: '(("INBOX." ".")) NIL NIL' });
    const report = await restore(
      server,
      planOf({ 'user.anne.A^b.C': letters(1), 'user.anne.A_b.C': letters(1) }),
    );
    expect([...server.mailboxes.keys()]).toEqual(['INBOX', 'INBOX.A_b.C', 'INBOX.A_b.C-2']);
    expect(report.remarks.join('\n')).toMatch(/A\.b\/C is INBOX\.A_b\.C.*\n.*one is INBOX\.A_b\.C-2/);
  });

  test('shared mailboxes where the server has no place for them', async () => {
    const server = await serve({ capabilities: ALL, namespace: '(("" "/")) NIL NIL' });
    const report = await restore(server, planOf({ shared: letters(1) }, undefined, '%SHARED'));
    expect(server.bodies('shared')).toHaveLength(1);
    expect(report.remarks).toEqual([
      expect.stringMatching(/no namespace for shared mailboxes: .* own account/),
    ]);
  });

  test('a new tree is subscribed to', async () => {
    const server = await serve();
    await restore(server, planOf({ 'user.anne': letters(1), 'user.anne.Sent': letters(1) }, 'Back'));
    expect([...server.subscribed]).toEqual(['Back', 'Back/Sent']);
    expect(server.bodies('INBOX')).toEqual([]);
  });
});

describe('an administrator who may make shared mailboxes, and add nothing to them', () => {
  const rights = {
    namespace: '(("" "/")) NIL (("Shared/" "/"))',
    capabilities: [...ALL, 'ACL', 'RIGHTS=texk'],
  };

  test('gives himself the right while mail goes in', async () => {
    const held = new Map([['Shared/news', 'lkxca']]);
    const server = await serve({
      ...rights,
      rightsOf: (name) => held.get(name) ?? 'lka',
      refuse: (command, name) =>
        command === 'APPEND' && !held.get(name)?.includes('i') ? 'NO Permission denied' : undefined,
      setAcl: (name, id, text) => {
        expect(id).toBe('anne');
        const before = held.get(name) ?? 'lka';
        const letters = [...text.slice(1)];
        const kept = [...before].filter((right) => !letters.includes(right)).join('');
        held.set(name, text.startsWith('+') ? kept + letters.join('') : kept);
      },
    });
    const plan = planOf({ news: letters(2), 'news.old': [] }, undefined, '%SHARED');
    const report = await restore(server, plan);
    expect(report).toMatchObject({ messages: 2, shortfalls: [] });
    expect([...held]).toEqual([['Shared/news', 'lkxca']]);
    expect(server.log.filter((line) => line.startsWith('SETACL'))).toEqual([
      'SETACL "Shared/news" "anne" +rswit',
      'SETACL "Shared/news" "anne" -rswit',
    ]);
    // What is made below inherits the rights.
    const order = server.log.filter((line) => /^SETACL .* -|^CREATE "Shared\/news\/old"/.test(line));
    expect(order[0]).toMatch(/^SETACL/);
  });

  test('or is told who may', async () => {
    const server = await serve({
      ...rights,
      rightsOf: () => 'lk',
      refuse: (command) => (command === 'APPEND' ? 'NO [NOPERM] Permission denied' : undefined),
    });
    const report = await restore(server, planOf({ news: letters(2) }, undefined, '%SHARED'));
    expect(report.shortfalls).toMatchObject([
      {
        what: 'mailbox news',
        reason: expect.stringMatching(/lets nothing be added .* the right i .*SETACL/),
      },
    ]);
    expect(server.log.filter((line) => line.startsWith('SETACL'))).toEqual([]);
  });
});

describe('what is there already', () => {
  test('is shown before anything is written', async () => {
    const server = await serve();
    server.add('INBOX', letter(7));
    const plan = planOf({ 'user.anne': letters(2), 'user.anne.Sent': letters(1) });
    expect(await target(server).conflicts(plan)).toEqual([
      { what: 'INBOX (1 messages)', effect: expect.stringContaining('messages that it lacks are added') },
    ]);
    expect(server.log.filter((line) => /^(CREATE|APPEND|SELECT|SUBSCRIBE)/.test(line))).toEqual([]);
  });

  test('the same message twice has to be there twice', async () => {
    const server = await serve();
    server.add('INBOX', letter(0));
    const plan = planOf({
      'user.anne': [{ content: letter(0) }, { content: letter(0) }, { content: letter(1) }],
    });
    expect(await restore(server, plan)).toMatchObject({ messages: 2, present: 1 });
    expect(server.bodies('INBOX').sort()).toEqual([letter(0), letter(0), letter(1)]);
  });

  test('same header, size and date, but another body: both come back, whichever was there', async () => {
    const twins = ['one', 'two'].map((word) => ({ content: `Subject: log\r\n\r\n${word}\r\n` }));
    for (const { content } of twins) {
      const server = await serve();
      server.add('INBOX', content);
      expect(await restore(server, planOf({ 'user.anne': twins }))).toMatchObject({
        messages: 1,
        present: 1,
      });
      expect(server.bodies('INBOX').sort()).toEqual(twins.map((twin) => twin.content).sort());
    }
  });

  test('of the same size and date, but another header: is another message', async () => {
    const server = await serve();
    server.add('INBOX', letter(2));
    expect(await restore(server, planOf({ 'user.anne': [{ content: letter(1) }] }))).toMatchObject({
      messages: 1,
    });
  });

  const changes: [string, string, (message: Buffer) => Buffer][] = [
    [
      '8-bit headers',
      'Subject: B\xe4d\r\n\r\ntext\r\n',
      (bytes) => Buffer.from(bytes.toString('latin1').replace('\xe4', 'X'), 'latin1'),
    ],
    [
      'lines that end with LF',
      'Subject: a\n\ntext\n',
      (bytes) => Buffer.from(bytes.toString('latin1').replaceAll(/\r?\n/g, '\r\n'), 'latin1'),
    ],
    [
      'NUL',
      'Subject: a\r\n\r\nte\0xt\r\n',
      (bytes) => Buffer.from(bytes.toString('latin1').replaceAll('\0', '\x80'), 'latin1'),
    ],
  ];
  test.each(changes)('is known again where the server changes %s', async (_, content, store) => {
    for (const capabilities of [ALL, [...ALL, 'DIGEST=SHA1']]) {
      const server = await serve({ capabilities, store });
      const plan = planOf({ 'user.anne': [{ content }, ...letters(2)] });
      const first = await restore(server, plan);
      expect(first.messages).toBe(3);
      const isSeen = capabilities.length > ALL.length || content.includes('a\n');
      expect(first.remarks.join()).toMatch(isSeen ? /keeps 1 of 3 messages with/ : /^$/);
      expect(await restore(server, plan)).toMatchObject({ messages: 0, present: 3 });
    }
  });

  test('after the server went away in the middle', async () => {
    const server = await serve({ dieAt: 20, capabilities: ALL.filter((name) => name !== 'MULTIAPPEND') });
    const plan = planOf({ 'user.anne': letters(50) }, 'Back');
    const failure = await restore(server, plan).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(BackupError);
    expect(String(failure)).toMatch(/(?:it closed the connection|ECONNRESET|EPIPE).*--into "Back" and --yes/);
    server.o = { ...server.o, dieAt: 1000 };
    expect(await restore(server, plan)).toMatchObject({ messages: 30, present: 20, shortfalls: [] });
    expect(server.bodies('Back').sort()).toEqual(
      letters(50)
        .map(({ content }) => content)
        .sort(),
    );
  });
});

test('what a run that was killed has left at the server is waited for', async () => {
  const server = await serve();
  server.add('INBOX', letter(0));
  const plan = planOf({ 'user.anne': letters(3) });
  const restored = restore(server, plan, { quietMs: 150 });
  setTimeout(() => server.add('INBOX', letter(1)), 75);
  setTimeout(() => server.add('INBOX', letter(2)), 200);
  expect(await restored).toMatchObject({ messages: 0, present: 3 });
});

describe('what the server refuses', () => {
  test('a message of a batch: the others come in, and it is named', async () => {
    const refuse = (command: string, _: string, message?: Buffer) =>
      command === 'APPEND' && message!.includes('text 4\r')
        ? 'NO [CANNOT] contains what I dislike'
        : undefined;
    const server = await serve({ capabilities: ALL, refuse });
    const report = await restore(server, planOf({ 'user.anne': letters(9) }));
    expect(report).toMatchObject({ messages: 8, refused: 1 });
    expect(report.shortfalls[0]).toMatchObject({
      kind: 'refused',
      mailbox: 'user.anne',
      uid: 5,
      reason: 'the server says: [CANNOT] contains what I dislike',
    });
  });

  test('a large message before it is sent', async () => {
    const refuse = (command: string) => (command === 'LITERAL' ? 'NO [TOOBIG] too big' : undefined);
    const server = await serve({ capabilities: ALL, refuse });
    const report = await restore(
      server,
      planOf({ 'user.anne': [{ content: letter(1, 'x'.repeat(1_500_000)) }, ...letters(3)] }),
    );
    expect(report).toMatchObject({ messages: 3, refused: 1 });
    expect(report.shortfalls[0]!.reason).toContain('[TOOBIG]');
  });

  test('everything, since it is a replica or read-only as a whole', async () => {
    const said = 'NO This connection is configured for read-only access';
    const refuseAll = (command: string) => {
      if (command === 'READ-ONLY') return 'OK [READ-ONLY] selected';
      return /^(?:CREATE|APPEND)$/.test(command) ? said : undefined;
    };
    const plan = () => planOf({ 'user.anne': letters(2), 'user.anne.Sent': letters(2) });
    for (const into of [undefined, 'Back']) {
      const server = await serve({ capabilities: [...ALL, 'ACL'], refuse: refuseAll });
      await expect(
        restore(server, into === undefined ? plan() : planOf({ 'user.anne': letters(1) }, into)),
      ).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringMatching(
          /takes no changes.*readonly or replicaonly.*--to csync:\/\/ with --in-place --identity/,
        ),
      });
    }
    // Where it is a matter of rights it is one of that mailbox.
    const server = await serve({ capabilities: [...ALL, 'ACL'], refuse: refuseAll, rightsOf: () => 'lrs' });
    server.mailboxes.set('Sent', []);
    const { shortfalls } = await restore(server, plan());
    expect(shortfalls).toHaveLength(2);
  });

  test('a mailbox: that one only', async () => {
    for (const verb of ['CREATE', 'READ-ONLY', 'APPEND']) {
      const refuse = (command: string, name: string) => {
        if (command !== verb || name !== 'Sent') return undefined;
        return verb === 'READ-ONLY' ? 'OK [READ-ONLY] selected' : 'NO [NOPERM] Permission denied';
      };
      const server = await serve({ capabilities: ALL, refuse });
      const report = await restore(
        server,
        planOf({ 'user.anne.Sent': letters(300), 'user.anne.Work': letters(2) }),
      );
      expect(report, verb).toMatchObject({ messages: 2, refused: 1 });
      expect(report.shortfalls[0]).toMatchObject({ kind: 'refused', what: 'mailbox user.anne.Sent' });
      expect(server.log.filter((line) => line.startsWith('APPEND "Sent"')).length, verb).toBeLessThan(6);
    }
  });

  test('a quota that is full ends it, with what to do', async () => {
    const refuse = (command: string) => (command === 'APPEND' ? 'NO [OVERQUOTA] Quota exceeded' : undefined);
    const server = await serve({ capabilities: ALL, refuse });
    const failure = await restore(server, planOf({ 'user.anne': letters(3) })).catch(
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'NO_SPACE', remedy: expect.stringContaining('Raise the quota') });
  });

  test('flags that the mailbox does not keep', async () => {
    const server = await serve({ permanentFlags: '\\Seen \\Deleted Work' });
    const report = await restore(
      server,
      planOf({ 'user.anne': [{ content: letter(1), flags: '\\Seen \\Flagged work $Junk' }] }),
    );
    expect(server.mailboxes.get('INBOX')![0]!.flags).toEqual(['\\Seen', 'work']);
    expect(report.remarks.join('\n')).toMatch(/flag \\Flagged, which 1 .*\n.*flag \$Junk, which 1 /);
  });
});

describe('what the backup has lost', () => {
  test('is named, and the rest comes back', async () => {
    const server = await serve({ capabilities: ALL });
    const plan = planOf({ 'user.anne': letters(3) });
    const lost = { ...plan, source: plan.source };
    lost.mailboxes[0]!.records = function* () {
      for (const record of plan.source.records(plan.mailboxes[0]!.mailbox)) {
        yield record.uid === 2 ? { ...record, guid: 'ab'.repeat(20), isHere: false } : record;
      }
    };
    const report = await restore(server, lost);
    expect(report).toMatchObject({ messages: 2, damaged: 1, refused: 0 });
    expect(report.shortfalls[0]).toMatchObject({ kind: 'damaged', uid: 2 });
  });
});

describe('logging in', () => {
  test('a wrong password', async () => {
    const server = await serve({ password: 'other' });
    await expect(target(server).conflicts(planOf({ 'user.anne': [] }))).rejects.toMatchObject({
      code: 'CREDENTIALS_INVALID',
      message: expect.stringMatching(/refuses the login of anne.*--as USER/),
    });
    expect(server.log).toHaveLength(1);
  });

  test('for somebody else, without SASL-IR', async () => {
    const server = await serve({ capabilities: ['AUTH=PLAIN'] });
    await target(server, { user: 'admin', actAs: 'anne' }).conflicts(planOf({ 'user.anne': [] }));
    expect(server.log[0]).toBe('AUTHENTICATE PLAIN');
  });

  test('nothing is said to a server without TLS elsewhere, or that wants TLS', async () => {
    const away = await serve();
    // Any name of this machine that does not say so.
    const elsewhere = target(away, { host: '::ffff:127.0.0.1' });
    await expect(elsewhere.conflicts(planOf({ 'user.anne': [] }))).rejects.toThrow(
      /password would go out in clear.*--allow-plaintext/,
    );
    expect(away.log).toEqual([]);
    await target(away, { host: '::ffff:127.0.0.1', allowPlaintext: true }).conflicts(
      planOf({ 'user.anne': [] }),
    );
    const strict = await serve({ capabilities: ['LOGINDISABLED'] });
    await expect(target(strict).conflicts(planOf({ 'user.anne': [] }))).rejects.toThrow(
      /no login without TLS.*imaps:/,
    );
  });

  test('no server', async () => {
    const server = await MailServer.start();
    await server.close();
    await expect(target(server).conflicts(planOf({ 'user.anne': [] }))).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      remedy: 'Check the port, and that the server runs',
    });
  });
});
