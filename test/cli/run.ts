import { spawn } from 'node:child_process';
import path from 'node:path';

export const LAUNCHER = path.join(import.meta.dirname, '../../src/cli/launch.cjs');

export interface Result {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** Runs `csync-backup ARGS` as a process of its own; `input` is its standard input. */
export function run(
  args: string[],
  options: { input?: string | Uint8Array; cwd?: string } = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [LAUNCHER, ...args], { cwd: options.cwd });
    const result: Result = { status: null, stdout: '', stderr: '' };
    child.stdout.setEncoding('utf8').on('data', (text: string) => (result.stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (result.stderr += text));
    child.stdin.on('error', () => {}); // it may end before it has read all
    child.on('error', reject);
    child.on('close', (status) => resolve({ ...result, status }));
    child.stdin.end(options.input ?? '');
  });
}
