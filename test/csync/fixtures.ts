import { readFileSync } from 'node:fs';

const FOLDER = new URL('../fixtures/csync/', import.meta.url);

/** What real clients sent, without the login: Cyrus 3.6.1, 3.10.3 and the development branch ("head"). */
export const CLIENT_STREAMS = [
  'messages-3.6.1',
  'folders-3.6.1',
  'meta-3.6.1',
  'expire-3.10',
  'messages-head',
  'meta-head',
  'intermediate-head',
  'text-literal-head',
];

/** `* ` lines that backupd of these versions answered. */
export const ANSWER_STREAMS = ['answers-3.6.1', 'answers-3.10', 'answers-head', 'answers-literal-3.10'];

export function fixture(name: string): Buffer {
  return readFileSync(new URL(`${name}.txt`, FOLDER));
}

/** Values of all answers: `* NAME value` lines, whose literals may hold line ends. */
export function answerValues(stream: Buffer): Buffer[] {
  const values: Buffer[] = [];
  const text = stream.toString('latin1');
  for (const line of text.split(/^\* [A-Z]+ /m).slice(1))
    values.push(Buffer.from(line.slice(0, -2), 'latin1'));
  return values;
}
