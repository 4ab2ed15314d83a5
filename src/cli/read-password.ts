/** Takes a password from a pipe, or from a person without showing it. */
import type { ReadStream } from 'node:tty';
import { BackupError } from '../platform/errors.ts';

/** Longer than any password; what reads more is not one. */
const MAX_BYTES = 64 * 1024;

/**
 * From a terminal: asks twice on standard error. Otherwise: everything on standard input up to its end, less
 * one line break there.
 *
 * @throws BackupError USAGE if the two differ or nothing is given
 */
export async function readPassword(user: string): Promise<string> {
  if (!process.stdin.isTTY) return readAll();
  const lines = new HiddenLines(process.stdin);
  try {
    const first = await lines.ask(`Password for ${user}: `);
    const second = await lines.ask('Once more: ');
    if (first !== second) throw refused('the two differ');
    return first;
  } finally {
    lines.close();
  }
}

/**
 * A password that is there already, asked for once.
 *
 * @throws BackupError USAGE where nobody sits at a terminal
 */
export async function askPassword(prompt: string, remedy: string): Promise<string> {
  if (!process.stdin.isTTY) throw refused('there is no terminal to ask at', remedy);
  const lines = new HiddenLines(process.stdin);
  try {
    return await lines.ask(prompt);
  } finally {
    lines.close();
  }
}

async function readAll(): Promise<string> {
  const pieces: Buffer[] = [];
  let length = 0;
  for await (const piece of process.stdin as AsyncIterable<Buffer>) {
    pieces.push(piece);
    length += piece.length;
    if (length > MAX_BYTES) throw refused(`there are more than ${MAX_BYTES} bytes of it`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
      .decode(Buffer.concat(pieces))
      .replace(/\r?\n$/, '');
  } catch {
    throw refused('it is not UTF-8');
  }
}

/** Lines typed at a terminal in raw mode, where nothing that is typed is shown. */
class HiddenLines {
  readonly #input: ReadStream;
  #typed = '';
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(input: ReadStream) {
    this.#input = input;
    input.setEncoding('utf8');
    input.setRawMode(true);
    input.on('data', (text: string) => {
      this.#typed += text;
      this.#wake?.();
    });
    input.on('end', () => {
      this.#ended = true;
      this.#wake?.();
    });
  }

  async ask(prompt: string): Promise<string> {
    process.stderr.write(prompt);
    let line: string[] = [];
    for (;;) {
      for (let key = this.#next(); key !== undefined; key = this.#next()) {
        if (key === '\r' || key === '\n') {
          process.stderr.write('\n');
          return line.join('');
        }
        // Ctrl-C and Ctrl-D come as bytes in raw mode.
        if (key === '\x03' || (key === '\x04' && line.length === 0)) this.#abort();
        else if (key === '\x7f' || key === '\b') line.pop();
        else if (key === '\x15') line = [];
        else line.push(key);
      }
      if (this.#ended) this.#abort();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  close(): void {
    this.#input.setRawMode(false);
    this.#input.pause();
  }

  /** The next code point. */
  #next(): string | undefined {
    const code = this.#typed.codePointAt(0);
    if (code === undefined) return undefined;
    const key = String.fromCodePoint(code);
    this.#typed = this.#typed.slice(key.length);
    return key;
  }

  #abort(): never {
    process.stderr.write('\n');
    throw refused('it was interrupted');
  }
}

function refused(reason: string, remedy = 'Type it, or give it on standard input'): BackupError {
  return new BackupError({
    code: 'USAGE',
    tried: 'read',
    subject: 'the password',
    reason,
    remedy,
  });
}
