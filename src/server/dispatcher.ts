/** From the decoder's events to the commands' code. */
import type { BadCommand, DecoderEvents, FileHeader } from '../csync/decoder.ts';
import type { Dlist } from '../csync/dlist.ts';
import { answerLine, oneLine } from './answer.ts';
import type { ApplyHandler } from './apply/handler.ts';
import { findApplyVerb } from './apply/registry.ts';
import { answerImap } from './commands/imap.ts';
import { findCommand } from './commands/registry.ts';
import { findGetVerb } from './get/registry.ts';
import { greetingOk } from './greeting.ts';
import type { Session } from './session.ts';

const UNRECOGNIZED = 'BAD IMAP_PROTOCOL_ERROR Unrecognized command';
const NOT_LOGGED_IN = 'NO Please authenticate first';
const PERMISSION_DENIED = 'NO IMAP_PERMISSION_DENIED Permission denied';

/** A command that is dropped as it comes, because it is refused. */
interface Refused {
  line: string;
}

export class Dispatcher implements DecoderEvents {
  readonly #session: Session;
  #greetedAgain = false;
  #apply: { verb: string; handler: ApplyHandler } | Refused | undefined;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Part of an APPLY has come. */
  get isReceiving(): boolean {
    return this.#apply !== undefined;
  }

  /** The command that is half received is forgotten. */
  async abort(): Promise<void> {
    const apply = this.#apply;
    this.#apply = undefined;
    if (apply !== undefined && 'handler' in apply) await apply.handler.text?.abort();
  }

  /** The command that is half received is refused when its end comes; false if there is none. */
  async interrupt(why: string): Promise<boolean> {
    const apply = this.#apply;
    if (apply === undefined || !('handler' in apply) || apply.handler.text === undefined) return false;
    apply.handler.text.fail('IMAP_MAILBOX_LOCKED', why);
    await apply.handler.text.abort();
    return true;
  }

  /** Gives memory back that others wait for; false if the command must end for that. */
  flushEarly(): boolean {
    const apply = this.#apply;
    return apply === undefined || !('handler' in apply) || (apply.handler.text?.flushEarly() ?? true);
  }

  applyStart(verb: string): void {
    const refusal = this.#refusal();
    const found = refusal === undefined ? findApplyVerb(verb) : undefined;
    if (found === undefined) this.#apply = { line: refusal ?? 'NO IMAP_PROTOCOL_ERROR Protocol error' };
    else this.#apply = { verb: `APPLY ${found.verb}`, handler: found.begin(this.#session) };
  }

  text(bytes: Uint8Array, start: number, end: number): number {
    const text = this.#handler?.text;
    if (text === undefined) return end - start;
    const taken = text.take(bytes, start, end);
    if (taken < end - start) this.#session.waitForRoom();
    return taken;
  }

  messageStart(file: FileHeader): void {
    this.#handler?.messageStart?.(file);
  }

  messageEnd(): void {
    this.#handler?.messageEnd?.();
  }

  field(key: string, value: string | null): void {
    this.#handler?.field?.(key, value);
  }

  item(key: string, value: string | null): void {
    this.#handler?.item?.(key, value);
  }

  applyEnd(): void {
    const apply = this.#apply!;
    this.#apply = undefined;
    if ('handler' in apply)
      this.#session.run(apply.verb, async () => answerLine(await apply.handler.finish()));
    else this.#refuse('APPLY', apply.line);
  }

  applyAbort(reason: BadCommand): void {
    const apply = this.#apply!;
    this.#apply = undefined;
    if (!('handler' in apply)) {
      this.#refuse('APPLY', apply.line);
      return;
    }
    this.#session.run(apply.verb, async () => {
      await apply.handler.text?.abort();
      // A limit may be one that the client cannot help: it must not take the answer as a reason to start anew.
      return reason.kind === 'limit'
        ? `NO IMAP_MAILBOX_LOCKED Over a limit: ${oneLine(reason.text)}`
        : badLine(reason);
    });
  }

  get(name: string, value: Dlist): void {
    const refusal = this.#refusal();
    const verb = findGetVerb(name);
    if (refusal !== undefined) this.#refuse('GET', refusal);
    else if (verb === undefined) this.#refuse('GET', 'NO IMAP_PROTOCOL_ERROR Protocol error');
    else this.#session.run(`GET ${name}`, async () => answerLine(await verb.run(this.#session, value)));
  }

  command(word: string, args: string[], sent: string): void {
    const command = findCommand(word);
    const { login } = this.#session;
    if (command === undefined) {
      const imap = answerImap(sent, args, this.#greetingAgain());
      this.#session.run(imap === undefined ? 'unknown' : 'imap probe', async () => {
        if (imap?.ends) this.#session.close(undefined, 'LOGOUT');
        return imap?.line ?? UNRECOGNIZED;
      });
    } else if (!command.anonymous && login === undefined) {
      this.#refuse(word, NOT_LOGGED_IN);
    } else if (login?.isAdmin === false && word !== 'EXIT') {
      this.#refuse(word, PERMISSION_DENIED);
    } else {
      this.#session.run(word, () => command.run(this.#session, args));
    }
  }

  line(text: string): void {
    this.#session.takeLine(text);
  }

  continuation(): void {
    this.#session.writeLine('+ go ahead');
  }

  bad(reason: BadCommand): void {
    this.#session.run('unknown', async () => badLine(reason));
  }

  get #handler(): ApplyHandler | undefined {
    return this.#apply !== undefined && 'handler' in this.#apply ? this.#apply.handler : undefined;
  }

  /** Once, for a client that has TLS from the first byte. */
  #greetingAgain(): string | undefined {
    if (!this.#session.isTlsFromStart || this.#greetedAgain) return undefined;
    this.#greetedAgain = true;
    return greetingOk(this.#session.server);
  }

  /** Why this client may apply and get nothing. */
  #refusal(): string | undefined {
    const { login } = this.#session;
    if (login === undefined) return NOT_LOGGED_IN;
    return login.isAdmin ? undefined : PERMISSION_DENIED;
  }

  /** A client that is refused for good comes back at once and without end: it is made to wait. */
  #refuse(verb: string, line: string): void {
    this.#session.run(verb, async () => {
      if (line === PERMISSION_DENIED) await this.#session.pauseAfterFailure();
      return line;
    });
  }
}

function badLine(reason: BadCommand): string {
  return reason.kind === 'empty' ? 'BAD Null command' : `BAD IMAP_PROTOCOL_ERROR ${oneLine(reason.text)}`;
}
