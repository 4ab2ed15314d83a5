/** Piscina entry of one store shard. */
import { workerData } from 'piscina';
import type { Config } from '../src/config/config.ts';
import type { ShardReply, ShardRequest } from '../src/pipeline/messages.ts';
import { bootTag } from '../src/platform/boot.ts';
import { loadDeflateEngine } from '../src/platform/deflate.ts';
import { createLogger } from '../src/platform/log.ts';
import { Catalog } from '../src/store/catalog.ts';
import { Shard } from '../src/store/shard.ts';
import { ShardFigures } from '../src/store/shard-figures.ts';

const { config, shard, memory } = workerData as {
  config: Config;
  shard: number;
  memory: SharedArrayBuffer;
};

const environment = {
  config,
  catalog: new Catalog(config.backupDbPath),
  engine: loadDeflateEngine(config.deflateEngine),
  bootTag: bootTag(),
  figures: new ShardFigures(),
  log: createLogger(config.logLevel, { shard }),
};
const store = new Shard(environment, memory, `shard${shard}`);

export default (request: ShardRequest): Promise<ShardReply> => store.handle(request);
