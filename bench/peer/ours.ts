import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BackupError } from '../../src/platform/errors.ts';
import { ACCOUNT, type BenchServer, freePort, greets, type StartOptions, Workspace } from './server.ts';

const CLI = path.join(import.meta.dirname, '..', '..', 'src', 'cli');
export const LAUNCH: string = path.join(CLI, 'launch.cjs');
const CTL_BACKUPS = path.join(CLI, 'compat', 'ctl_backups.cjs');

/** Starts our server as anybody would, with its default settings: every OK durable. */
export async function startOurs({
  keep = false,
  tls = false,
  settings = {},
  nodeFlags = [],
}: StartOptions = {}): Promise<BenchServer> {
  const space = new Workspace('ours', keep);
  const port = await freePort();
  for (const folder of ['conf', 'backup', 'staging', 'tmp']) mkdirSync(space.path(folder), { mode: 0o700 });
  const options: Record<string, string> = {
    servername: 'ours.bench.test',
    configdirectory: space.path('conf'),
    temp_path: space.path('tmp'),
    admins: ACCOUNT.user,
    allowplaintext: 'yes',
    'backuppartition-default': space.path('backup'),
    backup_staging_path: space.path('staging'),
    backup_passwd_file: space.path('credentials'),
    backup_listen: `127.0.0.1:${port}`,
    backup_metrics_listen: `127.0.0.1:${await freePort()}`,
    ...(tls && space.addCertificate()),
    ...settings,
  };
  const config = space.path('imapd.conf');
  const lines = Object.entries(options).map(([key, value]) => `${key}: ${value}\n`);
  writeFileSync(config, lines.join(''));

  const add = [LAUNCH, 'passwd', 'add', ACCOUNT.user, '-C', config];
  const added = spawnSync(process.execPath, add, { input: `${ACCOUNT.password}\n` });
  if (added.status !== 0) throw failed('passwd add failed', added.stderr.toString());

  const logFile = space.path('server.log');
  const log = openSync(logFile, 'a');
  const server = spawn(process.execPath, [...nodeFlags, LAUNCH, 'serve', '-C', config], {
    stdio: ['ignore', log, log],
  });
  let alive = true;
  const exited = new Promise<number | null>((resolve) => server.on('exit', resolve)).then((status) => {
    alive = false;
    return status;
  });
  if (!(await greets(port, () => alive))) {
    server.kill('SIGKILL');
    await exited;
    throw failed('it did not greet', readFileSync(logFile, 'utf8').slice(-2000));
  }
  return {
    target: { host: '127.0.0.1', port, ...ACCOUNT, store: space.dir },
    pid: server.pid!,
    hasTls: tls,
    partition: space.path('backup'),
    ctlBackups: { program: process.execPath, args: [CTL_BACKUPS, '-C', config] },
    async stop() {
      server.kill('SIGTERM');
      const status = await exited;
      if (status !== 0)
        throw failed(`it ended with status ${status}`, readFileSync(logFile, 'utf8').slice(-2000));
      space.remove();
    },
  };
}

function failed(reason: string, log: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'run',
    subject: 'the server',
    reason,
    remedy: `Its last words:\n${log}`,
  });
}
