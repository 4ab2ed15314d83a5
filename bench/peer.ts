/**
 * Measures our server against Cyrus's backupd with the same load, one scenario after the other on both, and
 * judges the figures by what the project promises. Exit status 1 when a promise is missed.
 *
 *     npm run bench:peer -- [--quick] [--fresh] [--only ours|peer] [--scenario NAME...] [--json FILE] [--tolerate TIMES] [--keep]
 */
import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { Command, Option } from 'commander';
import { BackupError } from '../src/platform/errors.ts';
import { LoadProcess } from './load/process.ts';
import { startCyrus } from './peer/cyrus.ts';
import { measureManyChunks } from './peer/many-chunks.ts';
import { startOurs } from './peer/ours.ts';
import { measureRestore } from './peer/restore.ts';
import { FRESH, FULL, type Measured, QUICK, type Scenario, type Sizes, scenarios } from './peer/scenarios.ts';
import type { BenchServer, StartOptions } from './peer/server.ts';
import { printTable } from './peer/table.ts';
import { compare, type Figures } from './peer/targets.ts';
import { TOOLS, ToolStore } from './peer/tools.ts';

interface PeerOptions {
  quick?: boolean;
  fresh?: boolean;
  only?: 'ours' | 'peer';
  scenario?: string[];
  json?: string;
  tolerate?: string;
  keep?: boolean;
}

type Side = 'ours' | 'peer';
const START: Record<Side, (options: StartOptions) => Promise<BenchServer>> = {
  ours: startOurs,
  peer: startCyrus,
};

async function runPeer(options: PeerOptions): Promise<void> {
  const full: Sizes = options.fresh ? { ...FULL, warmUp: FRESH } : FULL;
  const sizes = options.quick ? QUICK : full;
  const sides: Side[] = options.only === undefined ? ['ours', 'peer'] : [options.only];
  const chosen = scenarios(sizes).filter(({ name }) => options.scenario?.includes(name) ?? true);
  const measured: Record<Side, Record<string, Measured>> = { ours: {}, peer: {} };
  const load = new LoadProcess();
  try {
    for (const scenario of chosen) {
      for (const side of sides)
        measured[side][scenario.name] = await measure(scenario, side, load, options.keep === true);
    }
    await measureTools(sizes, sides, options, load, measured);
  } finally {
    load.stop();
  }
  const rows = compare(sizes, figuresOf(measured, 'ours', sides), figuresOf(measured, 'peer', sides)).filter(
    ({ ours, peer }) => ours !== undefined || peer !== undefined,
  );
  const machine = `${availableParallelism()} x ${cpus()[0]?.model.trim()}, Node ${process.version}`;
  process.stdout.write(`\n${machine}, load ${loadavg()[0]!.toFixed(1)}\n\n${printTable(rows)}`);
  if (options.json !== undefined) {
    const report = {
      at: new Date().toISOString(),
      machine,
      quick: options.quick === true,
      warmUp: sizes.warmUp,
      rows,
      measured,
    };
    writeFileSync(options.json, `${JSON.stringify(report, undefined, 2)}\n`);
  }
  const tolerated = Number(options.tolerate ?? '1');
  if (rows.some(({ shortBy }) => shortBy !== undefined && shortBy > tolerated)) process.exitCode = 1;
}

/** All tools over one store, and what is measured of ours alone. */
async function measureTools(
  sizes: Sizes,
  sides: readonly Side[],
  { scenario, keep }: PeerOptions,
  load: LoadProcess,
  measured: Record<Side, Record<string, Measured>>,
): Promise<void> {
  const isChosen = (name: string) => scenario?.includes(name) ?? true;
  const tools = TOOLS.filter(({ name }) => isChosen(name));
  if (tools.length > 0) {
    process.stderr.write('a store for the tools ...');
    const store = await ToolStore.create(load, sizes.tools.bytes);
    process.stderr.write(` ${store.megabytes.toFixed(0)} MB\n`);
    try {
      for (const tool of tools) {
        for (const side of sides) {
          process.stderr.write(`${tool.name}, ${side === 'ours' ? 'ours' : 'ctl_backups'} ...`);
          const { figures } = (measured[side][tool.name] = await store.run(side, tool));
          process.stderr.write(` ${figures.megabytesPerSecond!.toFixed(1)} MB/s\n`);
        }
      }
    } finally {
      if (!keep) store.remove();
    }
  }
  if (isChosen('restore')) {
    process.stderr.write('restore ...');
    const store = await ToolStore.create(load, sizes.restore.bytes, sizes.restore.messageBytes);
    try {
      const { ours, peer } = await measureRestore(store, sides);
      measured.ours.restore = ours;
      measured.peer.restore = peer;
    } finally {
      if (!keep) store.remove();
    }
    process.stderr.write(
      ` ${measured.ours.restore.figures.messagesPerSecond?.toFixed(0) ?? '-'} messages/s\n`,
    );
  }
  if (isChosen('verify-chunks') && sides.includes('ours')) {
    measured.ours['verify-chunks'] = await measureManyChunks(sizes.chunks.counts, sizes.chunks.bytes);
  }
}

async function measure(scenario: Scenario, side: Side, load: LoadProcess, keep: boolean): Promise<Measured> {
  const begin = performance.now();
  process.stderr.write(`${scenario.name}, ${side === 'ours' ? 'ours' : 'backupd'} ...`);
  const server = await START[side]({ keep, tls: scenario.tls === true });
  const interrupted = (): void => {
    load.stop();
    void server.stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted).once('SIGTERM', interrupted);
  try {
    return await scenario.run(server, load);
  } finally {
    process.off('SIGINT', interrupted).off('SIGTERM', interrupted);
    await server.stop();
    process.stderr.write(` ${((performance.now() - begin) / 1e3).toFixed(1)} s\n`);
  }
}

function figuresOf(
  measured: Record<Side, Record<string, Measured>>,
  side: Side,
  sides: readonly Side[],
): Figures | undefined {
  if (!sides.includes(side)) return undefined;
  return Object.fromEntries(Object.entries(measured[side]).map(([name, { figures }]) => [name, figures]));
}

const program = new Command('bench:peer')
  .description("Measure our server against Cyrus's backupd (needs root and Debian's cyrus-imapd).")
  .option('--quick', 'small sizes, about a minute')
  .option('--fresh', 'full sizes with servers that were just started; with the quick ones they always are')
  .addOption(new Option('--only <side>', 'one of the two').choices(['ours', 'peer']))
  .option(
    '--scenario <name...>',
    'only these: push-1 push-4 tls-compress-1 tls-compress-4 update turns crowd rolling listing verify reindex compact restore verify-chunks',
  )
  .option('--tolerate <times>', 'fail only where a target is missed by more than this factor', '1')
  .option('--json <file>', 'write all figures there')
  .option('--keep', 'leave the data of the servers behind')
  .action(runPeer);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof BackupError)) throw error;
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = error.exitStatus;
}
