/** What all sessions of a server share. */
import type { SecureContext } from 'node:tls';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import type { Metrics } from '../metrics/registry.ts';
import type { DeflateResult, DeflateTask } from '../pipeline/deflate-task.ts';
import type { Shards } from '../pipeline/shard-pools.ts';
import type { SlabPool } from '../pipeline/slab-pool.ts';
import type { SaslServerMechanism } from '../sasl/mechanism.ts';
import type { ConnectionCompression } from './compression.ts';
import type { GuidBudget } from './guid-map.ts';
import type { UserAccess } from './user-access.ts';

export interface ServerContext {
  /** As of now: SIGHUP replaces it. */
  readonly config: Config;
  /** Absent where no certificate is configured. */
  readonly secureContext: SecureContext | undefined;
  readonly version: string;
  readonly shards: Shards;
  readonly slabs: SlabPool;
  readonly deflate: { run(task: DeflateTask, holder: object): Promise<DeflateResult> };
  readonly compression: ConnectionCompression;
  readonly guidBudget: GuidBudget;
  readonly access: UserAccess;
  readonly metrics: Metrics;
  readonly log: Logger;
  /** A fresh exchange of this mechanism; undefined if it is not known. */
  mechanism(name: string): SaslServerMechanism | undefined;
}
