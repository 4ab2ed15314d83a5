/** How the one ceiling on memory is shared out. */
import { DEFLATED_BYTES, SLAB_BYTES } from '../pipeline/slabs.ts';

/** Code, heaps of all threads, SQLite's caches, metrics, sockets: what a server needs before its first client. */
const RESERVED_BYTES = 186 * 1024 * 1024;
const FEWEST_SLABS = 4;
/** More would not make anything faster: two per thread are enough to keep all threads busy. */
const MOST_SLABS = 512;

/** Slabs of the pool under this limit for the whole process. */
export function slabsFor(memoryLimitBytes: number): number {
  const slabs = Math.floor((memoryLimitBytes - RESERVED_BYTES) / (SLAB_BYTES + DEFLATED_BYTES));
  return Math.min(MOST_SLABS, Math.max(FEWEST_SLABS, slabs));
}

/** What all sessions together may remember about GUIDs. */
export function guidBudgetBytes(memoryLimitBytes: number): number {
  return Math.max(4 * 1024 * 1024, Math.floor(memoryLimitBytes / 16));
}
