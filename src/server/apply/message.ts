/** MESSAGE: mail content, before anybody says for certain whose it is. */
import { type Answer, OK, protocolError } from '../answer.ts';
import type { CommandText } from '../command-text.ts';
import type { Session } from '../session.ts';
import type { ApplyHandler, ApplyVerb } from './handler.ts';
import { BackupSink, StagingSink } from './sinks.ts';

export const messageVerb: ApplyVerb = { verb: 'MESSAGE', begin: (session) => new MessageHandler(session) };

class MessageHandler implements ApplyHandler {
  readonly text: CommandText;
  readonly #session: Session;
  #sink: BackupSink | StagingSink | undefined;
  #unsent = 0;

  constructor(session: Session) {
    this.#session = session;
    this.text = session.newText();
    this.text.onNeedSink = () => this.#chooseSink();
  }

  messageStart(file: { partition: string; guid: string; size: number }): void {
    this.text.messageStart(file);
  }

  messageEnd(): void {
    this.text.messageEnd();
  }

  /** sync_client writes NIL in place of a file that it cannot read. The MAILBOX behind it tells which. */
  item(_key: string, value: string | null): void {
    if (value === null) this.#unsent++;
  }

  async finish(): Promise<Answer> {
    const { messages } = this.text;
    this.#session.routing.unsent += this.#unsent;
    if (messages.length === 0 && this.#unsent > 0 && this.text.failure === undefined) {
      await this.text.abort();
      return OK;
    }
    if (messages.length === 0) this.text.fail('IMAP_PROTOCOL_ERROR', 'There is no message in it');
    const sink = this.#chooseSink();
    const { code, text } = await this.text.finish();
    if (code === 'NEED') return protocolError('MESSAGE cannot need messages');
    if (code !== 'OK') return { code, text };
    if (sink instanceof StagingSink) {
      await sink.remember(messages);
      this.#session.server.metrics.staged.inc(messages.length);
    } else {
      for (const { guid } of messages) this.#session.routing.hold(guid, sink.userid);
      this.#session.backups.setPending(sink.userid, true);
    }
    let bytes = 0;
    for (const { size } of messages) bytes += size;
    this.#session.countMessages(messages.length, bytes);
    return { code, text };
  }

  /** By the GUIDs seen so far: in a long command the rest follows the first megabyte. */
  #chooseSink(): BackupSink | StagingSink {
    if (this.#sink === undefined) {
      const owner = this.#session.routing.ownerOf(this.text.messages.map(({ guid }) => guid));
      this.#sink =
        owner === undefined
          ? new StagingSink(this.#session)
          : new BackupSink(this.#session, owner, 'MESSAGE');
      this.text.sink = this.#sink;
    }
    return this.#sink;
  }
}
