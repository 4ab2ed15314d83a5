import { afterEach, describe, expect, test } from 'vitest';
import type { RestorePlan } from '../../src/restore/plan.ts';
import type { StoredScript } from '../../src/restore/source.ts';
import { closeAll, closing, planOf, restore, serve } from './imap-restores.ts';
import { CERT, type ScriptedPeer, ScriptedServer } from './scripted-server.ts';

afterEach(closeAll);

const ALL = ['AUTH=PLAIN', 'SASL-IR', 'LITERAL+', 'NAMESPACE', 'METADATA', 'QUOTA', 'ACL', 'RIGHTS=texk'];

interface Held {
  subscriptions?: string[];
  scripts?: Record<string, string>;
  active?: string;
}

/** A plan of an empty mailbox with these settings. */
function planWith({ subscriptions = [], scripts = {}, active }: Held, into?: string): RestorePlan {
  const plan = planOf({ 'user.anne': [], 'user.anne.Sent': [] }, into);
  const { source } = plan;
  source.subscriptions = () => subscriptions;
  source.scripts = () =>
    Object.entries(scripts).map(
      ([name, text]): StoredScript => ({
        ...{ filename: `${name}.script`, lastUpdate: 1, guid: '' },
        content: () => Buffer.from(text),
      }),
    );
  source.activeScript = () => active && `${active}.script`;
  source.quotas = () => [
    {
      root: 'user.anne',
      limits: new Map([
        ['STORAGE', 100],
        ['X-ODD', 3],
      ]),
      modseq: 7n,
    },
  ];
  for (const { mailbox } of plan.mailboxes) mailbox.annotations = [];
  plan.mailboxes[1]!.mailbox.annotations = [
    { entry: '/comment', userid: '', modseq: 1n, value: 'of all' },
    { entry: '/comment', userid: 'anne', modseq: 1n, value: 'mine\r\n' },
    { entry: '/comment', userid: 'bob', modseq: 1n, value: 'his' },
    { entry: '/gone', userid: '', modseq: 1n, value: null },
  ];
  return { ...plan, withSettings: true };
}

describe('by IMAP', () => {
  test('in the words of the server', async () => {
    const server = await serve({ capabilities: ALL });
    const subscriptions = ['user.anne.Sent', 'user.anne.Gone', 'user.bob.Work', 'news'];
    const report = await restore(server, planWith({ subscriptions }), { withAcls: true });
    expect([...server.subscribed]).toEqual(['Sent', 'Gone']);
    const said = server.log.filter((line) => /^(SET|GETQ)/.test(line));
    expect(said).toEqual([
      'SETMETADATA "Sent" (/shared/comment "of all")',
      'SETMETADATA "Sent" (/private/comment {6}',
      'GETQUOTA "INBOX"',
      'SETQUOTA "INBOX" (STORAGE 100)',
      'SETACL "INBOX" "anne" lrswipkxtea',
      'SETACL "Sent" "anne" lrswipkxtea',
    ]);
    expect(report.shortfalls.map(({ what, reason }) => `${what}: ${reason}`)).toEqual([
      "annotation /comment of user.anne.Sent: it is one of bob's own",
      expect.stringMatching(/^subscription user\.bob\.Work: the server shows no mailboxes of others/),
      expect.stringMatching(/^subscription news: the server shows no mailboxes of others/),
    ]);
    expect(report.remarks).toEqual([
      'the server has no quota of the kind X-ODD: it is left out',
      'the server has no access rights of the kind n: they are left out',
    ]);
  });

  test('what there is no extension for is named', async () => {
    const server = await serve();
    const report = await restore(server, planWith({}), { withAcls: true });
    expect(report.shortfalls.map(({ reason }) => reason)).toEqual([
      ...Array(3).fill('the server keeps no annotations of mailboxes (METADATA)'),
      'the server has no QUOTA extension; set it there by other means',
      ...Array(2).fill('the server has no ACL extension'),
    ]);
  });

  test('a subscription to what is gone in the backup, too, is no loss', async () => {
    const refuse = (command: string, name: string) =>
      command === 'SUBSCRIBE' && name !== 'Sent' ? 'NO no such mailbox' : undefined;
    const server = await serve({ capabilities: ['AUTH=PLAIN'], refuse });
    const plan = planWith({ subscriptions: ['user.anne.Sent', 'user.anne.Gone', 'user.anne'] });
    const report = await restore(server, plan);
    expect(report.remarks).toContain(
      'no subscription to Gone: there is no such mailbox, and none in the backup',
    );
    const shortfalls = report.shortfalls.filter(({ what }) => what.startsWith('subscription'));
    expect(shortfalls).toMatchObject([
      { what: 'subscription user.anne', reason: 'the server says: no such mailbox' },
    ]);
  });

  test('in a new tree: subscriptions of what is in it, and no quota', async () => {
    const server = await serve({ capabilities: ALL });
    await restore(server, planWith({ subscriptions: ['user.anne.Sent', 'user.anne.Gone', 'news'] }, 'Back'));
    expect([...server.subscribed]).toEqual(['Back', 'Back/Sent']);
    expect(server.log.filter((line) => line.includes('QUOTA'))).toEqual([]);
  });
});

