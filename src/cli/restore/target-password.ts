/** The password for the target of a restore. */
import { readPasswordFile } from '../../maintenance/pull.ts';
import { askPassword } from '../read-password.ts';
import type { RestoreFlags } from './restore.ts';

/** Asked for once, however many users are restored. */
const asked = new Map<string, Promise<string>>();

/**
 * That of --password-file, or what is typed at the terminal.
 *
 * @param remedy what to do where nobody sits at one
 * @throws BackupError USAGE, CREDENTIALS_INVALID, NOT_FOUND
 */
export async function targetPassword(
  user: string,
  host: string,
  flags: RestoreFlags,
  remedy: string,
): Promise<string> {
  if (flags.passwordFile !== undefined) return readPasswordFile(flags.passwordFile);
  const prompt = `Password of ${user} at ${host}: `;
  const answer = asked.get(prompt) ?? askPassword(prompt, remedy);
  asked.set(prompt, answer);
  return await answer;
}
