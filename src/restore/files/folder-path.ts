/** Mailbox names as paths. */

/**
 * A relative path that stays below where it is put: what cannot stand in a file name is percent-encoded, as are a dot at
 * the beginning and a percent sign.
 */
export function folderPath(folders: readonly string[]): string {
  return folders.map(fileName).join('/');
}

function fileName(name: string): string {
  return name.replaceAll(/[%/\\\p{Cc}]/gu, encodeURIComponent).replace(/^\./, '%2E');
}
