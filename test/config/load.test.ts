import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ensureEmbeddedDirectories } from '../../src/config/embedded.ts';
import { loadConfig, loadConfigWithOrigins } from '../../src/config/load.ts';
import { BackupError } from '../../src/platform/errors.ts';

let root: string;
let file: string;
beforeEach(() => {
  root = mkdtempSync(path.join(os.tmpdir(), 'config-'));
  file = path.join(root, 'imapd.conf');
  mkdirSync(path.join(root, 'p1'));
  mkdirSync(path.join(root, 'p2'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** A file that is right but for `lines`; their first has number 3. */
function write(lines: string): void {
  writeFileSync(file, `configdirectory: ${root}/conf\nbackuppartition-default: ${root}/p1\n${lines}`);
}

function problems(): BackupError {
  try {
    loadConfig({ file });
  } catch (error) {
    expect(error).toBeInstanceOf(BackupError);
    return error as BackupError;
  }
  throw new Error('the file was accepted');
}

describe('values', () => {
  test('defaults are those of Cyrus 3.10 where there are any', () => {
    write('');
    expect(loadConfig({ file })).toMatchObject({
      file,
      configDirectory: `${root}/conf`,
      tempPath: '/tmp',
      servername: os.hostname(),
      admins: [],
      allowPlaintext: false,
      failedLoginPauseMs: 3000,
      syncTimeoutMs: 1_800_000,
      defaultDomain: 'internal',
      virtDomains: 'off',
      unixHierarchySep: true,
      deletedPrefix: 'DELETED',
      fullDirHash: false,
      maxWordBytes: 131_072,
      maxQuotedBytes: 131_072,
      partitions: [{ name: 'default', path: `${root}/p1` }],
      partitionSelectMode: 'freespace-most',
      backupDbPath: `${root}/conf/backups.db`,
      backupStagingPath: '/tmp/backup',
      backupRetentionMs: 604_800_000,
      backupKeepPrevious: false,
      backupCompactMinSizeBytes: 0,
      backupCompactMaxSizeBytes: 0,
      backupCompactWorkThreshold: 1,
      durability: 'ack',
      saslauthdPath: undefined,
      passwdFile: `${root}/conf/csync-backup.passwd`,
    });
  });

  test('the configuration can be handed to a worker', () => {
    write('backup_metrics_listen: off\n');
    const config = loadConfig({ file });
    expect(structuredClone(config)).toEqual(config);
    expect(config.metricsListen).toBeUndefined();
  });

  test('options of other programs are ignored', () => {
    write(
      'imap_admins: x\nsieve_maxscripts: lots\nbackupd_allowplaintext: maybe\nnonsense: 1\npartition-default: /gone\nsync_host: h\n',
    );
    expect(loadConfig({ file }).admins).toEqual([]);
  });

  test("options of a sync channel called backup are sync_client's", () => {
    write('backup_sync_host: h\nbackup_sync_authname: u\nbackup_two_sync_port: 1\n');
    expect(() => loadConfig({ file })).not.toThrow();
  });

  test('older names count, the newer one wins', () => {
    write(
      'backup_retention_days: 14\ntls_cert_file: /c.pem\ntls_key_file: /k.pem\ntls_server_cert: /new.pem\n',
    );
    const { config, values } = loadConfigWithOrigins({ file });
    expect(config).toMatchObject({
      backupRetentionMs: 14 * 86_400_000,
      tlsServerCert: '/new.pem',
      tlsServerKey: '/k.pem',
    });
    expect(values.find((value) => value.option === 'backup_retention')).toEqual({
      option: 'backup_retention',
      value: '14d',
      origin: { source: 'file', file, line: 3, option: 'backup_retention_days' },
    });
  });

  test('paths may begin with {configdirectory} and {temp_path}', () => {
    write(
      `temp_path: ${root}/t\nbackup_staging_path: {temp_path}/s\nbackup_passwd_file: {ConfigDirectory}/pw\n`,
    );
    expect(loadConfig({ file })).toMatchObject({
      backupStagingPath: `${root}/t/s`,
      passwdFile: `${root}/conf/pw`,
    });
  });

  test('saslauthd is asked if it is named, or if only its socket is', () => {
    write('sasl_pwcheck_method: saslauthd\n');
    expect(loadConfig({ file }).saslauthdPath).toBe('/run/saslauthd/mux');
    write('sasl_saslauthd_path: /s/mux\n');
    expect(loadConfig({ file }).saslauthdPath).toBe('/s/mux');
    write('sasl_pwcheck_method: auxprop\nsasl_saslauthd_path: /s/mux\n');
    expect(loadConfig({ file }).saslauthdPath).toBeUndefined();
  });

  test('tls_server_cert: disabled is no certificate', () => {
    write('tls_server_cert: disabled\n');
    expect(loadConfig({ file }).tlsServerCert).toBeUndefined();
  });

  test('each value says where it comes from', () => {
    const extra = path.join(root, 'extra.conf');
    writeFileSync(extra, '\nadmins: a b\n');
    write('@include: extra.conf\n');
    const { values } = loadConfigWithOrigins({ file });
    const origin = (name: string) => values.find((value) => value.option === name);
    expect(origin('admins')).toEqual({
      option: 'admins',
      value: 'a b',
      origin: { source: 'file', file: extra, line: 2 },
    });
    expect(origin('maxword')).toEqual({ option: 'maxword', value: '128K', origin: { source: 'default' } });
    expect(origin('backuppartition-default')).toEqual({
      option: 'backuppartition-default',
      value: `${root}/p1`,
      origin: { source: 'file', file, line: 2 },
    });
  });
});

describe('problems', () => {
  test('a bad value: file, line, value and what is allowed', () => {
    write('\nbackup_durability: sometimes\n');
    const error = problems();
    expect(error.code).toBe('CONFIG_INVALID');
    expect(error.exitStatus).toBe(78);
    expect(error.subject).toBe(file);
    expect(error.reason).toBe(
      `${file}:4: backup_durability "sometimes" is not among the choices; allowed: ack, restart, none`,
    );
  });

  test('an unknown backup_ option, with the one that was meant', () => {
    write('backup_retension: 7d\n');
    expect(problems().reason).toMatch(
      /:3: backup_retension "7d" is no option; backup_retention is; allowed: backup_db, /,
    );
    for (const name of ['backup_frobnicate', 'backup-listen', 'backuppartition', 'backuppartition-']) {
      write(`${name}: ${root}/p2\n`);
      expect(problems().reason).toContain(`${file}:3: ${name} `);
    }
  });

  test('all of them at once', () => {
    write('backup_workers: 0\nallowplaintext: maybe\nbackup_x: 1\nno option\nmaxword: many\n');
    const { reason } = problems();
    for (const line of [3, 4, 5, 6, 7]) expect(reason).toContain(`${file}:${line}: `);
    expect(reason).toContain('5 problems');
  });

  test('a partition that is missing, no directory, inside another or another', () => {
    writeFileSync(path.join(root, 'plain'), '');
    mkdirSync(path.join(root, 'p1', 'inner'));
    symlinkSync(path.join(root, 'p1'), path.join(root, 'link'));
    const cases = {
      [`${root}/gone`]: 'does not exist',
      [`${root}/plain`]: 'is no directory',
      [`${root}/p1/inner`]: `is inside backuppartition-default, which is "${root}/p1"`,
      [root]: `is inside backuppartition-two, which is "${root}"`,
      [`${root}/link`]: 'is the same directory as backuppartition-default',
      [`${root}/link/inner`]: 'is inside backuppartition-default',
    };
    for (const [value, reason] of Object.entries(cases)) {
      write(`backuppartition-two: ${value}\n`);
      expect(problems().reason).toContain(reason);
      expect(problems().reason).toContain('allowed: a directory that exists');
    }
    write(`backuppartition-two: ${root}/p2\nbackuppartition-p1x: ${root}/p1x\n`);
    mkdirSync(path.join(root, 'p1x')); // a name that only begins like another is not inside it
    expect(loadConfig({ file }).partitions.map(({ name }) => name)).toEqual(['default', 'p1x', 'two']);
  });

  test('a partition that cannot be written to', () => {
    // Linux lets nobody make files there, root included; in a container it may be mounted read-only besides.
    write('backuppartition-two: /proc/sys\n');
    expect(problems().reason).toMatch(
      /:3: backuppartition-two "\/proc\/sys" (cannot be read and written by user \d+|is on a filesystem that is mounted read-only); allowed/,
    );
  });

  test('no partition, no configdirectory, no file', () => {
    writeFileSync(file, `configdirectory: ${root}\n`);
    expect(problems().reason).toContain('backuppartition-NAME is not given');
    writeFileSync(file, `backuppartition-a: ${root}/p1\n`);
    expect(problems().reason).toContain('configdirectory is not given');
    rmSync(file);
    expect(problems().reason).toBe('cannot be read (ENOENT)');
  });

  test('TLS without a certificate, keys without their certificates', () => {
    for (const line of ['backup_tls_required: yes', 'tls_required: 1', 'backup_listen: 127.0.0.1:1/tls']) {
      write(`${line}\n`);
      expect(problems().reason).toContain('but there is no certificate');
    }
    write('sasl_mech_list: PLAIN\n');
    expect(problems().reason).toContain('leaves no way to log in');
    write('sasl_mech_list: PLAIN\nallowplaintext: yes\n');
    expect(loadConfig({ file }).saslMechanisms).toEqual(['PLAIN']);
    write('tls_required: yes\ntls_server_cert: /c\n');
    expect(loadConfig({ file }).tlsRequired).toBe(true);
    write('tls_server_cert: /c,/d\ntls_server_key: /k\n');
    expect(problems().reason).toContain('another number of files');
  });

  test('property: any file is accepted or refused with CONFIG_INVALID', () => {
    const line = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 20 }),
      fc
        .tuple(
          fc.constantFrom(
            'backup_workers',
            'admins',
            'backup_listen',
            'backuppartition-x',
            'tls_server_cert',
            '@include',
          ),
          fc.string({ unit: 'binary', maxLength: 12 }),
        )
        .map(([key, value]) => `${key}: ${value}`),
    );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 6 }), (lines) => {
        write(lines.join('\n'));
        try {
          loadConfig({ file });
        } catch (error) {
          expect(error).toBeInstanceOf(BackupError);
          expect((error as BackupError).code).toBe('CONFIG_INVALID');
        }
      }),
    );
  });
});

