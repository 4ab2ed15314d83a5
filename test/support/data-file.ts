import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import zlib from 'node:zlib';
import { splitUnits } from './wire-text.ts';

/** One line of a data file. */
export interface StoredLine {
  /** Seconds since 1970. */
  time: number;
  /** The word in the file; `NOTE` for a note, whose verb and value are then those inside its wrapper. */
  command: string;
  verb: string;
  /** All after the verb, literals included, without CRLF. */
  text: Buffer;
}

export interface StoredMessage {
  guid: string;
  bytes: Buffer;
}

/**
 * Reads a data file as its format says, with nothing of the product's own readers: gzip members, lines,
 * literals. Throws where a member is torn or a line is not one.
 */
export function readDataFile(file: string): StoredLine[] {
  const content = zlib.gunzipSync(readFileSync(file));
  const { units, rest } = splitUnits(content);
  if (rest.length > 0) throw new Error(`${file}: ${rest.length} bytes after the last line`);
  return units.flatMap((unit) => {
    if (unit[0] === 0x23) return [];
    const head = /^(\d+) ([A-Z]+) ([A-Z_]+) /.exec(unit.toString('latin1', 0, 100));
    if (head === null) throw new Error(`${file}: no line: ${unit.toString('latin1', 0, 100)}`);
    const text = unit.subarray(head[0].length, unit.length - 2);
    const note =
      head[3] === 'RESERVE' ? /^%\(NOTE ([A-Z_]+) VALUE /.exec(text.toString('latin1', 0, 100)) : null;
    if (note !== null) {
      const value = text.subarray(note[0].length, text.length - 1);
      return [{ time: Number(head[1]), command: 'NOTE', verb: note[1]!, text: value }];
    }
    return [{ time: Number(head[1]), command: head[2]!, verb: head[3]!, text }];
  });
}

/** The messages in a data file's MESSAGE lines; throws if one is not what its GUID says. */
export function storedMessages(lines: StoredLine[]): StoredMessage[] {
  return lines
    .filter((line) => line.verb === 'MESSAGE')
    .flatMap(({ text }) => {
      const found: StoredMessage[] = [];
      const head = /^[( ]%\{\S+ ([0-9a-f]{40}) (\d+)\}\r\n/;
      for (let at = 0; ; ) {
        const match = head.exec(text.toString('latin1', at, at + 500));
        if (match === null) return found;
        const start = at + match[0].length;
        at = start + Number(match[2]);
        const bytes = text.subarray(start, at);
        if (createHash('sha1').update(bytes).digest('hex') !== match[1]) {
          throw new Error(`message ${match[1]} is not what its GUID says`);
        }
        found.push({ guid: match[1]!, bytes });
      }
    });
}
