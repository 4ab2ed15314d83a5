/** Piscina entry of one store shard: its task is to serve a message port. */
import { workerData } from 'node:worker_threads';
import type { Config } from '../src/config/config.ts';
import { watchThread } from '../src/metrics/thread-figures.ts';
import type { ServeTask, ShardCall, ShardReturn } from '../src/pipeline/shard-pools.ts';
import { bootTag } from '../src/platform/boot.ts';
import { loadDeflateEngine } from '../src/platform/deflate.ts';
import { createLogger } from '../src/platform/log.ts';
import { monotonicSeconds } from '../src/platform/monotonic.ts';
import { Catalog } from '../src/store/catalog.ts';
import { DiskSync } from '../src/store/disk-sync.ts';
import { Shard } from '../src/store/shard.ts';
import { ShardFigures } from '../src/store/shard-figures.ts';

const { config, shard, memory, threadMemory } = workerData as {
  config: Config;
  shard: number;
  memory: SharedArrayBuffer;
  threadMemory: SharedArrayBuffer;
};

const figures = new ShardFigures();
watchThread(threadMemory);
const log = createLogger(config.logLevel, { shard });
const environment = {
  config,
  catalog: new Catalog(config.backupDbPath, (failure) => {
    figures.count('catalog_checkpoint_failures_total');
    log.warn(
      { err: failure, code: failure.code },
      'backups.db cannot be put in order; it is whole, but grows',
    );
  }),
  engine: loadDeflateEngine(config.deflateEngine),
  bootTag: bootTag(),
  disk: new DiskSync(),
  figures,
  log,
};
const store = new Shard(environment, memory, `shard${shard}`);

/** Resolves when the main thread closes the port. */
export default ({ port }: ServeTask): Promise<void> =>
  new Promise((resolve) => {
    port.on('message', ({ id, request, sentAt }: ShardCall) => {
      figures.observe('request_wait_seconds', Math.max(0, monotonicSeconds() - sentAt));
      store.handle(request).then(
        (reply) => port.postMessage({ id, reply } satisfies ShardReturn),
        (thrown: unknown) => port.postMessage({ id, thrown } satisfies ShardReturn),
      );
    });
    port.on('close', resolve);
  });
