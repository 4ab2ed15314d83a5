/** Every command by its word, but for APPLY and GET, which have registries of their own. */
import { authenticate } from './authenticate.ts';
import type { Command } from './command.ts';
import { compress } from './compress.ts';
import { exit } from './exit.ts';
import { noop } from './noop.ts';
import { restart } from './restart.ts';
import { starttls } from './starttls.ts';

const commands: readonly Command[] = [authenticate, compress, exit, noop, restart, starttls];
const byWord = new Map(commands.map((command) => [command.word, command]));

/** Their words. */
export const COMMAND_WORDS: readonly string[] = [...byWord.keys()];

/** The command of this word, upper-case. */
export function findCommand(word: string): Command | undefined {
  return byWord.get(word);
}
