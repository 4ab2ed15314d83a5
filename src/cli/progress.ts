/** How far a long command has come, on a terminal's standard error; silent when it is no terminal. */

const REFRESH_MS = 200;
const BAR_WIDTH = 24;
const ERASE_LINE = '\r\u001b[K';

export class Progress {
  readonly #totalBytes: number;
  readonly #start = performance.now();
  readonly #stream: NodeJS.WriteStream;
  #doneBytes = 0;
  #shownAt = Number.NEGATIVE_INFINITY;
  #visible = false;

  constructor(totalBytes: number, stream: NodeJS.WriteStream = process.stderr) {
    this.#totalBytes = totalBytes;
    this.#stream = stream;
  }

  add(bytes: number): void {
    this.#doneBytes += bytes;
    const now = performance.now();
    if (!this.#stream.isTTY || now - this.#shownAt < REFRESH_MS) return;
    this.#shownAt = now;
    this.#visible = true;
    this.#stream.write(`${ERASE_LINE}${this.#line((now - this.#start) / 1000)}`);
  }

  /** Takes the bar away, so that other lines can be written. */
  clear(): void {
    if (this.#visible) this.#stream.write(ERASE_LINE);
    this.#visible = false;
  }

  #line(seconds: number): string {
    const share = this.#totalBytes === 0 ? 1 : Math.min(this.#doneBytes / this.#totalBytes, 1);
    const filled = Math.round(share * BAR_WIDTH);
    const bar = '#'.repeat(filled).padEnd(BAR_WIDTH, '.');
    const rate = this.#doneBytes / 1e6 / Math.max(seconds, 0.001);
    const left = share === 0 ? '' : `, ${Math.ceil((seconds / share) * (1 - share))} s left`;
    return `[${bar}] ${Math.floor(share * 100)} %  ${rate.toFixed(0)} MB/s${left}`;
  }
}
