import { spawn } from 'node:child_process';
import { closeSync, openSync, read, writeSync } from 'node:fs';
import koffi from 'koffi';
import { LAUNCHER } from './run.ts';

const libc = koffi.load(null);
const posixOpenpt = libc.func('int posix_openpt(int)');
const grantpt = libc.func('int grantpt(int)');
const unlockpt = libc.func('int unlockpt(int)');
const ptsname = libc.func('str ptsname(int)');
const O_RDWR_NOCTTY = 0o402;

/** A step of a dialogue: what must have appeared on the screen since the step before, and what is then typed. */
export interface Step {
  await: string;
  type: string;
}

/** Runs `csync-backup ARGS` on a pseudo-terminal of its own. `screen` is all that a person would have seen. */
export async function runOnTerminal(
  args: string[],
  steps: Step[],
): Promise<{ status: number; screen: string }> {
  const master = posixOpenpt(O_RDWR_NOCTTY) as number;
  if (master < 0 || grantpt(master) !== 0 || unlockpt(master) !== 0) throw new Error('no pseudo-terminal');
  const slave = openSync(ptsname(master) as string, 'r+');
  const child = spawn(process.execPath, [LAUNCHER, ...args], { stdio: [slave, slave, slave] });
  closeSync(slave);
  const exit = new Promise<number>((resolve) => child.on('exit', (code) => resolve(code ?? -1)));

  let screen = '';
  let seen = 0;
  const pending = [...steps];
  for (let text = await readSome(master); text !== ''; text = await readSome(master)) {
    screen += text;
    const next = pending[0];
    const at = next ? screen.indexOf(next.await, seen) : -1;
    if (next && at >= 0) {
      seen = at + next.await.length;
      pending.shift();
      writeSync(master, next.type);
    }
  }
  closeSync(master);
  return { status: await exit, screen };
}

/** Empty when the other side of the terminal is closed (EIO). */
function readSome(fd: number): Promise<string> {
  return new Promise((resolve) => {
    read(fd, Buffer.alloc(1024), 0, 1024, null, (error, length, buffer) =>
      resolve(error ? '' : buffer.toString('utf8', 0, length)),
    );
  });
}
