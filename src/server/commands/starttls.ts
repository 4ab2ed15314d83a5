import { type Command, wrongCount } from './command.ts';

export const starttls: Command = {
  word: 'STARTTLS',
  anonymous: true,
  async run(session, args) {
    const complaint = wrongCount('STARTTLS', args, 0);
    if (complaint !== undefined) return complaint;
    const { transport, server } = session;
    if (server.secureContext === undefined) return 'BAD IMAP_PROTOCOL_ERROR Unrecognized command';
    if (transport.isTls) return 'NO TLS already active';
    if (session.login !== undefined) return 'NO TLS must begin before the login';
    session.writeLine('OK Begin TLS negotiation now');
    // Whoever can write into the clear stream could otherwise have a command of his carried out inside TLS.
    session.takeRest();
    if (await session.startTls(server.secureContext)) session.greet();
    return undefined;
  },
};
