import { existsSync, readFileSync } from 'node:fs';

export const CYRUS_BIN = '/usr/lib/cyrus/bin';

/** Debian 12's packages that hold Cyrus's programs; .ci/run installs them. */
export const PACKAGES =
  'cyrus-imapd cyrus-replication cyrus-common cyrus-clients cyrus-admin sasl2-bin libsasl2-modules libsasl2-modules-db';

const PROGRAMS = [
  'master',
  'imapd',
  'backupd',
  'sync_client',
  'sync_server',
  'timsieved',
  'ctl_backups',
  'cyr_backup',
  'restore',
];

export interface Account {
  uid: number;
  gid: number;
}

/** Throws unless this machine can run Cyrus: interop tests fail where they cannot run, they are never skipped. */
export function requireCyrus(): Account {
  const missing = PROGRAMS.map((name) => `${CYRUS_BIN}/${name}`).filter((file) => !existsSync(file));
  if (!existsSync('/usr/sbin/saslpasswd2')) missing.push('/usr/sbin/saslpasswd2');
  if (missing.length > 0) {
    throw new Error(
      `the interop tests run Cyrus IMAP 3.6 and lack ${missing.join(', ')}; on Debian 12: apt-get install ${PACKAGES}`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw new Error('the interop tests start Cyrus, which must be started by root; this is another user');
  }
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
    .find(([name]) => name === 'cyrus');
  if (entry === undefined)
    throw new Error('the interop tests need the user cyrus, whom Debian’s package makes');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}
