import { type Command, wrongCount } from './command.ts';

export const noop: Command = {
  word: 'NOOP',
  anonymous: true,
  run: async (_session, args) => wrongCount('NOOP', args, 0) ?? 'OK Noop completed',
};
