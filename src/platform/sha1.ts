import { BackupError } from './errors.ts';
import { bind, loadLibrary } from './ffi.ts';

/**
 * Length of a saved state: five 32-bit words of the running digest, the number of bits hashed so far (64 bits)
 * and the 64-byte block that is being filled (zeros behind what is in it); integers little-endian. It is the
 * same whichever engine wrote it.
 */
export const SHA1_STATE_BYTES = 92;

const BITS_AT = 20;
const BLOCK_AT = 28;
/** OpenSSL's SHA_CTX is our state and the number of bytes in the block (sha.h: SHAstate_st). */
const CONTEXT_BYTES = 96;

export interface Sha1Engine {
  name: 'openssl' | 'wasm';
  /** Goes on with `context` (CONTEXT_BYTES) over the bytes. */
  update(context: Buffer, bytes: Uint8Array): void;
  /** Destroys `context`. */
  digestHex(context: Buffer): string;
}

/**
 * SHA1_Update and SHA1_Final of OpenSSL, which Node itself carries and exports; else the system's libcrypto.
 * 1800 MB/s with the CPU's SHA instructions.
 */
function loadOpenssl(): Sha1Engine | undefined {
  const library = [loadLibrary(null), loadLibrary('libcrypto.so.3')].find(
    (candidate) => candidate && bind(candidate, 'int SHA1_Final(void *digest, void *context)'),
  );
  if (!library) return undefined;
  const update = bind<(context: Buffer, bytes: Uint8Array, length: number) => number>(
    library,
    'int SHA1_Update(void *context, const void *bytes, size_t length)',
  );
  const final = bind<(digest: Buffer, context: Buffer) => number>(
    library,
    'int SHA1_Final(void *digest, void *context)',
  );
  if (!update || !final) return undefined;
  const digest = Buffer.alloc(20);
  return {
    name: 'openssl',
    update: (context, bytes) => {
      if (bytes.byteLength > 0) update(context, bytes, bytes.byteLength);
    },
    digestHex: (context) => {
      final(digest, context);
      return digest.toString('hex');
    },
  };
}

/** hash-wasm, 540 MB/s: one hasher per thread, into which each state is loaded for its update (3 microseconds). */
async function loadWasm(): Promise<Sha1Engine> {
  // Read only where it is needed: that is 8 ms of CPU time in every process and thread.
  const { createSHA1 } = await import('hash-wasm');
  const hasher = await createSHA1();
  // Its states begin with 4 bytes that identify its build; the rest is laid out as ours.
  const state = new Uint8Array(4 + SHA1_STATE_BYTES);
  state.set(hasher.init().save().subarray(0, 4));
  const load = (context: Buffer): void => {
    state.set(context.subarray(0, SHA1_STATE_BYTES), 4);
    hasher.load(state);
  };
  return {
    name: 'wasm',
    update: (context, bytes) => {
      load(context);
      hasher.update(bytes);
      const saved = hasher.save().subarray(4);
      context.set(saved.subarray(0, SHA1_STATE_BYTES));
      context.writeUInt32LE((context.readUInt32LE(BITS_AT) >>> 3) & 63, SHA1_STATE_BYTES);
    },
    digestHex: (context) => {
      load(context);
      return hasher.digest();
    },
  };
}

function initialContext(): Buffer {
  const context = Buffer.alloc(CONTEXT_BYTES);
  [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0].forEach((word, i) => {
    context.writeUInt32LE(word, i * 4);
  });
  return context;
}

/** FIPS 180 examples across a saved state: an engine whose memory is laid out otherwise must not be used. */
function works(engine: Sha1Engine): boolean {
  try {
    const long = 'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq';
    const hash = new ResumableSha1(initialContext(), engine);
    hash.update(Buffer.from('a'));
    if (hash.digestHex() !== '86f7e437faa5a7fce15d1ddcb9eaeaea377667b8') return false;
    hash.update(Buffer.from('bc'));
    const copy = ResumableSha1.load(hash.save(), engine);
    if (copy.digestHex() !== 'a9993e364706816aba3e25717850c26c9cd0d89d') return false;
    const other = new ResumableSha1(initialContext(), engine);
    other.update(Buffer.from(long.slice(0, 33)));
    other.update(Buffer.from(long.slice(33)));
    const state = other.save();
    if (Buffer.from(state.subarray(BLOCK_AT)).toString('latin1') !== long.padEnd(64, '\0')) return false;
    return other.digestHex() === '84983e441c3bd26ebaae4aa1f95129e5e54670f1';
  } catch {
    return false;
  }
}

