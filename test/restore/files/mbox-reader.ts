/** Reads an mbox file as docs/restore.md says, and knows nothing of how it was written. */

export interface ReadMessage {
  from: string;
  /** Fields before the message's own, by name. */
  fields: Record<string, string>;
  content: Buffer;
}

export function readMbox(bytes: Buffer): ReadMessage[] {
  const text = bytes.toString('latin1');
  if (text === '') return [];
  expectStart(text);
  return text
    .split(/(?:^|(?<=\n))From /)
    .slice(1)
    .map((part) => {
      const lines = part.split('\n');
      const last = lines.findIndex((line) => line.startsWith('X-Csync-Backup: '));
      const fields = Object.fromEntries(
        lines
          .slice(1, last + 1)
          .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]),
      );
      const [, size, ends] = /size=(\d+) lines=(crlf|asis)$/.exec(fields['X-Csync-Backup']!)!;
      const own = lines
        .slice(last + 1)
        .join('\n')
        .replaceAll(/(?<=^|\n)>(>*From )/g, '$1');
      const content = ends === 'crlf' ? own.replaceAll('\n', '\r\n') : own;
      return { from: lines[0]!, fields, content: Buffer.from(content.slice(0, Number(size)), 'latin1') };
    });
}

function expectStart(text: string): void {
  if (!text.startsWith('From ')) throw new Error(`no mbox: ${text.slice(0, 40)}`);
}
