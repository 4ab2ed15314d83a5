/**
 * Counters that alerts wait for begin at 0: `increase()` does not see the first event of a series that appears with
 * it. Values of labels are those of docs/metrics.md.
 */
import type { Metrics } from './registry.ts';

const TASKS = ['verify', 'compact', 'drill', 'pull'];
const MECHANISMS = ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'];

export function startAtZero(m: Metrics): void {
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
    m.maintenanceFreed.inc({ task }, 0);
  }
  for (const result of ['ok', 'faulty', 'incomplete']) m.drillRuns.inc({ result }, 0);
  for (const end of ['thaw', 'deadline', 'stop', 'failed']) m.freezes.inc({ end }, 0);
}
