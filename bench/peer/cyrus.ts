import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { BackupError } from '../../src/platform/errors.ts';
import { ACCOUNT, type BenchServer, freePort, greets, type StartOptions, Workspace } from './server.ts';

/** Where Debian puts Cyrus's programs. */
export const BIN = '/usr/lib/cyrus/bin';
const SERVERNAME = 'peer.bench.test';
const FOLDERS = ['backup', 'staging', 'tmp', 'run', 'spool'];
export const CONF_FOLDERS = ['db', 'proc', 'log', 'msg', 'socket', 'sync', 'lock', 'user', 'quota'];

/**
 * Starts Cyrus's own backup server: a `master` with nothing but backupd, on loopback, its data in a folder of
 * its own, with the settings that its manual gives.
 * @throws BackupError UNAVAILABLE where Debian's packages are missing or we are not root (Cyrus's programs
 *   change to the user cyrus)
 */
export async function startCyrus({ keep = false }: StartOptions = {}): Promise<BenchServer> {
  const owner = cyrusUser();
  const space = new Workspace('cyrus', keep);
  const port = await freePort();
  chmodSync(space.dir, 0o755);
  for (const folder of [...FOLDERS, 'conf', ...CONF_FOLDERS.map((name) => path.join('conf', name))]) {
    mkdirSync(space.path(folder), { mode: 0o755 });
    chownSync(space.path(folder), owner.uid, owner.gid);
  }
  writeFileSync(space.path('imapd.conf'), imapdConf(space));
  writeFileSync(space.path('cyrus.conf'), cyrusConf(space, port));
  addAccount(space, owner);

  const { pid, stop } = await runMaster(space, port, 'its backupd did not greet');
  return {
    target: { host: '127.0.0.1', port, ...ACCOUNT, store: space.dir },
    pid,
    hasTls: false,
    partition: space.path('backup'),
    ctlBackups: { program: path.join(BIN, 'ctl_backups'), args: ['-C', space.path('imapd.conf')], ...owner },
    stop,
  };
}

/** Starts `master` and waits until a service of it greets on the port. @throws BackupError UNAVAILABLE */
export async function runMaster(
  space: Workspace,
  port: number,
  problem: string,
): Promise<{ pid: number; stop(): Promise<void> }> {
  const log = openSync(space.path('master.log'), 'a');
  const files = [
    '-C',
    space.path('imapd.conf'),
    '-M',
    space.path('cyrus.conf'),
    '-p',
    space.path('master.pid'),
  ];
  const master = spawn(path.join(BIN, 'master'), files, { stdio: ['ignore', log, log] });
  let alive = true;
  const exited = new Promise<void>((resolve) => {
    master.on('error', () => resolve());
    master.on('exit', () => resolve());
  }).then(() => {
    alive = false;
  });
  if (!(await greets(port, () => alive))) {
    await end(master, exited);
    throw unavailable(problem, `See ${space.path('master.log')} and the system log`);
  }
  return {
    pid: master.pid!,
    async stop() {
      await end(master, exited);
      space.remove();
    },
  };
}

/** master ends its own children. */
async function end(master: ChildProcess, exited: Promise<void>): Promise<void> {
  master.kill('SIGTERM');
  await exited;
}

export function cyrusUser(): { uid: number; gid: number } {
  if (!existsSync(path.join(BIN, 'backupd'))) {
    throw unavailable(
      'it is not installed',
      'Install cyrus-imapd, cyrus-replication and sasl2-bin, or pass --only ours',
    );
  }
  if (process.getuid?.() !== 0) {
    throw unavailable('only root can start it', 'Run the benchmark as root, or pass --only ours');
  }
  const [, uid, gid] = /^cyrus:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8')) ?? [];
  if (uid === undefined) throw unavailable('there is no user cyrus', 'Install the package cyrus-common');
  return { uid: Number(uid), gid: Number(gid) };
}

/** Of a server of Cyrus's whose data lie there. */
export function imapdConf(space: Workspace): string {
  const options: Record<string, string> = {
    servername: SERVERNAME,
    configdirectory: space.path('conf'),
    defaultpartition: 'default',
    'partition-default': space.path('spool'),
    temp_path: space.path('tmp'),
    proc_path: space.path('conf', 'proc'),
    mboxname_lockpath: space.path('conf', 'lock'),
    unixhierarchysep: 'yes',
    umask: '077',
    admins: ACCOUNT.user,
    allowplaintext: 'yes',
    sasl_pwcheck_method: 'auxprop',
    sasl_auxprop_plugin: 'sasldb',
    sasl_sasldb_path: space.path('sasldb2'),
    sasl_mech_list: 'PLAIN',
    'backuppartition-default': space.path('backup'),
    backup_staging_path: space.path('staging'),
    backup_db: 'twoskip',
    backup_db_path: space.path('conf', 'backups.db'),
    backup_retention: '7d',
  };
  return Object.entries(options)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');
}

function cyrusConf(space: Workspace, port: number): string {
  const config = `-C ${space.path('imapd.conf')}`;
  return (
    `START {\n  recover cmd="ctl_cyrusdb ${config} -r"\n}\n` +
    `SERVICES {\n  backupd cmd="backupd ${config}" listen="127.0.0.1:${port}" proto="tcp4" prefork=0\n}\n` +
    'EVENTS {\n}\n'
  );
}

/** ACCOUNT, who may log in. */
export function addAccount(space: Workspace, owner: { uid: number; gid: number }): void {
  const file = space.path('sasldb2');
  const args = ['-p', '-c', '-f', file, '-u', SERVERNAME, ACCOUNT.user];
  const added = spawnSync('saslpasswd2', args, { input: ACCOUNT.password });
  if (added.status !== 0) throw unavailable('saslpasswd2 failed', 'Install the package sasl2-bin');
  chownSync(file, owner.uid, owner.gid);
}

function unavailable(reason: string, remedy: string): BackupError {
  return new BackupError({
    code: 'UNAVAILABLE',
    tried: 'start',
    subject: "Cyrus's backup server",
    reason,
    remedy,
  });
}
