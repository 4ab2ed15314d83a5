/** The header of a message or of a part of one. It takes what mail there is: nothing in it is an error. */
import { decodeHeader } from './encoded-words.ts';

const CR = 0x0d;
const LF = 0x0a;

/** A field: its name in lower case, its value as it stands there, one character for each byte. */
type Field = [name: string, raw: string];

export class MessageHead {
  readonly #fields: Field[] = [];

  /** @param text one character for each byte; what stands behind an empty line is no part of it */
  constructor(text: string) {
    for (let at = 0; at < text.length; ) {
      const lineEnd = endOfLine(text, at);
      if (isBlank(text, at)) return;
      let end = lineEnd;
      while (end < text.length && (text[end] === ' ' || text[end] === '\t')) end = endOfLine(text, end);
      const line = text.slice(at, lineEnd);
      const colon = line.indexOf(':');
      if (colon !== -1) {
        const name = line.slice(0, colon).trimEnd();
        // Not `From anne Mon Nov 23 10:00:00`, which mbox files leave behind.
        if (/^[!-~]+$/.test(name)) this.#fields.push([name.toLowerCase(), text.slice(at + colon + 1, end)]);
      }
      at = end;
    }
  }

  /** Values of the fields of this name (lower case), unfolded and decoded, in order. */
  values(name: string): string[] {
    return this.#fields.filter(([of]) => of === name).map(([, raw]) => decodeHeader(unfold(raw)));
  }

  /** The first of them. */
  value(name: string): string | undefined {
    const raw = this.raw(name);
    return raw === undefined ? undefined : decodeHeader(raw);
  }

  /** Unfolded, but not decoded: one character for each byte. */
  raw(name: string): string | undefined {
    const field = this.#fields.find(([of]) => of === name);
    return field && unfold(field[1]);
  }

  /** All fields, decoded, in order. */
  *all(): Generator<string, void> {
    for (const [, raw] of this.#fields) yield decodeHeader(unfold(raw));
  }

  /** In seconds since 1970; undefined if there is no field Date, or none that says one. */
  get sentAt(): number | undefined {
    const time = Date.parse((this.raw('date') ?? '').replaceAll(/\([^()]*\)/g, ' ').trim());
    return Number.isNaN(time) ? undefined : Math.floor(time / 1000);
  }
}

/** Where the header ends, the empty line behind it not included; undefined if its end is not there. */
export function endOfHead(text: string, from = 0): number | undefined {
  if (isBlank(text, from)) return from;
  for (let lf = text.indexOf('\n', from); lf !== -1; lf = text.indexOf('\n', lf + 1)) {
    if (isBlank(text, lf + 1)) return lf + 1;
  }
  return undefined;
}

/** Where what follows the empty line at `at` begins. */
export function behindBlankLine(text: string, at: number): number {
  return endOfLine(text, at);
}

/** Whether an empty line, all of it, stands at `at`. */
function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === LF || (code === CR && text.charCodeAt(at + 1) === LF);
}

function endOfLine(text: string, at: number): number {
  const lf = text.indexOf('\n', at);
  return lf === -1 ? text.length : lf + 1;
}

function unfold(raw: string): string {
  return raw.replaceAll(/\r?\n/g, '').trim();
}
