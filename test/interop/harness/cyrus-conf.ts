/** Configuration files of the Cyrus instances that the tests start. */

export const ADMIN = { user: 'backup', password: 'secret' };

export type InstanceName = 'source' | 'peer' | 'target';

export interface InstancePorts {
  imap: number;
  /** Of the target: TLS from the first byte, where it has a certificate. */
  imaps: number;
  sieve: number;
  csync: number;
}

/** imapd.conf text of one option a line. */
export function confText(options: Record<string, string>): string {
  return Object.entries(options)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');
}

/** What each Cyrus program needs to run below `dir` and touch nothing else. */
export function commonOptions(name: string, dir: string, sasldb: string): Record<string, string> {
  return {
    servername: `${name}.interop.test`,
    configdirectory: `${dir}/conf`,
    defaultpartition: 'default',
    'partition-default': `${dir}/spool`,
    sievedir: `${dir}/sieve`,
    temp_path: `${dir}/tmp`,
    proc_path: `${dir}/run/proc`,
    mboxname_lockpath: `${dir}/run/lock`,
    lmtpsocket: `${dir}/run/lmtp`,
    idlesocket: `${dir}/run/idle`,
    notifysocket: `${dir}/run/notify`,
    hashimapspool: 'yes',
    altnamespace: 'yes',
    unixhierarchysep: 'yes',
    virtdomains: 'off',
    umask: '077',
    syslog_prefix: `interop-${name}`,
    admins: ADMIN.user,
    allowplaintext: 'yes',
    sasl_pwcheck_method: 'auxprop',
    sasl_auxprop_plugin: 'sasldb',
    sasl_sasldb_path: sasldb,
    sasl_mech_list: 'PLAIN SCRAM-SHA-256 SCRAM-SHA-1',
  };
}

/** How sync_client, or imapd for XBACKUP, reaches the backup server: the channel `backup`. */
export function channelOptions(port: number, mechanism?: string): Record<string, string> {
  return {
    backup_sync_host: '127.0.0.1',
    backup_sync_port: String(port),
    backup_sync_authname: ADMIN.user,
    backup_sync_password: ADMIN.password,
    backup_sync_repeat_interval: '1',
    backup_sync_try_imap: '0',
    ...(mechanism === undefined ? {} : { force_sasl_client_mech: mechanism }),
  };
}

/** The same without a channel: what Cyrus's restore reads. */
export function restoreOptions(port: number): Record<string, string> {
  return {
    sync_host: '127.0.0.1',
    sync_port: String(port),
    sync_authname: ADMIN.user,
    sync_password: ADMIN.password,
    sync_try_imap: 'no',
  };
}

export function instanceOptions(name: InstanceName, dir: string, sasldb: string): Record<string, string> {
  const common = commonOptions(name, dir, sasldb);
  if (name === 'source') {
    return {
      ...common,
      'partition-second': `${dir}/spool2`,
      sync_log: 'yes',
      sync_log_channels: 'backup',
      xbackup_enabled: 'yes',
      annotation_allow_undefined: 'yes',
      allowusermoves: 'yes',
      expunge_mode: 'delayed',
      delete_mode: 'delayed',
    };
  }
  if (name === 'peer') {
    return {
      ...common,
      'backuppartition-default': `${dir}/backup`,
      backup_staging_path: `${dir}/staging`,
      backup_db: 'twoskip',
      backup_db_path: `${dir}/conf/backups.db`,
      backup_retention: '7d',
    };
  }
  // All that the source knows has to find its place there.
  const partition = { 'partition-second': `${dir}/spool2` };
  return {
    ...common,
    ...partition,
    annotation_allow_undefined: 'yes',
    expunge_mode: 'delayed',
    delete_mode: 'delayed',
  };
}

/** cyrus.conf: which servers `master` starts. master hands no -C down, so each command names it. */
export function mastersText(name: InstanceName, dir: string, ports: InstancePorts): string {
  const c = `-C ${dir}/imapd.conf`;
  const service = (id: string, cmd: string, port: number): string =>
    `  ${id} cmd="${cmd} ${c}" listen="127.0.0.1:${port}" proto="tcp4" prefork=0\n`;
  const services = {
    source:
      service('imap', 'imapd', ports.imap) +
      service('sieve', 'timsieved', ports.sieve) +
      `  lmtpunix cmd="lmtpd ${c}" listen="${dir}/run/lmtp" prefork=0\n`,
    peer: service('backupd', 'backupd', ports.csync),
    target:
      service('imap', 'imapd', ports.imap) +
      service('imaps', 'imapd -s', ports.imaps) +
      service('sieve', 'timsieved', ports.sieve) +
      service('syncserver', 'sync_server', ports.csync),
  };
  return `START {\n  recover cmd="ctl_cyrusdb ${c} -r"\n}\nSERVICES {\n${services[name]}}\nEVENTS {\n}\n`;
}