/**
 * SHA-1 whose state can be saved, stored and gone on with by another process: it keeps opening a backup O(1),
 * since `file_sha1` in the index is the SHA-1 of all the bytes of the data file before a chunk.
 * An instance is 96 bytes; create as many as there are backups.
 */
export class ResumableSha1 {
  readonly #context: Buffer;
  readonly #engine: Sha1Engine;

  /** Use create() or load(). */
  constructor(context: Buffer, engine: Sha1Engine) {
    this.#context = context;
    this.#engine = engine;
  }

  /** Of no bytes yet. */
  static create(engine: Sha1Engine = sha1Engine): ResumableSha1 {
    return new ResumableSha1(initialContext(), engine);
  }

  /**
   * Goes on from what save() gave.
   *
   * @throws BackupError INDEX_STALE when it is no such state
   */
  static load(state: Uint8Array, engine: Sha1Engine = sha1Engine): ResumableSha1 {
    const bits = new DataView(state.buffer, state.byteOffset, state.byteLength);
    if (state.byteLength !== SHA1_STATE_BYTES || (bits.getUint32(BITS_AT, true) & 7) !== 0) {
      throw new BackupError({
        code: 'INDEX_STALE',
        tried: 'go on with a stored SHA-1 state of',
        subject: `${state.byteLength} bytes`,
        reason: `it is not a state of ${SHA1_STATE_BYTES} bytes`,
        remedy: 'Rebuild the index of this backup from its data file',
      });
    }
    const context = Buffer.alloc(CONTEXT_BYTES);
    context.set(state);
    context.writeUInt32LE((context.readUInt32LE(BITS_AT) >>> 3) & 63, SHA1_STATE_BYTES);
    return new ResumableSha1(context, engine);
  }

  /** Adds bytes; returns itself. */
  update(bytes: Uint8Array): this {
    this.#engine.update(this.#context, bytes);
    return this;
  }

  /** SHA1_STATE_BYTES that load() takes, now or after a restart. */
  save(): Uint8Array {
    const state = new Uint8Array(SHA1_STATE_BYTES);
    state.set(this.#context.subarray(0, SHA1_STATE_BYTES));
    // What an engine left behind the filled part of the block would make equal states differ.
    state.fill(0, BLOCK_AT + this.#context.readUInt32LE(SHA1_STATE_BYTES));
    return state;
  }

  /** A second hash that goes on from the same bytes. */
  clone(): ResumableSha1 {
    return ResumableSha1.load(this.save(), this.#engine);
  }

  /** Digest of the bytes so far as 40 lower-case hex digits; more bytes may follow. */
  digestHex(): string {
    return this.#engine.digestHex(Buffer.from(this.#context));
  }
}

/** Every engine that works here, best first; the first is used unless a caller says otherwise. */
export async function sha1Engines(): Promise<Sha1Engine[]> {
  const engines = [loadOpenssl(), await loadWasm()];
  return engines.filter((engine) => engine !== undefined && works(engine)) as Sha1Engine[];
}

async function bestEngine(): Promise<Sha1Engine> {
  const openssl = loadOpenssl();
  if (openssl !== undefined && works(openssl)) return openssl;
  const wasm = await loadWasm();
  if (works(wasm)) return wasm;
  throw new BackupError({
    code: 'INTERNAL',
    tried: 'find a working SHA-1 among',
    subject: 'libcrypto and hash-wasm',
    reason: 'neither gives the digests of FIPS 180 across a saved state',
    remedy: 'Install the version of hash-wasm that package-lock.json names',
  });
}

const sha1Engine: Sha1Engine = await bestEngine();
