/** Writes pieces to standard output no faster than its reader takes them. The pieces may be reused afterwards. */
export async function writeToStandardOutput(pieces: Iterable<Uint8Array>): Promise<void> {
  for (const piece of pieces) {
    const copy = Buffer.from(piece);
    if (!process.stdout.write(copy))
      await new Promise<void>((resolve) => process.stdout.once('drain', resolve));
  }
}
