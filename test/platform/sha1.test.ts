import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResumableSha1, SHA1_STATE_BYTES, sha1Engines } from '../../src/platform/sha1.ts';

const engines = await sha1Engines();
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');
const pieces = fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 10 });

test('there is an engine that needs no system library', () => {
  expect(engines.map(({ name }) => name)).toContain('wasm');
});

describe.each(engines)('ResumableSha1 by $name', (engine) => {
  test('gives the digest of everything so far, at every point', () => {
    fc.assert(
      fc.property(pieces, (list) => {
        const hash = ResumableSha1.create(engine);
        let all = Buffer.alloc(0);
        for (const piece of list) {
          expect(hash.update(piece)).toBe(hash);
          all = Buffer.concat([all, piece]);
          expect(hash.digestHex()).toBe(sha1(all));
        }
      }),
    );
  });

  test('goes on from a saved state, at every length of the last block', () => {
    const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 7) % 256));
    for (let cut = 0; cut <= 200; cut++) {
      const state = ResumableSha1.create(engine).update(bytes.subarray(0, cut)).save();
      expect(state).toHaveLength(SHA1_STATE_BYTES);
      expect(ResumableSha1.load(state, engine).update(bytes.subarray(cut)).digestHex()).toBe(sha1(bytes));
    }
  });

  test('a state says nothing of bytes that are no longer needed, so that equal input gives equal states', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, place) => {
        const cut = place % (bytes.length + 1);
        const split = ResumableSha1.create(engine).update(bytes.subarray(0, cut)).update(bytes.subarray(cut));
        expect(split.save()).toEqual(ResumableSha1.create(engine).update(bytes).save());
        const block = split.save().subarray(28);
        const filled = bytes.length % 64;
        expect(Buffer.from(block.subarray(0, filled))).toEqual(
          Buffer.from(bytes.subarray(bytes.length - filled)),
        );
        expect(block.subarray(filled).every((byte) => byte === 0)).toBe(true);
      }),
    );
  });

  test('many hashes do not disturb each other', () => {
    const hashes = Array.from({ length: 50 }, () => ResumableSha1.create(engine));
    const inputs = hashes.map((_, i) => Buffer.alloc(100 + i, i));
    for (let at = 0; at < 150; at += 13) {
      hashes.forEach((hash, i) => {
        hash.update(inputs[i]!.subarray(at, at + 13));
      });
    }
    expect(hashes.map((hash) => hash.digestHex())).toEqual(inputs.map(sha1));
    const copy = hashes[3]!.clone().update(Buffer.from('more'));
    expect(copy.digestHex()).toBe(sha1(Buffer.concat([inputs[3]!, Buffer.from('more')])));
    expect(hashes[3]!.digestHex()).toBe(sha1(inputs[3]!));
  });

  test('hashes shared memory and more than 512 MiB of bits', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(1 << 20)).fill(7);
    const hash = ResumableSha1.create(engine);
    const expected = createHash('sha1');
    // 65 MiB: the count of bits needs more than 29 of its lower 32.
    for (let i = 0; i < 65; i++) {
      hash.update(shared);
      expected.update(shared);
    }
    expect(ResumableSha1.load(hash.save(), engine).digestHex()).toBe(expected.digest('hex'));
  });

  test('counts bits beyond 32 of them', () => {
    const state = ResumableSha1.create(engine).save();
    const view = new DataView(state.buffer);
    view.setUint32(20, 0xfffffe00, true);
    const before = ResumableSha1.load(state, engine).update(Buffer.alloc(64)).save();
    expect(new DataView(before.buffer).getUint32(20, true)).toBe(0);
    expect(new DataView(before.buffer).getUint32(24, true)).toBe(1);
  });
});

test('a state of one engine is gone on with by every other', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.uint8Array({ maxLength: 300 }), (head, tail) => {
      const states = engines.map((engine) => ResumableSha1.create(engine).update(head).save());
      for (const state of states) {
        expect(state).toEqual(states[0]);
        for (const engine of engines) {
          const digest = ResumableSha1.load(state, engine).update(tail).digestHex();
          expect(digest).toBe(sha1(Buffer.concat([head, tail])));
        }
      }
    }),
  );
});

test('what is no state is refused', () => {
  const stale = expect.objectContaining({ code: 'INDEX_STALE' }) as Error;
  for (const length of [0, SHA1_STATE_BYTES - 1, SHA1_STATE_BYTES + 1]) {
    expect(() => ResumableSha1.load(new Uint8Array(length))).toThrowError(stale);
  }
  const state = ResumableSha1.create().save();
  state[20] = 3; // no whole number of bytes
  expect(() => ResumableSha1.load(state)).toThrowError(stale);
});
