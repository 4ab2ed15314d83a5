/** A dlist as plain values: null, a string (latin1), an array, or a map for `%( )`; a file is its GUID. */
export type Value = string | null | Value[] | Map<string, Value>;

/** Reads one dlist from text, as simply as can be: tests look into answers with it. */
export function readDlist(text: string): Value {
  const [value] = readValue(text, skipBlanks(text, 0));
  return value;
}

/** `* NAME value` as name and value. */
export function readLine(line: string): { name: string; value: Value } {
  const match = /^\* ([A-Z-]+) ?/.exec(line);
  if (match === null) throw new Error(`no untagged answer: ${line.slice(0, 100)}`);
  return { name: match[1]!, value: readDlist(line.slice(match[0].length)) };
}

export function asMap(value: Value | undefined): Map<string, Value> {
  if (!(value instanceof Map)) throw new Error(`a list of named values was expected: ${String(value)}`);
  return value;
}

export function asList(value: Value | undefined): Value[] {
  if (!Array.isArray(value)) throw new Error(`a list was expected: ${String(value)}`);
  return value;
}

/** Writes a value as a client does: quoted where an atom will not do, literals where quotes will not. */
export function writeDlist(value: Value): string {
  if (value === null) return 'NIL';
  if (value instanceof Map) return `%(${[...value].map(([k, v]) => `${k} ${writeDlist(v)}`).join(' ')})`;
  if (Array.isArray(value)) return `(${value.map(writeDlist).join(' ')})`;
  if (/^[\w.:+/$#@!^~=;-]+$/.test(value) && value !== 'NIL') return value;
  if (/^\\[A-Za-z]+$/.test(value)) return value;
  if (/^[\t\x20-\x7e]*$/.test(value)) return `"${value.replace(/[\\"]/g, '\\$&')}"`;
  return `{${value.length}+}\r\n${value}`;
}

function skipBlanks(text: string, at: number): number {
  while (text[at] === ' ') at++;
  return at;
}

function readValue(text: string, at: number): [Value, number] {
  const c = text[at];
  if (c === '(') return readItems(text, at + 1, false);
  if (text.startsWith('%(', at)) return readItems(text, at + 2, true);
  if (text.startsWith('%{', at)) {
    const head = /^%\{\S+ ([0-9a-f]{40}) (\d+)\}\r\n/.exec(text.slice(at, at + 1000))!;
    return [head[1]!, at + head[0].length + Number(head[2])];
  }
  if (c === '{') {
    const head = /^\{(\d+)\+?\}\r\n/.exec(text.slice(at, at + 40))!;
    const start = at + head[0].length;
    return [text.slice(start, start + Number(head[1])), start + Number(head[1])];
  }
  if (c === '"') {
    let out = '';
    for (at++; text[at] !== '"'; at++) {
      if (at >= text.length) throw new Error('a quoted string does not end');
      if (text[at] === '\\') at++;
      out += text[at];
    }
    return [out, at + 1];
  }
  const atom = /^[^ ()"\r\n]+/.exec(text.slice(at, at + 4096));
  if (atom === null) throw new Error(`no value at ${JSON.stringify(text.slice(at, at + 40))}`);
  return [atom[0] === 'NIL' ? null : atom[0], at + atom[0].length];
}

function readItems(text: string, at: number, named: boolean): [Value, number] {
  const list: Value[] = [];
  const map = new Map<string, Value>();
  for (;;) {
    at = skipBlanks(text, at);
    if (at >= text.length) throw new Error('a list does not end');
    if (text[at] === ')') return [named ? map : list, at + 1];
    if (named) {
      const key = /^[^ ()]+/.exec(text.slice(at, at + 200))![0];
      const [value, end] = readValue(text, skipBlanks(text, at + key.length));
      map.set(key, value);
      at = end;
    } else {
      const [value, end] = readValue(text, at);
      list.push(value);
      at = end;
    }
  }
}
