/** `csync-backup serve`: the server itself, in the foreground, as systemd wants it. */
import { Command } from 'commander';
import type { Logger } from 'pino';
import type { Config } from '../config/config.ts';
import { ensureEmbeddedDirectories, isEmbedded } from '../config/embedded.ts';
import { loadConfig } from '../config/load.ts';
import { loadDeflateEngine } from '../platform/deflate.ts';
import { BackupError } from '../platform/errors.ts';
import { lockKind } from '../platform/file-lock.ts';
import { createLogger } from '../platform/log.ts';
import { notifySystemd } from '../platform/notify.ts';
import { onParentGone } from '../platform/parent-watch.ts';
import { ensureFirstCredentials } from '../sasl/first-credentials.ts';
import type { Inherited } from '../server/listeners.ts';
import { CsyncServer } from '../server/server.ts';
import { prepareStore } from '../store/prepare.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';
import { programVersion } from './version.ts';

export function newServeCommand(): Command {
  return new Command('serve')
    .description('accept sync_clients and keep their backups, until SIGTERM')
    .addOption(configOption())
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup serve', 'serve on loopback with everything below ./var/csync-backup'],
          ['csync-backup serve -C /etc/imapd.conf', 'serve as configured'],
        ],
        [0, 64, 65, 69, 70, 74, 75, 77, 78],
      ),
    )
    .action((flags: ConfigFlag) => runServe(flags));
}

export interface ServeOptions extends ConfigFlag {
  /** Changes what the configuration says, also when it is read again. */
  adjust?: (config: Config) => Config;
  /** Listening sockets that were handed over. */
  sockets?: readonly Inherited[];
  /** SIGHUP ends the server, as it ends the services of Cyrus's master, instead of making it read its configuration. */
  hangupStops?: boolean;
}

/** Serves until a signal ends the process; resolves when it accepts. */
export async function runServe(options: ServeOptions): Promise<void> {
  const config = read(options);
  const log = createLogger(config.logLevel);
  ensureEmbeddedDirectories(config);
  await showFirstCredentials(config);
  const engine = reportEngines(config, log);
  const prepared = prepareStore(config);
  if (prepared.published + prepared.removed + prepared.spools > 0)
    log.info(prepared, 'leftovers of an earlier run are cleared');

  const { sockets } = options;
  const server = new CsyncServer({ config, log, version: programVersion(), engine, sockets });
  reportInflating(server.compression.inflates, engine, log);
  handleSignals(server, options, log);
  const { metricsAddress } = await server.start();
  log.info(
    {
      addresses: server.addresses,
      metrics: metricsAddress && `${metricsAddress.address}:${metricsAddress.port}`,
      config: config.file,
      version: server.version,
      pid: process.pid,
      engine,
      inflates: server.compression.inflates,
      shards: config.shards,
      workers: config.workers,
      slabs: server.slabs.count,
      durability: config.durability,
    },
    'ready',
  );
  notifySystemd(`READY=1\nSTATUS=Accepting connections on ${server.addresses.join(', ')}`);
}

/** With the embedded configuration: makes the first user and shows its password, this once. */
async function showFirstCredentials(config: Config): Promise<void> {
  const credentials = await ensureFirstCredentials(config);
  if (credentials === undefined) return;
  const { host, port } = config.listen[0]!;
  process.stdout.write(
    [
      'First start: a user for sync_client was made. The password is shown only this once.',
      '',
      `  sync_host: ${host}`,
      `  sync_port: ${port}`,
      `  sync_authname: ${credentials.user}`,
      `  sync_password: ${credentials.password}`,
      '',
      '',
    ].join('\n'),
  );
}

/** Says which engines do the work, and what to install where a slower one has to. */
function reportEngines(config: Config, log: Logger): string {
  const { name } = loadDeflateEngine(config.deflateEngine);
  if (name === 'zlib' && config.deflateEngine === 'auto') {
    const remedy =
      'Install isa-l (Debian: libisal2) and libdeflate (libdeflate0) to compress with less CPU time';
    log.warn({ engine: name, remedy }, 'compressing with the zlib of Node');
  }
  const locks = lockKind();
  if (locks !== 'ofd') {
    const remedy = 'Run on Linux with glibc, where koffi loads';
    log.warn(
      { locks, remedy },
      "no record locks: do not run Cyrus's backup tools on these backups meanwhile",
    );
  }
  if (isEmbedded(config))
    log.warn({ remedy: 'Pass -C FILE for anything but a trial' }, 'serving with the embedded configuration');
  return name;
}

/** Says what compressed connections have to do without, where that is not said of the DEFLATE engine already. */
function reportInflating(inflates: string | undefined, engine: string, log: Logger): void {
  const remedy = 'Run with the Node that comes along, and report this with the versions of Node and libisal2';
  if (inflates === undefined) {
    log.warn(
      { node: process.version, remedy },
      'COMPRESS is not offered: nothing here can inflate a connection',
    );
  } else if (inflates !== engine) {
    log.warn({ inflates, engine, remedy }, 'compressed connections are inflated by the zlib of Node');
  }
}

function read({ config: file, adjust = (config) => config }: ServeOptions): Config {
  return adjust(loadConfig({ file }));
}

function handleSignals(server: CsyncServer, options: ServeOptions, log: Logger): void {
  let stopping = false;
  const stop = (signal: NodeJS.Signals) => {
    // A terminal, or Cyrus's master, signals the whole process group: the launcher and, through it, us once more.
    if (stopping) return;
    stopping = true;
    log.info({ signal }, 'stopping');
    notifySystemd('STOPPING=1');
    server.stop().then(
      () => {
        log.info('stopped');
        process.exit(0);
      },
      (error: unknown) => {
        log.fatal({ err: error, code: 'INTERNAL' }, 'stopping failed');
        process.exit(70);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
  onParentGone(() => process.emit('SIGTERM', 'SIGTERM'));
  if (options.hangupStops) process.on('SIGHUP', stop);
  else process.on('SIGHUP', () => reload(server, options, log));
  // The process ends then, and the service manager starts another; the log must say why.
  process.on('uncaughtExceptionMonitor', (error) => log.fatal({ err: error, code: 'INTERNAL' }, 'crashed'));
}

function reload(server: CsyncServer, options: ServeOptions, log: Logger): void {
  const nowMicroseconds = process.hrtime.bigint() / 1000n;
  notifySystemd(`RELOADING=1\nMONOTONIC_USEC=${nowMicroseconds}`);
  try {
    const { changed, needsRestart } = server.reload(read(options));
    server.metrics.reloads.inc({ result: 'ok' });
    log.info({ changed, needsRestart }, 'configuration, certificates and credentials reloaded');
    if (needsRestart.length > 0) log.warn({ needsRestart }, 'these take effect at the next start');
  } catch (error) {
    server.metrics.reloads.inc({ result: 'failed' });
    const code = error instanceof BackupError ? error.code : 'INTERNAL';
    log.error({ err: error, code }, 'reload failed, the configuration stays as it was');
  }
  notifySystemd('READY=1');
}
