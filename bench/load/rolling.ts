/** Many connections that stay, with a small update now and then. */
import type { Job } from './jobs.ts';
import { Player } from './player.ts';
import type { Step } from './session.ts';

/** Logins at a time: those of a thousand clients do not come in the same moment either. */
const LOGINS_AT_ONCE = 20;

/**
 * @param updateOf makes the next update of a user
 * @throws Error if any of them is refused or loses its connection
 */
export async function playRolling(
  { target, connections, intervalMs, cycles }: Extract<Job, { kind: 'rolling' }>,
  updateOf: (user: number) => Step[],
): Promise<{ players: Player[]; begin: number; lateMs: number[] }> {
  const players: Player[] = [];
  while (players.length < connections) {
    const count = Math.min(LOGINS_AT_ONCE, connections - players.length);
    players.push(...(await Promise.all(Array.from({ length: count }, () => Player.connect(target)))));
  }
  const lateMs: number[] = [];
  const begin = performance.now();
  try {
    await Promise.all(
      players.map(async (player, n) => {
        for (let cycle = 0; cycle < cycles; cycle++) {
          const dueMs = begin + intervalMs * (cycle + n / connections);
          await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - performance.now())));
          lateMs.push(performance.now() - dueMs);
          await player.play(updateOf(n));
        }
      }),
    );
  } catch (error) {
    for (const player of players) player.close();
    throw error;
  }
  return { players, begin, lateMs };
}
