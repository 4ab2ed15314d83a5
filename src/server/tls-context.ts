/** Certificates from the configuration, read anew at each start and SIGHUP. */
import { readFileSync } from 'node:fs';
import tls from 'node:tls';
import type { Config } from '../config/config.ts';
import { BackupError } from '../platform/errors.ts';

/**
 * The context for all TLS connections; undefined where no certificate is configured.
 *
 * @throws BackupError CONFIG_INVALID when a file cannot be read or certificate and key do not fit
 */
export function loadSecureContext(config: Config): tls.SecureContext | undefined {
  if (config.tlsServerCert === undefined) return undefined;
  const certificates = fileNames(config.tlsServerCert);
  const keys = config.tlsServerKey === undefined ? certificates : fileNames(config.tlsServerKey);
  try {
    return tls.createSecureContext({
      cert: certificates.map((file) => readFileSync(file)),
      key: keys.map((file) => readFileSync(file)),
      minVersion: 'TLSv1.2',
      honorCipherOrder: true,
    });
  } catch (error) {
    throw new BackupError({
      code: 'CONFIG_INVALID',
      tried: 'load the certificate',
      subject: config.tlsServerCert,
      reason: error instanceof Error ? error.message : String(error),
      remedy:
        'Check tls_server_cert and tls_server_key: PEM files that this user can read and that belong together',
      cause: error,
    });
  }
}

function fileNames(value: string): string[] {
  return value
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
