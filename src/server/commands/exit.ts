import { type Command, wrongCount } from './command.ts';

export const exit: Command = {
  word: 'EXIT',
  anonymous: true,
  async run(session, args) {
    const complaint = wrongCount('EXIT', args, 0);
    if (complaint !== undefined) return complaint;
    await session.release();
    session.close(undefined, 'EXIT');
    return 'OK Finished';
  },
};
