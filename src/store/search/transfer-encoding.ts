/** Content-Transfer-Encoding (RFC 2045), undone piece by piece. Texts have one character for each byte. */

export interface TransferDecoder {
  push(text: string): string;
  finish(): string;
}

/** What is no encoding that there is passes as it is. */
export function newTransferDecoder(encoding: string): TransferDecoder {
  const name = encoding.trim().toLowerCase();
  if (name === 'quoted-printable') return new QuotedPrintable();
  return name === 'base64' ? new Base64() : AS_IS;
}

const AS_IS: TransferDecoder = { push: (text) => text, finish: () => '' };

class QuotedPrintable implements TransferDecoder {
  #held = '';

  push(text: string): string {
    const whole = this.#held + text;
    // `=`, `=C` or `=` and CR at the end may go on.
    const sign = whole.lastIndexOf('=');
    const cut = sign !== -1 && sign >= whole.length - 2 ? sign : whole.length;
    this.#held = whole.slice(cut);
    return decodeQuoted(whole.slice(0, cut));
  }

  finish(): string {
    const rest = decodeQuoted(this.#held);
    this.#held = '';
    return rest;
  }
}

function decodeQuoted(text: string): string {
  if (!text.includes('=')) return text;
  const joined = text.replaceAll('=\r\n', '');
  if (!joined.includes('=')) return joined;
  return joined.replaceAll(/=(?:([0-9A-Fa-f]{2})|[ \t]*\r?\n)/g, (_, hex: string | undefined) =>
    hex === undefined ? '' : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

class Base64 implements TransferDecoder {
  #held = '';

  push(text: string): string {
    const whole = this.#held + text.replaceAll(/[^A-Za-z0-9+/]+/g, '');
    const cut = whole.length - (whole.length % 4);
    this.#held = whole.slice(cut);
    return Buffer.from(whole.slice(0, cut), 'base64').toString('latin1');
  }

  finish(): string {
    const rest = Buffer.from(this.#held, 'base64').toString('latin1');
    this.#held = '';
    return rest;
  }
}
