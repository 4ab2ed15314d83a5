import { randomBytes } from 'node:crypto';
import type { Config } from '../config/config.ts';
import { EMBEDDED_USER, isEmbedded } from '../config/embedded.ts';
import { makeKeys, updateCredentials } from './credential-file.ts';

/**
 * On the first start with the embedded configuration: makes its user with a random password, which is
 * returned to be shown once and stored nowhere. Undefined ever after, and with a configuration file.
 *
 * @throws BackupError if the credential file cannot be written
 */
export async function ensureFirstCredentials(
  config: Config,
): Promise<{ user: string; password: string } | undefined> {
  if (!isEmbedded(config)) return undefined;
  const password = randomBytes(18).toString('base64url');
  const keys = await makeKeys(password);
  return updateCredentials(config.passwdFile, ({ users }, isNew) => {
    if (!isNew) return undefined;
    users.set(EMBEDDED_USER, keys);
    return { user: EMBEDDED_USER, password };
  });
}
