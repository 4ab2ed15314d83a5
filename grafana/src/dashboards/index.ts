/** All dashboards, by the name of their file. */
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import { capacity } from './capacity.ts';
import { ingest } from './ingest.ts';
import { overview } from './overview.ts';
import { store } from './store.ts';

export function dashboards(): Record<string, Dashboard> {
  return { overview: overview(), ingest: ingest(), store: store(), capacity: capacity() };
}
