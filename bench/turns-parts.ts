/**
 * What small updates of many users are made of: the same load as in `npm run bench:peer -- --scenario turns` against bare servers that do
 * more and more of it (parts/bare-server.ts), and against ours: `node bench/turns-parts.ts [USERS] [ROUNDS]` after `npm run build`.
 * Ours is measured with as many users as it keeps open, with all, and with all of them kept open.
 */
import { fork } from 'node:child_process';
import path from 'node:path';
import type { Target } from './load/player.ts';
import { LoadProcess } from './load/process.ts';
import { KINDS, type Kind } from './parts/bare-kinds.ts';
import { startOurs } from './peer/ours.ts';
import { treeCpuSeconds } from './peer/process-tree.ts';
import { ACCOUNT } from './peer/server.ts';

const users = Number(process.argv[2] ?? 500);
const rounds = Number(process.argv[3] ?? 6);
const CONNECTIONS = [1, 8];
/** Of them all stay open in ours. */
const FEW_USERS = 150;

const TEXT: Record<Kind, string> = {
  answer: 'receive and answer',
  threads: 'and four trips to another thread',
  sync: 'and append to a file, and sync it',
  index: 'and enter it into an index that is open, and sync that',
};

interface Measured {
  perSecond: number;
  cpuMs: number;
}

async function measure(target: Target, pid: number, of: number): Promise<Measured[]> {
  const load = new LoadProcess();
  try {
    await load.run({ kind: 'small-users', target, users: of });
    await load.run({ kind: 'turns', target, users: of, connections: CONNECTIONS.at(-1)! });
    const measured: Measured[] = [];
    for (const connections of CONNECTIONS) {
      const before = treeCpuSeconds(pid);
      let elapsedMs = 0;
      for (let round = 0; round < rounds; round++) {
        elapsedMs += (await load.run({ kind: 'turns', target, users: of, connections })).elapsedMs;
      }
      const updates = of * rounds;
      const cpuMs = ((treeCpuSeconds(pid) - before) * 1e3) / updates;
      measured.push({ perSecond: (updates * 1e3) / elapsedMs, cpuMs });
    }
    return measured;
  } finally {
    load.stop();
  }
}

async function measureBare(kind: Kind): Promise<Measured[]> {
  const server = fork(path.join(import.meta.dirname, 'parts', 'bare-server.ts'), [kind]);
  try {
    const port = await new Promise<number>((resolve) =>
      server.once('message', (said) => resolve(Number(said))),
    );
    return await measure({ host: '127.0.0.1', port, ...ACCOUNT, store: `bare-${kind}` }, server.pid!, users);
  } finally {
    server.kill();
  }
}

async function measureOurs(of: number, keepOpen?: number): Promise<Measured[]> {
  const server = await startOurs(
    keepOpen === undefined ? {} : { settings: { backup_keep_open: String(keepOpen) } },
  );
  try {
    return await measure(server.target, server.pid, of);
  } finally {
    await server.stop();
  }
}

function print(text: string, measured: readonly Measured[]): void {
  const cells = measured.map(({ perSecond, cpuMs }) => `${perSecond.toFixed(0)}, ${cpuMs.toFixed(2)}`);
  console.log(`| ${text} | ${cells.join(' | ')} |`);
}

console.log(
  `| updates a second, CPU of the server in ms for each | ${CONNECTIONS.map((n) => `on ${n}`).join(' | ')} |`,
);
console.log(`| --- |${' --- |'.repeat(CONNECTIONS.length)}`);
for (const kind of KINDS) print(TEXT[kind], await measureBare(kind));
for (const of of new Set([FEW_USERS, users])) print(`ours, ${of} users`, await measureOurs(of));
print(`ours, ${users} users, backup_keep_open: ${users}`, await measureOurs(users, users));
