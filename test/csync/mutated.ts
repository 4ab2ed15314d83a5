/** Streams of real clients with a few things wrong, for the fuzzers. */
import { CLIENT_STREAMS, fixture } from './fixtures.ts';
import type { Random } from './random.ts';

export const GUID = 'a9993e364706816aba3e25717850c26c9cd0d89d';
const TOKENS = [
  ' ', '\r\n', '\n', '\r', '\0', '(', ')', '%(', '"', '\\', '%', '{', '}', '{0+}\r\n', '{3+}\r\n', '{3}\r\n',
  '{70000+}\r\n', '{4294967295+}\r\n', '{99999999999999999999+}\r\n', `%{default ${GUID} 3}\r\n`, '%{p x 3}\r\n',
  `%{default ${GUID} 99999999999999999999}\r\n`, 'APPLY ', 'GET ', 'GET USER x\r\n', 'NIL', 'LOCAL_', 'EXIT\r\n',
  'AUTHENTICATE PLAIN\r\n', 'APPLY SUB %(USERID x MBOXNAME y)\r\n', 'APPLY MESSAGE (', '\xff\xfe', 'x'.repeat(300),
]; // biome-ignore format: a table
const STREAMS = CLIENT_STREAMS.map(fixture);

/** A real client's stream with a few things wrong. */
export function mutated(random: Random): Buffer {
  let bytes = Buffer.from(random.pick(STREAMS));
  for (let count = 1 + random.below(6); count > 0; count--) {
    const at = random.below(bytes.length + 1);
    const rest = bytes.subarray(at);
    switch (random.below(6)) {
      case 0:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from(random.pick(TOKENS), 'latin1'), rest]);
        break;
      case 1:
        bytes = Buffer.concat([bytes.subarray(0, at), rest.subarray(random.below(20))]);
        break;
      case 2:
        if (at < bytes.length) bytes[at] = random.below(256);
        break;
      case 3:
        bytes = bytes.subarray(0, at);
        break;
      case 4: {
        const other = random.pick(STREAMS);
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(random.below(other.length))]);
        break;
      }
      default:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(Math.max(0, at - random.below(200)))]);
    }
  }
  return bytes;
}
