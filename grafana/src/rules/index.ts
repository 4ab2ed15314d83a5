/** All rules. */
import { CAPACITY } from './capacity.ts';
import { HEALTH } from './health.ts';
import { LAG } from './lag.ts';
import type { Alert, AlertGroup } from './rule.ts';
import { SERVING } from './serving.ts';
import { STORE } from './store.ts';

export const ALERT_GROUPS: AlertGroup[] = [SERVING, STORE, HEALTH, CAPACITY, LAG];
export const ALERTS: Alert[] = ALERT_GROUPS.flatMap(({ alerts }) => alerts);
export { RECORDINGS } from './recording.ts';
