/** doctor: what the program stands on: locks, compression, limits, credentials and certificates. */
import { X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import type { Config } from '../config/config.ts';
import { printDuration } from '../config/units.ts';
import { loadIsal } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { ffiUnavailableReason } from '../platform/ffi.ts';
import { lockKind } from '../platform/file-lock.ts';
import { loadLibdeflate } from '../platform/libdeflate.ts';
import { readCredentials } from '../sasl/credential-file.ts';
import { type DoctorCheck, error, ok, warn } from './doctor-check.ts';

const DAY_MS = 86_400_000;
const CERTIFICATE_WARNING_DAYS = 14;
/** Of a backup that is open: data file, index, and index once more, in order to sync it. */
const DESCRIPTORS_PER_BACKUP = 3;
/** Backups in use at a moment, beyond those that are kept open; listeners, logs and what Node needs. */
const OTHER_DESCRIPTORS = 1024;

export function* examineSystem(config: Config): Generator<DoctorCheck, void> {
  yield ok('configuration', 'file', `${config.file} is right`);
  yield folder(config.configDirectory, 'configdirectory');
  yield folder(config.backupStagingPath, 'backup_staging_path');
  yield* retention(config);
  yield locks();
  yield engines(config);
  yield descriptors(config);
  yield* credentials(config);
  yield* certificates(config);
}

function folder(name: string, option: string): DoctorCheck {
  try {
    fs.accessSync(name, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK);
    return ok('configuration', option, `${name} can be read and written`);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && option === 'backup_staging_path')
      return ok('configuration', option, `${name} is not there yet, the server makes it`);
    const text = `${option} ${name} cannot be used: ${(cause as Error).message}`;
    return error(
      'configuration',
      option,
      text,
      'Make it, mount its disk, or let the user of the server read and write it',
    );
  }
}

/** `30m` is half an hour, and no month: compaction would drop all history. */
function* retention({ backupRetentionMs: ms }: Config): Generator<DoctorCheck, void> {
  if (ms <= 0 || ms >= DAY_MS) return;
  yield warn(
    'configuration',
    'backup_retention',
    `compaction drops what was deleted longer ago than ${printDuration(ms)}, which is less than a day`,
    'Write days as 30d: m stands for minutes',
  );
}

function locks(): DoctorCheck {
  if (lockKind() === 'ofd')
    return ok('system', 'locks', "record locks of the kernel, which Cyrus's programs respect");
  const text = `no record locks (${ffiUnavailableReason()}): Cyrus's programs are not kept away from backups that are in use`;
  return warn(
    'system',
    'locks',
    text,
    "Install the dependencies with npm ci, or run none of Cyrus's backup programs beside",
  );
}

function engines({ deflateEngine }: Config): DoctorCheck {
  const [isal, libdeflate] = [loadIsal() !== undefined, loadLibdeflate() !== undefined];
  if (deflateEngine === 'zlib') return ok('system', 'compression', 'zlib, as backup_deflate_engine says');
  if (isal && libdeflate) return ok('system', 'compression', 'isa-l and libdeflate');
  const missing = [isal ? '' : 'isa-l', libdeflate ? '' : 'libdeflate'].filter(Boolean).join(' and ');
  const text = `${missing} cannot be loaded: Node's zlib takes about three times as long`;
  return warn('system', 'compression', text, 'apt-get install libisal2 libdeflate0, and restart the server');
}

function descriptors({ maxConnections, keepOpen }: Config): DoctorCheck {
  const line = /^Max open files\s+(\S+)\s+(\S+)/m.exec(fs.readFileSync('/proc/self/limits', 'utf8'));
  const hard = line?.[2] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line?.[2]);
  const needed = maxConnections + DESCRIPTORS_PER_BACKUP * keepOpen + OTHER_DESCRIPTORS;
  if (!(hard < needed)) return ok('system', 'descriptors', `${hard} files may be open, ${needed} are enough`);
  const text = `only ${hard} files may be open here, and backup_max_connections (${maxConnections}) with backup_keep_open (${keepOpen}) may need ${needed}`;
  return warn(
    'system',
    'descriptors',
    text,
    `Set LimitNOFILE=${needed} in the unit of the server, or lower one of the two`,
  );
}

function* credentials(config: Config): Generator<DoctorCheck, void> {
  const { passwdFile, admins, saslauthdPath } = config;
  let users: string[];
  try {
    users = [...readCredentials(passwdFile).users.keys()];
  } catch (cause) {
    if (!(cause instanceof BackupError)) throw cause;
    yield error('credentials', 'file', `${passwdFile}: ${cause.reason}`, cause.remedy);
    return;
  }
  const other = saslauthdPath === undefined ? '' : '; saslauthd is asked as well';
  if (users.length === 0 && saslauthdPath === undefined) {
    const text = `${passwdFile} has no credentials, so no client can log in`;
    yield error('credentials', 'users', text, 'csync-backup passwd add NAME');
  } else yield ok('credentials', 'users', `${passwdFile} has ${users.length} credentials${other}`);
  if (admins.length === 0) {
    const remedy = `Set admins: ${users[0] ?? 'NAME'}, as sync_authname of the mail servers says`;
    yield error('credentials', 'admins', 'admins is empty, so nobody may push', remedy);
  }
  for (const name of admins.filter((admin) => !users.includes(admin) && saslauthdPath === undefined)) {
    yield warn(
      'credentials',
      'admins',
      `${name} is in admins but has no credentials`,
      `csync-backup passwd add ${name}, or take the name out`,
    );
  }
  for (const name of users.filter((user) => !admins.includes(user))) {
    yield warn(
      'credentials',
      'admins',
      `${name} has credentials but is not in admins, and may not push`,
      `Add it to admins, or csync-backup passwd remove ${name}`,
    );
  }
}

function* certificates({ tlsServerCert, tlsServerKey, tlsRequired }: Config): Generator<DoctorCheck, void> {
  if (tlsServerCert === undefined) {
    const text = 'no tls_server_cert: mail travels in the clear';
    if (tlsRequired)
      yield error('tls', 'certificate', text, 'Set tls_server_cert, or backup_tls_required: no');
    else yield warn('tls', 'certificate', text, 'Set tls_server_cert, unless the network is trusted');
    return;
  }
  for (const file of names(tlsServerCert)) yield certificate(file);
  for (const file of names(tlsServerKey ?? '')) {
    const mode = fs.statSync(file, { throwIfNoEntry: false })?.mode;
    if (mode !== undefined && (mode & 0o007) !== 0)
      yield warn('tls', 'key', `everybody on this machine can read ${file}`, `chmod o= ${file}`);
  }
}

function certificate(file: string): DoctorCheck {
  let parsed: X509Certificate;
  try {
    parsed = new X509Certificate(fs.readFileSync(file));
  } catch (cause) {
    return error(
      'tls',
      'certificate',
      `${file}: ${(cause as Error).message}`,
      'Give a PEM file that this user can read',
    );
  }
  const days = Math.floor((Date.parse(parsed.validTo) - Date.now()) / DAY_MS);
  const until = new Date(parsed.validTo).toISOString();
  const remedy = 'Renew it and reload the server (SIGHUP)';
  if (days < 0) return error('tls', 'certificate', `${file} expired at ${until}`, remedy);
  if (days < CERTIFICATE_WARNING_DAYS)
    return warn('tls', 'certificate', `${file} expires at ${until}`, remedy);
  return ok('tls', 'certificate', `${file} is valid until ${until}`);
}

function names(value: string): string[] {
  return value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
