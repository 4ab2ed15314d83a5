import { oneLine } from '../answer.ts';
import { type Command, wrongCount } from './command.ts';

/** From the byte after the answer on, both directions are deflated. After login only: it costs memory. */
export const compress: Command = {
  word: 'COMPRESS',
  anonymous: false,
  async run(session, args) {
    const complaint = wrongCount('COMPRESS', args, 1);
    if (complaint !== undefined) return complaint;
    const algorithm = oneLine(args[0]!);
    if (session.transport.isCompressed) return `NO Compression already active: ${algorithm}`;
    if (algorithm.toUpperCase() !== 'DEFLATE') return `NO Unknown compression algorithm: ${algorithm}`;
    const { compression } = session.server;
    if (compression.inflates === undefined) return 'NO Compression is not available here';
    session.writeLine('OK DEFLATE active');
    session.transport.startCompression(compression, session.takeRest());
    return undefined;
  },
};
