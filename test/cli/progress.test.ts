import { expect, test, vi } from 'vitest';
import { Progress } from '../../src/cli/progress.ts';

function terminal(isTTY: boolean): { stream: NodeJS.WriteStream; written: string[] } {
  const written: string[] = [];
  const stream = { isTTY, write: (text: string) => written.push(text) } as unknown as NodeJS.WriteStream;
  return { stream, written };
}

test('a bar with share, rate and time left, and none when it is no terminal', () => {
  vi.useFakeTimers({ toFake: ['performance'] });
  try {
    for (const isTTY of [true, false]) {
      const { stream, written } = terminal(isTTY);
      const progress = new Progress(200_000_000, stream);
      vi.advanceTimersByTime(1000);
      progress.add(50_000_000);
      progress.add(1); // too soon after the last
      progress.clear();
      progress.clear();
      expect(written).toEqual(
        isTTY ? ['\r\u001b[K[######..................] 25 %  50 MB/s, 3 s left', '\r\u001b[K'] : [],
      );
    }
  } finally {
    vi.useRealTimers();
  }
});

test('more bytes than were expected are all of them', () => {
  const { stream, written } = terminal(true);
  new Progress(0, stream).add(10);
  expect(written[0]).toContain(`[${'#'.repeat(24)}] 100 % `);
  expect(written[0]).toContain(', 0 s left');
});
