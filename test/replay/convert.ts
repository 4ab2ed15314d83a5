/**
 * Turns recorded sessions (JSON lines: `{conn, t, from: 'C' | 'S', text}` and `{conn, t, ev}`) into the
 * fixtures of test/fixtures/captures: `node test/replay/convert.ts NAME=FOLDER...`, one FOLDER of `.jsonl`
 * files for each release NAME. Compressed sessions are inflated, messages go into one pool.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { CAPTURES, type CaptureEvent, takeOutMessages, writePool } from './captures.ts';

interface Recorded {
  conn: number;
  from?: 'C' | 'S';
  text?: string;
  ev?: string;
}

/** Undoes raw deflate of a stream cut in pieces, each of which ends with a flush. */
function inflater(): (text: string) => string {
  let all = Buffer.alloc(0);
  let done = 0;
  return (text) => {
    all = Buffer.concat([all, Buffer.from(text, 'latin1')]);
    const out = zlib.inflateRawSync(all, { finishFlush: zlib.constants.Z_SYNC_FLUSH });
    const fresh = out.subarray(done);
    done = out.length;
    return fresh.toString('latin1');
  };
}

function convert(file: string, pool: Map<string, Buffer>): CaptureEvent[] {
  const events: CaptureEvent[] = [];
  const inflate = new Map<string, (text: string) => string>();
  const turns = new Map<number, { c: string; s: string }>();
  const flush = (conn: number): void => {
    const turn = turns.get(conn);
    if (turn === undefined) return;
    events.push({ conn, c: takeOutMessages(turn.c, pool), s: turn.s });
    turns.delete(conn);
  };
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    if (line === '') continue;
    const event = JSON.parse(line) as Recorded;
    if (event.from === undefined) {
      flush(event.conn);
      if (event.ev === 'open' || event.ev === 'close' || event.ev === 'tls') {
        events.push({ conn: event.conn, ev: event.ev });
      }
      continue;
    }
    const text = inflate.get(`${event.conn}${event.from}`)?.(event.text!) ?? event.text!;
    let turn = turns.get(event.conn);
    if (event.from === 'C' && turn !== undefined && turn.s !== '') {
      flush(event.conn);
      turn = undefined;
    }
    if (turn === undefined) turns.set(event.conn, (turn = { c: '', s: '' }));
    if (event.from === 'C') turn.c += text;
    else turn.s += text;
    if (event.from === 'S' && text.startsWith('OK DEFLATE active')) {
      for (const side of 'CS') inflate.set(`${event.conn}${side}`, inflater());
    }
  }
  for (const conn of [...turns.keys()]) flush(conn);
  return events;
}

const pool = new Map<string, Buffer>();
for (const argument of process.argv.slice(2)) {
  const [name, folder] = argument.split('=');
  mkdirSync(path.join(CAPTURES, name!), { recursive: true });
  for (const file of readdirSync(folder!)
    .filter((f) => f.endsWith('.jsonl'))
    .sort()) {
    const events = convert(path.join(folder!, file), pool);
    const lines = events.map((event) => JSON.stringify(event)).join(',\n');
    writeFileSync(path.join(CAPTURES, name!, file.replace('.jsonl', '.json')), `[\n${lines}\n]\n`);
  }
}
writeFileSync(path.join(CAPTURES, 'messages.gz'), writePool(pool));
