/** A Cyrus mail server on loopback that takes mail by replication: imapd for looking at it, sync_server. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { addAccount, CONF_FOLDERS, cyrusUser, imapdConf, runMaster } from './cyrus.ts';
import { freePort, Workspace } from './server.ts';

export interface RestoreTargetServer {
  readonly port: number;
  /** Of master. */
  readonly pid: number;
  stop(): Promise<void>;
}

/** @throws BackupError UNAVAILABLE where Debian's packages are missing or we are not root */
export async function startRestoreTarget(keep: boolean): Promise<RestoreTargetServer> {
  const owner = cyrusUser();
  const space = new Workspace('target', keep);
  const port = await freePort();
  chmodSync(space.dir, 0o755);
  for (const folder of [
    'tmp',
    'spool',
    'sieve',
    'conf',
    ...CONF_FOLDERS.map((name) => path.join('conf', name)),
  ]) {
    mkdirSync(space.path(folder), { mode: 0o755 });
    chownSync(space.path(folder), owner.uid, owner.gid);
  }
  writeFileSync(space.path('imapd.conf'), imapdConf(space));
  const config = `-C ${space.path('imapd.conf')}`;
  writeFileSync(
    space.path('cyrus.conf'),
    `START {\n  recover cmd="ctl_cyrusdb ${config} -r"\n}\n` +
      `SERVICES {\n  sync cmd="sync_server ${config}" listen="127.0.0.1:${port}" proto="tcp4" prefork=0\n}\n` +
      'EVENTS {\n}\n',
  );
  addAccount(space, owner);
  const { pid, stop } = await runMaster(space, port, 'its sync_server did not greet');
  return { port, pid, stop };
}
