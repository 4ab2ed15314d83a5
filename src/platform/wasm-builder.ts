/**
 * WebAssembly written as expressions: what it takes for a few inner loops, without a compiler to build them with. Instructions are
 * arrays of bytes as the binary format of WebAssembly 1.0 has them (https://www.w3.org/TR/wasm-core-1/, section 5); the engine
 * checks a module when it is made.
 */
export type Code = readonly number[];
export type ValueType = 'i32' | 'i64';

const TYPE_BYTE: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e };
const NO_RESULT = 0x40;
export const PAGE_BYTES = 65536;

/** Of the JavaScript interface of WebAssembly, which Node has and its types leave out. */
declare const WebAssembly: {
  Memory: new (limits: { initial: number; maximum: number }) => { buffer: ArrayBuffer };
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: object };
};

function unsigned(value: number): Code {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest];
    bytes.push((rest & 0x7f) | 0x80);
  }
}

function signed(value: number): Code {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    if (rest >= -64 && rest < 64) return [...bytes, rest & 0x7f];
    bytes.push((rest & 0x7f) | 0x80);
  }
}

export function block(...codes: readonly Code[]): Code {
  return codes.flat();
}

/** A variable of a function. */
export class Local {
  readonly type: ValueType;
  readonly get: Code;
  readonly #index: Code;

  constructor(type: ValueType, index: number) {
    this.type = type;
    this.#index = unsigned(index);
    this.get = [0x20, ...this.#index];
  }

  set(value: Code): Code {
    return [...value, 0x21, ...this.#index];
  }
}

function binary(opcode: number): (a: Code, b: Code) => Code {
  return (a, b) => [...a, ...b, opcode];
}

/** @param alignment binary logarithm of it */
function load(opcode: number, alignment: number): (address: Code, offset?: number) => Code {
  return (address, offset = 0) => [...address, opcode, alignment, ...unsigned(offset)];
}

function store(opcode: number, alignment: number): (address: Code, value: Code, offset?: number) => Code {
  return (address, value, offset = 0) => [...address, ...value, opcode, alignment, ...unsigned(offset)];
}

/** Comparisons are unsigned, offsets constant numbers of bytes, and no address need be aligned. */
export const i32 = {
  const: (value: number): Code => [0x41, ...signed(value | 0)],
  load: load(0x28, 0),
  load8: load(0x2d, 0),
  load16: load(0x2f, 0),
  store: store(0x36, 0),
  eq: binary(0x46),
  ne: binary(0x47),
  less: binary(0x49),
  more: binary(0x4b),
  lessOrEqual: binary(0x4d),
  moreOrEqual: binary(0x4f),
  leadingZeros: (value: Code): Code => [...value, 0x67],
  add: binary(0x6a),
  subtract: binary(0x6b),
  multiply: binary(0x6c),
  and: binary(0x71),
  or: binary(0x72),
  shiftLeft: binary(0x74),
  shiftRight: binary(0x76),
  /** The low half. */
  of: (value: Code): Code => [...value, 0xa7],
} as const;

export const i64 = {
  const: (value: number): Code => [0x42, ...signed(value | 0)],
  load: load(0x29, 0),
  store: store(0x37, 0),
  ne: binary(0x52),
  add: binary(0x7c),
  and: binary(0x83),
  or: binary(0x84),
  shiftLeft: binary(0x86),
  shiftRight: binary(0x88),
  /** Without a sign. */
  of: (value: Code): Code => [...value, 0xad],
} as const;

/** `whether ? value : otherwise`; both are computed. */
export function select(whether: Code, value: Code, otherwise: Code): Code {
  return [...value, ...otherwise, ...whether, 0x1b];
}

export function when(condition: Code, ...codes: readonly Code[]): Code {
  return [...condition, 0x04, NO_RESULT, ...codes.flat(), 0x0b];
}

export function choose(condition: Code, then: Code, otherwise: Code): Code {
  return [...condition, 0x04, NO_RESULT, ...then, 0x05, ...otherwise, 0x0b];
}

/** Repeats while the condition holds. */
export function loop(condition: Code, ...codes: readonly Code[]): Code {
  const body = [...condition, 0x45, 0x0d, 1, ...codes.flat(), 0x0c, 0];
  return [0x02, NO_RESULT, 0x03, NO_RESULT, ...body, 0x0b, 0x0b];
}

export interface WasmFunction {
  name: string;
  /** All i32. */
  parameters: number;
  result: boolean;
  /** @param local makes a further variable, which begins at 0 */
  code: (local: NewLocal, ...parameters: Local[]) => Code;
}

export type NewLocal = (type: ValueType) => Local;

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function text(value: string): Code {
  return vector([...Buffer.from(value)].map((byte) => [byte]));
}

/** Makes functions, which `T` describes, that work on a memory of their own. */
export function instantiate<T>(
  pages: number,
  functions: readonly WasmFunction[],
): { memory: Uint8Array; exports: T } {
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  const module = new WebAssembly.Module(buildModule(functions));
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { memory: new Uint8Array(memory.buffer), exports: exports as T };
}

/** A module of functions that work on a memory imported as `env.memory`. */
function buildModule(functions: readonly WasmFunction[]): Uint8Array {
  const types = functions.map(({ parameters, result }) => [
    0x60,
    ...vector(Array<Code>(parameters).fill([TYPE_BYTE.i32])),
    ...vector(result ? [[TYPE_BYTE.i32]] : []),
  ]);
  const bodies = functions.map(({ parameters, code }) => {
    const given = Array.from({ length: parameters }, (_, index) => new Local('i32', index));
    const locals: Local[] = [];
    const newLocal: NewLocal = (type) => {
      const local = new Local(type, parameters + locals.length);
      locals.push(local);
      return local;
    };
    const body = code(newLocal, ...given);
    const whole = [...vector(locals.map(({ type }) => [1, TYPE_BYTE[type]])), ...body, 0x0b];
    return [...unsigned(whole.length), ...whole];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector(types)),
    ...section(2, vector([[...text('env'), ...text('memory'), 2, 0, 1]])),
    ...section(3, vector(functions.map((_, index) => unsigned(index)))),
    ...section(7, vector(functions.map(({ name }, index) => [...text(name), 0, ...unsigned(index)]))),
    ...section(10, vector(bodies)),
  ]);
}