describe('Sieve scripts', () => {
  const capabilities = '"SASL" "PLAIN"\r\n"STARTTLS"\r\nOK "hello"\r\n';

  async function sieveServer(script: (peer: ScriptedPeer) => Promise<void>): Promise<ScriptedServer> {
    const server = await ScriptedServer.start(script);
    closing.push(async () => {
      await server.stop();
      expect(server.failures).toEqual([]);
    });
    return server;
  }

  async function loggedIn(peer: ScriptedPeer): Promise<void> {
    peer.send(capabilities);
    expect(await peer.command()).toBe('STARTTLS');
    peer.send('OK\r\n');
    peer.startTls();
    peer.send('"SASL" "PLAIN"\r\nOK\r\n');
    const token = Buffer.from('anne\0admin\0secret').toString('base64');
    expect(await peer.command()).toBe(`AUTHENTICATE "PLAIN" "${token}"`);
    peer.send('OK (WARNINGS) "in"\r\n');
  }

  const as = { user: 'admin', actAs: 'anne' };

  test('are put where they are missing, and the active one made active', async () => {
    const commands: (string | null)[] = [];
    const sieve = await sieveServer(async (peer) => {
      await loggedIn(peer);
      for (const answer of ['"OK"\r\n"same"\r\n', '{4}\r\nkeep\r\nOK\r\n']) {
        commands.push(await peer.command());
        peer.send(answer === '"OK"\r\n"same"\r\n' ? `${answer}"other"\r\nOK\r\n` : answer);
      }
      for (const answer of ['"x"', '', 'NO {12}\r\nline 1:\r\nbad']) {
        commands.push(await peer.command());
        peer.send(answer === '"x"' ? '"keep "\r\nOK\r\n' : `${answer === '' ? 'OK' : answer}\r\n`);
      }
      for (const answer of ['"OK"\r\nOK\r\n', 'OK\r\n', 'OK\r\n']) {
        commands.push(await peer.command());
        peer.send(answer);
      }
    });
    const imap = await serve();
    const scripts = { same: 'keep', other: 'keep', new: 'stop;', broken: 'wrong' };
    const plan = planWith({ scripts, active: 'new' });
    for (const { mailbox } of plan.mailboxes) mailbox.annotations = [];
    plan.source.quotas = () => [];
    const report = await restore(imap, plan, { ...as, sieve: sieve.endpoint });
    expect(report.shortfalls.map(({ what, reason }) => `${what}: ${reason}`)).toEqual([
      expect.stringMatching(/^Sieve script other: the target has another text/),
      'Sieve script broken: the server says: line 1: bad',
    ]);
    expect(commands).toEqual([
      'LISTSCRIPTS',
      'GETSCRIPT "same"',
      'GETSCRIPT "other"',
      'PUTSCRIPT "new" {5+}\r\nstop;',
      'PUTSCRIPT "broken" {5+}\r\nwrong',
      'LISTSCRIPTS',
      'SETACTIVE "new"',
      'LOGOUT',
    ]);
  });

  test('of which the active one is lost are named, and nothing is asked to make it active', async () => {
    const commands: (string | null)[] = [];
    const sieve = await sieveServer(async (peer) => {
      await loggedIn(peer);
      for (const answer of ['OK\r\n', 'OK\r\n', 'OK\r\n']) {
        commands.push(await peer.command());
        peer.send(answer);
      }
    });
    const shortfallsOf = async (scripts: Record<string, string>) => {
      const plan = planWith({ scripts, active: 'main' });
      for (const { mailbox } of plan.mailboxes) mailbox.annotations = [];
      plan.source.quotas = () => [];
      const { shortfalls } = await restore(await serve(), plan, { ...as, sieve: sieve.endpoint });
      return shortfalls.map(({ kind, what, reason }) => `${kind}: ${what}: ${reason}`);
    };
    const lost = expect.stringMatching(
      /^damaged: active Sieve script main: the backup has lost its text, so no/,
    );
    expect(await shortfallsOf({ other: 'keep' })).toEqual([lost]);
    expect(await shortfallsOf({})).toEqual([lost]);
    expect(commands).toEqual(['LISTSCRIPTS', 'PUTSCRIPT "other" {4+}\r\nkeep', 'LOGOUT']);
  });

  test('where the login is refused, or the text in clear is not to be trusted', async () => {
    const plan = () => planWith({ scripts: { main: 'keep' } });
    const refusing = await sieveServer(async (peer) => {
      peer.send('"SASL" "PLAIN"\r\nOK\r\n');
      await peer.command();
      peer.send('NO "go away"\r\n');
    });
    const injected = await sieveServer(async (peer) => {
      peer.send(capabilities);
      await peer.command();
      peer.send('OK\r\n"SASL" "PLAIN"\r\nOK\r\n');
    });
    for (const [server, text] of [
      [refusing, 'refuses the login of admin'],
      [injected, 'text in clear'],
    ] as const) {
      const { shortfalls } = await restore(await serve(), plan(), { ...as, sieve: server.endpoint });
      const reasons = shortfalls
        .filter(({ what }) => what === 'Sieve script main')
        .map(({ reason }) => reason);
      expect(reasons).toEqual([
        expect.stringMatching(new RegExp(`no way in by ManageSieve at .*${text}.*--sieve`)),
      ]);
    }
    expect(CERT.length).toBeGreaterThan(0);
  });
});