describe('without -C', () => {
  test("the system's file counts if it names a backup partition", () => {
    write('');
    expect(loadConfig({ systemFile: file, cwd: root }).file).toBe(file);
  });

  test('a file of our own counts before it', () => {
    write('');
    const ownFile = path.join(root, 'csync-backup.conf');
    expect(loadConfig({ ownFile, systemFile: file, cwd: root }).file).toBe(file);
    copyFileSync(file, ownFile);
    expect(loadConfig({ ownFile, systemFile: file, cwd: root }).file).toBe(ownFile);
  });

  test('otherwise everything is below var/csync-backup, on loopback', () => {
    writeFileSync(file, 'configdirectory: /var/lib/cyrus\nallowplaintext: maybe\n');
    for (const systemFile of [file, path.join(root, 'none')]) {
      const { config, values } = loadConfigWithOrigins({ systemFile, cwd: root });
      const data = `${root}/var/csync-backup`;
      expect(config).toMatchObject({
        file: '<embedded default>',
        listen: [{ host: '127.0.0.1', port: 2005, tls: false }],
        metricsListen: { host: '127.0.0.1', port: 9205 },
        admins: ['backup'],
      });
      const paths = [config.configDirectory, config.tempPath, config.backupDbPath, config.backupStagingPath];
      for (const one of [...paths, config.passwdFile, config.partitions[0]!.path]) {
        expect(one.startsWith(`${data}/`)).toBe(true);
      }
      expect(values.find((value) => value.option === 'admins')?.origin).toEqual({ source: 'embedded' });
    }
  });

  test('a system file that cannot be read in full is an error, not a reason to serve something else', () => {
    writeFileSync(file, '@include: secret.conf\n');
    expect(() => loadConfig({ systemFile: file, cwd: root })).toThrow(/secret\.conf" cannot be read/);
  });

  test('its directories are made for the owner alone, once', () => {
    const config = loadConfig({ systemFile: path.join(root, 'none'), cwd: root });
    ensureEmbeddedDirectories(config);
    ensureEmbeddedDirectories(config);
    for (const one of [config.configDirectory, config.backupStagingPath, config.partitions[0]!.path]) {
      expect(statSync(one).mode & 0o7777).toBe(0o700);
    }
  });

  test('nothing is made where a file is used', () => {
    write('');
    const config = loadConfig({ file });
    ensureEmbeddedDirectories(config);
    expect(() => statSync(config.configDirectory)).toThrow(/ENOENT/);
  });
});
