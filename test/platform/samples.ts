import { Random } from '../support/random.ts';

/** Kinds of content as mail has them, about `length` bytes each; the same for the same length. */
export function samples(length: number): Record<string, Buffer> {
  const random = new Random('samples');
  const words = Array.from({ length: 800 }, () => random.bytes(random.int(2, 9)).toString('base64url'));
  let text = '';
  while (text.length < length) {
    text += words[Math.floor(800 * random.next() ** 3)]! + (random.chance(0.08) ? '.\r\n' : ' ');
  }
  const base64 = (bytes: Buffer): Buffer =>
    Buffer.from(bytes.toString('base64').replace(/.{76}/g, '$&\r\n')).subarray(0, length);
  const noise = random.bytes(length);
  const plain = Buffer.from(text.slice(0, length));
  const attachment = base64(noise);
  const third = Math.floor(length / 3);
  return {
    text: plain,
    noise,
    attachment,
    'compressible attachment': base64(plain),
    mail: Buffer.concat([plain.subarray(0, third), attachment.subarray(0, third), plain.subarray(2 * third)]),
    zeros: Buffer.alloc(length),
    alphabet: Buffer.from(
      'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n'.repeat(length / 66 + 1),
    ).subarray(0, length),
  };
}
