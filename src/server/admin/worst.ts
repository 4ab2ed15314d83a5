/** The answer of `/worst`: names, which metrics must not have. */
import type { Worst, WorstRow } from '../../maintenance/health-state.ts';

/** Times are ISO 8601 UTC; null for never. */
export function worstFacts(worst: Worst, nowMs: number): Record<string, unknown> {
  const lists = Object.entries(worst).map(([kind, rows]) => [kind, rows.map((row) => facts(row, nowMs))]);
  return { time: iso(nowMs), ...Object.fromEntries(lists) };
}

function facts(row: WorstRow, nowMs: number): Record<string, unknown> {
  const aliveMs = Math.max(row.updatedMs, row.contactedMs);
  return {
    // Userids are strings of bytes.
    userid: Buffer.from(row.userid, 'latin1').toString('utf8'),
    path: row.path,
    sizeBytes: row.sizeBytes,
    contentBytes: row.contentBytes,
    updatedAt: iso(row.updatedMs),
    contactedAt: iso(row.contactedMs),
    verifiedAt: iso(row.verifiedMs),
    staleSeconds: aliveMs === 0 ? null : Math.max(0, Math.round((nowMs - aliveMs) / 1000)),
    faults: row.faults,
  };
}

function iso(ms: number): string | null {
  return ms === 0 ? null : new Date(ms).toISOString();
}
