/**
 * Counters that alerts wait for begin at 0: `increase()` does not see the first event of a series that appears with
 * it. Values of labels are those of docs/metrics.md.
 */
import type { Metrics } from './registry.ts';

const TASKS = ['verify', 'compact', 'drill', 'pull'];
const MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'];

/** What commands of each kind can be answered but OK and what belongs to a sync that goes well; labels of commands_total. */
export interface CommandVerbs {
  /** Whole verbs, such as `GET USER`, that carry out something. */
  stored: readonly string[];
  /** Words, and verbs that are refused for what they are called or for who sends them. */
  others: readonly string[];
}

const STORED_REFUSALS = ['IMAP_MAILBOX_LOCKED', 'IMAP_PROTOCOL_ERROR', 'IMAP_PROTOCOL_BAD_PARAMETERS', 'BAD'];
const OTHER_REFUSALS = ['IMAP_MAILBOX_LOCKED', 'IMAP_PROTOCOL_ERROR', 'IMAP_PERMISSION_DENIED', 'NO', 'BAD'];

export function startAtZero(m: Metrics, { stored, others }: CommandVerbs): void {
  for (const [verbs, results] of [
    [stored, STORED_REFUSALS],
    [others, OTHER_REFUSALS],
  ] as const) {
    for (const verb of verbs) for (const result of results) m.commands.inc({ verb, result }, 0);
  }
  for (const tls of ['true', 'false']) m.connections.inc({ tls }, 0);
  for (const reason of ['full', 'stopping']) m.connectionsRefused.inc({ reason }, 0);
  for (const mechanism of MECHANISMS) {
    for (const result of ['success', 'failure', 'cancelled', 'unavailable'])
      m.logins.inc({ mechanism, result }, 0);
  }
  for (const pool of ['deflate', 'store']) m.threadDeaths.inc({ pool }, 0);
  for (const result of ['ok', 'failed']) m.reloads.inc({ result }, 0);
  for (const task of TASKS) {
    for (const result of ['ok', 'faulty', 'failed']) m.maintenanceJobs.inc({ task, result }, 0);
    for (const result of ['ok', 'faulty', 'incomplete']) m.maintenanceRuns.inc({ task, result }, 0);
    for (const result of ['ok', 'failed']) m.maintenancePings.inc({ task, result }, 0);
    m.maintenanceBytes.inc({ task }, 0);
    m.maintenanceRead.inc({ task }, 0);
    m.maintenanceFreed.inc({ task }, 0);
  }
  for (const result of ['ok', 'faulty', 'incomplete']) m.drillRuns.inc({ result }, 0);
  for (const end of ['thaw', 'deadline', 'stop', 'failed']) m.freezes.inc({ end }, 0);
}
