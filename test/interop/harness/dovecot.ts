import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { freePort } from '../../support/backup-server.ts';
import { until } from './cyrus.ts';
import { ADMIN } from './cyrus-conf.ts';
import { ImapClient } from './imap.ts';
import { type Account, requireCyrus } from './requirements.ts';

const LIB = '/usr/lib/dovecot';
/** Debian's dovecot-imapd cannot be installed beside cyrus-imapd; .ci/run unpacks it here. */
const UNPACKED = '/opt/dovecot-imapd';

export interface DovecotOptions {
  /** Between the names of a path. */
  separator?: '/' | '.';
  /** More lines of its configuration. */
  more?: string;
  /** PEM files for STARTTLS, and for TLS from the first byte at `imapsPort`. */
  tls?: { cert: string; key: string };
}

/** A Dovecot on loopback below a temporary folder. Any user may log in with the admin's password, and the admin for any user. */
export class Dovecot {
  readonly dir: string;
  readonly port: number;
  readonly sievePort: number;
  /** Nobody listens there without a certificate. */
  readonly imapsPort: number;
  readonly #child: ChildProcess;

  private constructor(dir: string, ports: Ports, child: ChildProcess) {
    this.dir = dir;
    this.port = ports.imap;
    this.imapsPort = ports.imaps;
    this.sievePort = ports.sieve;
    this.#child = child;
  }

  static async start(options: DovecotOptions = {}): Promise<Dovecot> {
    const imapd = requireDovecot();
    const { uid, gid } = requireCyrus();
    const dir = mkdtempSync(path.join(tmpdir(), 'dovecot-interop-'));
    chmodSync(dir, 0o755);
    for (const sub of ['run', 'lib', 'mail', 'modules']) mkdirSync(path.join(dir, sub));
    chownSync(path.join(dir, 'mail'), uid, gid);
    for (const modules of new Set([`${LIB}/modules`, path.join(imapd, 'modules')])) {
      for (const name of readdirSync(modules))
        symlinkSync(path.join(modules, name), path.join(dir, 'modules', name));
    }
    writeFileSync(path.join(dir, 'admins'), `${ADMIN.user}:${ADMIN.password}\n`);
    const ports = { imap: await freePort(), imaps: await freePort(), sieve: await freePort() };
    const conf = path.join(dir, 'dovecot.conf');
    writeFileSync(conf, configuration(dir, imapd, { ...ports, uid, gid }, options));
    const child = spawn('/usr/sbin/dovecot', ['-F', '-c', conf], { stdio: 'ignore' });
    const server = new Dovecot(dir, ports, child);
    for (const one of [ports.imap, ports.sieve])
      await until('Dovecot accepts connections', () => accepts(one));
    return server;
  }

  imap(user: string): Promise<ImapClient> {
    return ImapClient.login(this.port, ADMIN, user);
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGTERM');
    if (this.#child.exitCode === null) await ended;
    rmSync(this.dir, { recursive: true, force: true });
  }
}

interface Ports {
  imap: number;
  imaps: number;
  sieve: number;
}

/** The folder of Dovecot's IMAP programs. */
function requireDovecot(): string {
  for (const dir of [LIB, UNPACKED + LIB])
    if (existsSync(`${dir}/imap`) && existsSync(`${LIB}/managesieve`)) return dir;
  throw new Error(
    'the interop tests run Dovecot 2.3; on Debian 12: apt-get install dovecot-core dovecot-managesieved; ' +
      `apt-get download dovecot-imapd; dpkg-deb -x dovecot-imapd_*.deb ${UNPACKED}`,
  );
}

function configuration(
  dir: string,
  imapd: string,
  { imap, imaps, sieve, uid, gid }: Ports & Account,
  { separator = '/', more = '', tls }: DovecotOptions,
): string {
  const services = [
    'imap',
    'imap-login',
    'imap-hibernate',
    'imap-urlauth',
    'imap-urlauth-login',
    'imap-urlauth-worker',
  ];
  const executables = services
    .map((name) => `service ${name} {\n  executable = ${imapd}/${name}\n}\n`)
    .join('');
  return `
base_dir = ${dir}/run
state_dir = ${dir}/lib
log_path = ${dir}/log
protocols = imap sieve
listen = 127.0.0.1
${tls === undefined ? 'ssl = no' : `ssl = yes\nssl_cert = <${tls.cert}\nssl_key = <${tls.key}`}
disable_plaintext_auth = no
mail_location = maildir:~/Maildir
mail_home = ${dir}/mail/%u
first_valid_uid = 1
mail_plugin_dir = ${dir}/modules
mail_plugins = quota acl
mail_attribute_dict = file:%h/dovecot-attributes
mail_max_userip_connections = 100
auth_master_user_separator = *
passdb {
  driver = passwd-file
  args = scheme=PLAIN ${dir}/admins
  master = yes
}
passdb {
  driver = static
  args = password=${ADMIN.password}
}
userdb {
  driver = static
  args = uid=${uid} gid=${gid} home=${dir}/mail/%u allow_all_users=yes
}
${executables}
service imap-login {
  inet_listener imap {
    port = ${imap}
  }
  inet_listener imaps {
    port = ${tls === undefined ? 0 : imaps}
  }
}
service managesieve-login {
  inet_listener sieve {
    port = ${sieve}
  }
}
protocol imap {
  mail_plugins = quota imap_quota acl imap_acl imap_zlib
  imap_metadata = yes
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  acl = vfile
  acl_user = %u
  sieve = file:~/sieve;active=~/.dovecot.sieve
}
namespace inbox {
  inbox = yes
  separator = ${separator}
}
${more}
`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.on('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}
