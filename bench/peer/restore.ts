/**
 * The same mail out of the same store into the same mail server, by our `restore` and by Cyrus's, with the same command
 * line; and what the mail server can take: the bytes of our run played to it again from memory.
 */
import { spawn } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { BackupError } from '../../src/platform/errors.ts';
import { CsyncClient } from '../../src/restore/csync-client.ts';
import { type CsyncMailboxFields, printApplyMailbox } from '../../src/restore/csync-mailbox.ts';
import { readServerState } from '../../src/restore/csync-server-state.ts';
import { BIN, cyrusUser } from './cyrus.ts';
import { MemoryWatch, treeCpuSeconds } from './process-tree.ts';
import { type RestoreTargetServer, startRestoreTarget } from './restore-target.ts';
import type { Measured } from './scenarios.ts';
import { ACCOUNT } from './server.ts';
import { type ToolStore, USER } from './tools.ts';

const RESTORE = path.join(import.meta.dirname, '..', '..', 'src', 'cli', 'compat', 'restore.cjs');

/** @returns figures of both, by side; `limit` is the mail server's */
export async function measureRestore(
  store: ToolStore,
  sides: readonly ('ours' | 'peer')[],
): Promise<Record<'ours' | 'peer', Measured>> {
  const target = await startRestoreTarget(false);
  const measured: Record<'ours' | 'peer', Measured> = {
    ours: { jobs: {}, figures: {} },
    peer: { jobs: {}, figures: {} },
  };
  try {
    store.shareWithCyrus({
      sync_authname: ACCOUNT.user,
      sync_password: ACCOUNT.password,
      sync_try_imap: 'no',
    });
    for (const side of sides) {
      const name = side === 'ours' ? 'our' : 'cyr';
      await makeMailbox(target, name);
      const run = await restore(store, side, target, name, target.port);
      const messages = await countMessages(target, name);
      measured[side].figures = {
        messages,
        messagesPerSecond: messages / run.elapsedSeconds,
        cpuMsPerMessage: (run.toolCpuSeconds * 1e3) / messages,
        targetCpuMsPerMessage: (run.targetCpuSeconds * 1e3) / messages,
        peakMegabytes: run.peakBytes / 1e6,
      };
    }
    if (sides.includes('ours')) await measureLimit(store, target, measured.ours);
  } finally {
    await target.stop();
  }
  return measured;
}

/** What the mail server takes when nobody has to read, and nobody waits for its answers. */
async function measureLimit(
  store: ToolStore,
  target: RestoreTargetServer,
  { figures }: Measured,
): Promise<void> {
  // Names of the same length, so that the same bytes can be played again.
  await makeMailbox(target, 'tap');
  const tap = await Tap.start(target.port);
  await restore(store, 'ours', target, 'tap', tap.port);
  await tap.close();
  await makeMailbox(target, 'lim');
  const before = treeCpuSeconds(target.pid);
  const elapsedSeconds = await tap.replay(target.port, 'user.tap.Box', 'user.lim.Box');
  const cpuSeconds = treeCpuSeconds(target.pid) - before;
  const messages = await countMessages(target, 'lim');
  figures.megabytes = tap.bytes / 1e6;
  figures.limitMessagesPerSecond = messages / elapsedSeconds;
  figures.limitCpuMsPerMessage = (cpuSeconds * 1e3) / messages;
  const names = ['li1', 'li2', 'li3', 'li4'];
  for (const name of names) await makeMailbox(target, name);
  const begin = performance.now();
  await Promise.all(names.map((name) => tap.replay(target.port, 'user.tap.Box', `user.${name}.Box`)));
  figures.limitOn4MessagesPerSecond = (names.length * messages) / ((performance.now() - begin) / 1e3);
}

interface Run {
  elapsedSeconds: number;
  toolCpuSeconds: number;
  targetCpuSeconds: number;
  peakBytes: number;
}

/** Into the mailbox `user.NAME.Box`. */
async function restore(
  store: ToolStore,
  side: 'ours' | 'peer',
  target: RestoreTargetServer,
  name: string,
  port: number,
): Promise<Run> {
  const args = [
    ...['-C', store.config, '-X', '-M', `user.${name}.Box`],
    ...['-f', store.dataFile, `127.0.0.1:${port}`, `user/${USER}`],
  ];
  const [toolBefore, targetBefore] = [childrenCpuSeconds(target), treeCpuSeconds(target.pid)];
  const begin = performance.now();
  const child =
    side === 'ours'
      ? spawn(process.execPath, [RESTORE, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
      : spawn(path.join(BIN, 'restore'), args, { ...cyrusUser(), stdio: ['ignore', 'ignore', 'pipe'] });
  const memory = new MemoryWatch(child.pid!);
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text));
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const elapsedSeconds = (performance.now() - begin) / 1e3;
  const peakBytes = memory.stop();
  if (status !== 0) {
    throw new BackupError({
      code: 'UNAVAILABLE',
      tried: 'run',
      subject: `restore ${args.join(' ')}`,
      reason: `it ended with status ${status}`,
      remedy: `Its last words:\n${said.slice(-2000)}`,
    });
  }
  return {
    elapsedSeconds,
    toolCpuSeconds: childrenCpuSeconds(target) - toolBefore,
    targetCpuSeconds: treeCpuSeconds(target.pid) - targetBefore,
    peakBytes,
  };
}

