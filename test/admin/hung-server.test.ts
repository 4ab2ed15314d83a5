/** A server that accepts and says nothing, as one that was stopped or waits for a dead disk. */
import net from 'node:net';
import { expect, test } from 'vitest';
import { askServer } from '../../src/cli/admin-client.ts';
import { SmallStore } from '../support/small-store.ts';

test('is said to hang, and what to look at', async () => {
  using store = new SmallStore();
  const server = net.createServer(() => {}).listen(store.config.adminSocket);
  await new Promise((resolve) => server.once('listening', resolve));
  try {
    const asked = askServer({ config: store.configFile }, { command: 'status' }, undefined, 50);
    await expect(asked).rejects.toMatchObject({
      code: 'TIMED_OUT',
      message: expect.stringContaining('hangs'),
    });
  } finally {
    server.close();
  }
});
