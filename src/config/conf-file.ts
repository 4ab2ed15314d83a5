/**
 * Reads files in the form of imapd.conf(5). The rules are those of Cyrus IMAP's lib/libconfig.c, so that one
 * file serves both: a line that Cyrus takes means the same here, and what ends Cyrus's programs is a problem here.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** One `key: value` of a file. */
export interface ConfEntry {
  /** Lower case: letters, digits, `-` and `_`. */
  key: string;
  /** Without white space around it; never empty. */
  value: string;
  file: string;
  /** Number of the first line of the entry, from 1. */
  line: number;
}

/** Why a line, or a file as a whole (line 0), cannot be used. */
export interface ConfProblem {
  file: string;
  line: number;
  /** The key, or as much of the line as could be told apart. */
  subject: string;
  /** The value as it stands in the file, if there is one. */
  value?: string;
  reason: string;
}

export interface ConfFile {
  /** In the order of the file, with included files in their place. No key occurs twice. */
  entries: ConfEntry[];
  problems: ConfProblem[];
}

const ENTRY = /^(@?[A-Za-z0-9_-]*):(.*)$/s;
/** What isspace(3) takes in the C locale; a JavaScript `\s` would also eat Unicode's spaces. */
const LEADING_SPACE = /^[ \t\n\v\f\r]+/;
const TRAILING_SPACE = /[ \t\n\v\f\r]+$/;

/** Reads a file and all that it includes. Never throws: what is wrong is in `problems`. */
export function readConfFile(file: string): ConfFile {
  const reader = new Reader();
  reader.file(file, undefined);
  return { entries: reader.entries, problems: reader.problems };
}

/** As readConfFile() for a text that is already in memory; `file` is the name used in entries and problems. */
export function parseConf(text: string, file: string): ConfFile {
  const reader = new Reader();
  reader.text(text, file);
  return { entries: reader.entries, problems: reader.problems };
}

class Reader {
  readonly entries: ConfEntry[] = [];
  readonly problems: ConfProblem[] = [];
  readonly #files = new Set<string>();
  readonly #seen = new Map<string, ConfEntry>();

  file(file: string, includedAt: { file: string; line: number } | undefined): void {
    const at = includedAt ?? { file, line: 0 };
    const subject = includedAt ? '@include' : file;
    const value = includedAt ? file : undefined;
    // Cyrus refuses a second visit too, and without it a file that includes itself would never end.
    if (this.#files.has(file)) {
      this.problems.push({ ...at, subject, value, reason: 'this file is included twice' });
      return;
    }
    this.#files.add(file);
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (error) {
      const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
      const who =
        code === 'EACCES'
          ? `by user ${process.getuid!()}: give it to the server's, or run commands as root `
          : '';
      this.problems.push({
        ...at,
        subject,
        value,
        reason: `cannot be read ${who}(${code ?? String(error)})`,
      });
      return;
    }
    this.text(text, file);
  }

  text(text: string, file: string): void {
    const lines = text.split('\n');
    // What follows the last newline is a line only if there is something; it cannot be continued.
    const last = lines.pop()!;
    let pending = '';
    let first = 0;
    lines.forEach((line, index) => {
      first ||= index + 1;
      if (line.endsWith('\\')) {
        pending += line.slice(0, -1);
        return;
      }
      this.#line(pending + line, file, first);
      pending = '';
      first = 0;
    });
    if (last !== '') this.#line(pending + last, file, first || lines.length + 1);
    else if (first > 0) {
      this.problems.push({
        file,
        line: first,
        subject: excerpt(pending),
        reason: 'the file ends where a line is continued with a backslash',
      });
    }
  }

  #line(raw: string, file: string, line: number): void {
    const text = raw.replace(LEADING_SPACE, '');
    if (text === '' || text.startsWith('#')) return;
    const match = ENTRY.exec(text);
    if (!match?.[1]) {
      this.problems.push({
        file,
        line,
        subject: excerpt(text),
        reason: 'not of the form "option: value" with an option of letters, digits, "-" and "_"',
      });
      return;
    }
    const key = match[1].toLowerCase();
    const value = match[2]!.replace(LEADING_SPACE, '').replace(TRAILING_SPACE, '');
    if (value === '') {
      this.problems.push({ file, line, subject: key, reason: 'has no value' });
    } else if (key === '@include') {
      this.file(includePath(value, file), { file, line });
    } else if (key.startsWith('@')) {
      this.problems.push({ file, line, subject: key, value, reason: 'no such directive; there is @include' });
    } else {
      this.#entry({ key, value, file, line });
    }
  }

  #entry(entry: ConfEntry): void {
    const before = this.#seen.get(entry.key);
    if (before) {
      const { file, line, key, value } = entry;
      const reason = `given twice; the first is at ${before.file}:${before.line}`;
      this.problems.push({ file, line, subject: key, value, reason });
      return;
    }
    this.#seen.set(entry.key, entry);
    this.entries.push(entry);
  }
}

/**
 * A relative name is looked for beside the file that includes it. (Cyrus looks in the working directory of the
 * process, which for its daemons is nowhere useful.)
 */
function includePath(value: string, from: string): string {
  return path.resolve(path.dirname(from), value);
}

function excerpt(text: string): string {
  return text.length > 40 ? `${text.slice(0, 40)}...` : text;
}