/** Of this process and its children but for the mail server; the tap's own share is little. */
function childrenCpuSeconds({ pid }: RestoreTargetServer): number {
  return (
    treeCpuSeconds(process.pid) -
    treeCpuSeconds(pid) -
    process.cpuUsage().user / 1e6 -
    process.cpuUsage().system / 1e6
  );
}

async function countMessages({ port }: RestoreTargetServer, name: string): Promise<number> {
  const client = await CsyncClient.connect({
    host: '127.0.0.1',
    port,
    account: ACCOUNT,
    allowPlaintext: true,
  });
  const { mailboxes } = readServerState(await client.getMailboxes([`user.${name}.Box`]));
  await client.exit();
  return Number([...mailboxes.values()][0]!.lastUid);
}

/** `user.NAME` and `user.NAME.Box`, empty. */
async function makeMailbox({ port }: RestoreTargetServer, name: string): Promise<void> {
  const client = await CsyncClient.connect({
    host: '127.0.0.1',
    port,
    account: ACCOUNT,
    allowPlaintext: true,
  });
  for (const mboxname of [`user.${name}`, `user.${name}.Box`]) {
    const fields: CsyncMailboxFields = {
      uniqueid: `bench-${mboxname}`,
      mboxname,
      lastUid: 0,
      highestmodseq: 1,
      recentuid: 0,
      recenttime: 0,
      lastAppenddate: 0,
      pop3LastLogin: 0,
      uidvalidity: 1_700_000_000,
      partition: 'default',
      acl: `${name}\tlrswipkxtecdan\t`,
      options: 'P',
    };
    await client.command(printApplyMailbox(fields, [], { basic: 0, annot: 0 }));
  }
  await client.exit();
}

/** Stands between a tool and the mail server, and keeps what the tool sent. */
class Tap {
  readonly port: number;
  readonly #server: net.Server;
  readonly #sent: Buffer[] = [];
  readonly #sockets: net.Socket[] = [];

  private constructor(server: net.Server, target: number) {
    this.#server = server;
    this.port = (server.address() as net.AddressInfo).port;
    server.on('connection', (client) => {
      const socket = net.connect(target, '127.0.0.1');
      this.#sockets.push(client, socket);
      for (const one of [client, socket]) one.setNoDelay(true).on('error', () => {});
      client.on('data', (bytes) => {
        this.#sent.push(bytes);
        if (!socket.write(bytes)) client.pause();
      });
      socket.on('drain', () => client.resume());
      // Without compression all can be read.
      socket.on('data', (bytes) =>
        client.write(Buffer.from(bytes.toString('latin1').replace('* COMPRESS DEFLATE\r\n', ''), 'latin1')),
      );
      client.on('close', () => socket.end());
      socket.on('close', () => client.end());
    });
  }

  static async start(target: number): Promise<Tap> {
    const server = net.createServer();
    // What comes over several connections at once cannot be played again as one.
    server.maxConnections = 1;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new Tap(server, target);
  }

  get bytes(): number {
    return this.#sent.reduce((sum, { length }) => sum + length, 0);
  }

  /** Sends the same again as fast as it is taken. @returns seconds until the server has answered all of it */
  async replay(port: number, from: string, to: string): Promise<number> {
    if (from.length !== to.length) throw new Error('the names have to be as long as each other');
    const all = Buffer.from(Buffer.concat(this.#sent));
    for (let at = all.indexOf(from); at !== -1; at = all.indexOf(from, at + 1)) all.write(to, at, 'latin1');
    const socket = net.connect(port, '127.0.0.1').setNoDelay(true);
    const answer = (): Promise<unknown> => new Promise((resolve) => socket.once('data', resolve));
    await answer();
    // What comes behind a login at once would be taken for a part of it.
    const login = all.indexOf('\n') + 1;
    socket.write(all.subarray(0, login));
    await answer();
    const begin = performance.now();
    socket.resume();
    socket.write(all.subarray(login));
    await new Promise((resolve) => socket.on('close', resolve));
    return (performance.now() - begin) / 1e3;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
