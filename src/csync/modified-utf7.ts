/** Mailbox names as IMAP and csync write them: modified UTF-7 of RFC 3501, section 5.1.3. */

/** For people. What is no modified UTF-7 stays as it is, bytes that are UTF-8 become characters. */
export function decodeMailboxName(name: string): string {
  const decoded = name.replaceAll(/&([A-Za-z0-9+,]*)-/g, (whole, base64: string) => {
    if (base64 === '') return '&';
    const bytes = Buffer.from(base64.replaceAll(',', '/'), 'base64');
    return bytes.length % 2 === 1 || bytes.length === 0 ? whole : bytes.swap16().toString('utf16le');
  });
  return decoded === name ? Buffer.from(name, 'latin1').toString('utf8') : decoded;
}

/** The inverse: printable ASCII stays, all else is encoded. */
export function encodeMailboxName(name: string): string {
  return name.replaceAll(/&|[^\x20-\x7e]+/g, (run) => {
    if (run === '&') return '&-';
    const base64 = Buffer.from(run, 'utf16le').swap16().toString('base64');
    return `&${base64.replaceAll('/', ',').replace(/=+$/, '')}-`;
  });
}
