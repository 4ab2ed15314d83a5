import { type Command, wrongCount } from './command.ts';

/** The end of a sync: what it brought is finished, and other programs may have the backups. */
export const restart: Command = {
  word: 'RESTART',
  anonymous: true,
  async run(session, args) {
    const complaint = wrongCount('RESTART', args, 0);
    if (complaint !== undefined) return complaint;
    await session.restart();
    return 'OK Restarting';
  },
};
