import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { BackupError } from '../../src/platform/errors.ts';
import { LaneQueue, Lanes } from '../../src/restore/csync/lanes.ts';
import type { CsyncClient } from '../../src/restore/csync-client.ts';

/** As much of a client as lanes touch. */
class Connection {
  static opened: Connection[] = [];
  readonly name: number;
  isClosed = false;
  inUse = false;

  constructor() {
    this.name = Connection.opened.push(this);
  }

  close(): void {
    this.isClosed = true;
  }

  get client(): CsyncClient {
    return this as unknown as CsyncClient;
  }
}

function newLanes(most: number, limit = most): { lanes: Lanes; first: Connection } {
  Connection.opened = [];
  const first = new Connection();
  const open = async (): Promise<CsyncClient> => {
    await sleep(1);
    if (Connection.opened.length >= limit) {
      throw new BackupError({ code: 'UNAVAILABLE', tried: '', subject: '', reason: 'too many', remedy: '' });
    }
    return new Connection().client;
  };
  return { lanes: new Lanes(first.client, open, most), first };
}

/** Parts that take different times to stage, committed by number; part `fails` fails in this step. */
async function work(
  lanes: Lanes,
  parts: number,
  fails?: { part: number; step: 'stage' | 'commit' },
): Promise<{ committed: number[]; atOnce: number; error: unknown }> {
  const committed: number[] = [];
  let [staging, atOnce] = [0, 0];
  const queue = new LaneQueue<number>(lanes);
  const enter = (client: CsyncClient): Connection => {
    const connection = client as unknown as Connection;
    expect(connection).toMatchObject({ isClosed: false, inUse: false });
    connection.inUse = true;
    return connection;
  };
  let error: unknown;
  try {
    await queue.run(async () => {
      for (let part = 0; part < parts; part++) {
        await queue.add(
          async (client) => {
            const connection = enter(client);
            atOnce = Math.max(atOnce, ++staging);
            await sleep((part * 7) % 11);
            staging--;
            connection.inUse = false;
            if (fails?.part === part && fails.step === 'stage') throw new Error(`stage ${part}`);
            return part;
          },
          async (client, staged) => {
            const connection = enter(client);
            await sleep(1);
            connection.inUse = false;
            if (fails?.part === part && fails.step === 'commit') throw new Error(`commit ${part}`);
            committed.push(staged);
          },
        );
      }
    });
  } catch (thrown) {
    error = thrown;
  }
  expect(staging).toBe(0);
  return { committed, atOnce, error };
}

describe('lanes', () => {
  test('stage at the same time and commit in order', async () => {
    const { lanes } = newLanes(4);
    const { committed, atOnce, error } = await work(lanes, 20);
    expect(error).toBeUndefined();
    expect(committed).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(atOnce).toBeGreaterThan(1);
    expect(Connection.opened).toHaveLength(4);
  });

  test('one is enough where the target takes no more, which is known afterwards', async () => {
    const { lanes } = newLanes(4, 1);
    const { committed } = await work(lanes, 6);
    expect(committed).toHaveLength(6);
    expect(lanes).toMatchObject({ most: 1, problem: 'too many' });
  });

  test.each(['stage', 'commit'] as const)(
    'nothing behind a part that fails to %s is committed',
    async (step) => {
      const { lanes, first } = newLanes(3);
      const { committed, error } = await work(lanes, 12, { part: 4, step });
      expect(error).toMatchObject({ message: `${step} 4` });
      expect(committed).toEqual([0, 1, 2, 3]);
      expect(first.isClosed).toBe(false);
      // They are as good as before.
      expect((await work(lanes, 5)).committed).toEqual([0, 1, 2, 3, 4]);
      lanes.close();
      expect(Connection.opened.filter(({ isClosed }) => !isClosed)).toEqual([first]);
    },
  );
});
