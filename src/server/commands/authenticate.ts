/** AUTHENTICATE MECHANISM [initial-response]: base64 lines around a SASL exchange. */
import type { SaslServerMechanism, SaslStep } from '../../sasl/mechanism.ts';
import { offeredMechanisms } from '../greeting.ts';
import type { Session } from '../session.ts';
import { type Command, wrongCount } from './command.ts';

/** A client that fails this often on one connection is guessing. */
const MAX_FAILURES = 5;
const MECHANISM = /^[A-Za-z0-9_-]{1,20}$/;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

export const authenticate: Command = {
  word: 'AUTHENTICATE',
  anonymous: true,
  async run(session, args) {
    const complaint = wrongCount('AUTHENTICATE', args, 1, 2);
    if (complaint !== undefined) return complaint;
    const [name, initial] = args as [string, string | undefined];
    if (!MECHANISM.test(name)) return 'BAD Invalid mechanism';
    if (session.login !== undefined) return 'BAD Already authenticated';
    const { config, metrics } = session.server;
    const offered = offeredMechanisms(config, session.transport.isTls);
    const mechanism = offered.includes(name.toUpperCase()) ? session.server.mechanism(name) : undefined;
    if (mechanism === undefined) {
      const needsTls =
        !session.transport.isTls && config.saslMechanisms.some((m) => m === name.toUpperCase());
      return needsTls ? 'NO This mechanism needs TLS' : 'NO no mechanism available';
    }
    const outcome = await exchange(session, mechanism, initial);
    metrics.logins.inc({ mechanism: name.toUpperCase(), result: outcome.result });
    if (outcome.result === 'failure') await failed(session, name, outcome.reason);
    return outcome.line;
  },
};

interface Outcome {
  result: 'success' | 'failure' | 'cancelled' | 'unavailable';
  line: string | undefined;
  reason: string;
}

async function exchange(
  session: Session,
  mechanism: SaslServerMechanism,
  initial: string | undefined,
): Promise<Outcome> {
  let response = initial === undefined ? null : decode(initial === '=' ? '' : initial);
  for (;;) {
    if (response === undefined)
      return { result: 'cancelled', line: 'BAD Invalid base64 in the response', reason: '' };
    let step: SaslStep;
    try {
      step = await mechanism.step(response);
    } catch (error) {
      session.server.log.error(
        { err: error, session: session.id, code: (error as { code?: string }).code },
        'cannot check a login',
      );
      return { result: 'unavailable', line: 'NO Temporary authentication failure', reason: '' };
    }
    if (step.type === 'failure')
      return { result: 'failure', line: 'NO authentication failure', reason: step.reason };
    if (step.type === 'success' && step.data === undefined) return succeeded(session, step.user);
    // csync's success carries no data: it goes as one more challenge, to which the client has nothing to say.
    const line = await ask(session, step.data!);
    if (line === undefined) return { result: 'cancelled', line: undefined, reason: '' };
    if (line === '*') return { result: 'cancelled', line: 'BAD Client canceled authentication', reason: '' };
    if (step.type === 'success') return succeeded(session, step.user);
    response = decode(line);
  }
}

/** A challenge, and the line that answers it; undefined when the client went away. */
function ask(session: Session, challenge: Uint8Array): Promise<string | undefined> {
  session.writeLine(`+ ${Buffer.from(challenge).toString('base64')}`);
  return session.readLine();
}

function decode(text: string): Uint8Array | undefined {
  return BASE64.test(text) ? Buffer.from(text, 'base64') : undefined;
}

function succeeded(session: Session, user: string): Outcome {
  const isAdmin = session.server.config.admins.includes(user);
  session.login = { user, isAdmin };
  const { log } = session.server;
  const client = session.transport.remoteAddress;
  if (!isAdmin) {
    log.warn(
      { session: session.id, client, user, code: 'PERMISSION_DENIED' },
      'login of a user who is not in admins',
    );
  }
  const protection = session.transport.isTls ? 'tls protection' : 'no protection';
  return { result: 'success', line: `OK Success (${protection})`, reason: '' };
}

async function failed(session: Session, mechanism: string, reason: string): Promise<void> {
  session.server.log.warn(
    {
      session: session.id,
      client: session.transport.remoteAddress,
      mechanism,
      reason,
      code: 'CREDENTIALS_INVALID',
    },
    'login failed',
  );
  await session.pauseAfterFailure();
  session.loginFailures++;
  if (session.loginFailures >= MAX_FAILURES)
    session.close('Too many failed logins', 'too many failed logins');
}
