/** What everything in a shard shares: configuration, engines, catalog, figures and log. */
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import type { DeflateEngine } from '../platform/deflate.ts';
import type { Catalog } from './catalog.ts';
import type { DiskSync } from './disk-sync.ts';
import type { ShardFigures } from './shard-figures.ts';

export interface StoreEnvironment {
  config: Config;
  catalog: Catalog;
  engine: DeflateEngine;
  bootTag: Uint8Array;
  disk: DiskSync;
  figures: ShardFigures;
  log: Logger;
}
