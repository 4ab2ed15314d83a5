/**
 * `--push-gateway`: at its end, however that is, a command tells a Prometheus Pushgateway what came of it. Whether
 * that succeeds changes nothing of the command's own result.
 */
import os from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { loadConfig } from '../config/load.ts';
import { BackupError } from '../platform/errors.ts';
import { atEnd, type Summary } from './command-run.ts';

/** So that the password of a URL does not stand in the list of processes. */
export const PUSH_VARIABLE = 'CSYNC_BACKUP_PUSH_GATEWAY';
/** Whoever reads the result of the command waits for so long at most. */
const TIMEOUT_MS = 10_000;
const JOB = 'csync-backup';

interface PushFlags {
  pushGateway?: URL;
  config?: string;
  dryRun?: boolean;
}

/**
 * Adds the option. A dry run of a command that changes something pushes nothing.
 *
 * @param alsoDry its dry run is as good as another
 */
export function addPushOption(command: Command, alsoDry = false): Command {
  return command
    .addOption(
      new Option(
        '--push-gateway <url>',
        'push metrics of this run to a Prometheus Pushgateway, see docs/metrics.md',
      )
        .env(PUSH_VARIABLE)
        .argParser(parseUrl),
    )
    .hook('preAction', (_, acting) => {
      const { pushGateway: url, config, dryRun } = acting.opts<PushFlags>();
      if (url === undefined || (dryRun && !alsoDry)) return;
      const startedMs = Date.now();
      atEnd((exitStatus, summary) =>
        push({ url, config, task: acting.name(), startedMs, exitStatus, summary }),
      );
    });
}

function parseUrl(text: string): URL {
  let url: URL | undefined;
  try {
    url = new URL(text);
  } catch {
    // Not one at all.
  }
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.hostname === '')
    throw new InvalidArgumentError('It is no URL that begins with http:// or https://.');
  return url;
}

interface Run {
  url: URL;
  task: string;
  config: string | undefined;
  startedMs: number;
  exitStatus: number;
  summary: Summary;
}

/** Never rejects: what goes wrong is said on standard error. */
async function push({ url, task, config, ...result }: Run): Promise<void> {
  try {
    const { commandMetricsText } = await import('../metrics/command-metrics.ts');
    const { sendRequest } = await import('../platform/http-request.ts');
    await sendRequest({
      url: groupUrl(url, task),
      method: 'POST',
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
      body: await commandMetricsText({ ...result, endedMs: Date.now() }),
      timeoutMs: TIMEOUT_MS,
      caFile: url.protocol === 'https:' ? caFileOf(config) : undefined,
      tried: 'push metrics to',
      remedy: 'What the command did stands; see that the Pushgateway runs and takes this URL',
    });
  } catch (error) {
    const code = error instanceof BackupError ? error.code : 'INTERNAL';
    process.stderr.write(
      `csync-backup: ${code}: ${error instanceof Error ? error.message : String(error)}\n`,
    );
  }
}

/** Below `/metrics/job/...` a URL names its own grouping key; else it is job, instance and task. */
function groupUrl(base: URL, task: string): URL {
  const url = new URL(base);
  if (/\/metrics\/job(?:@base64)?\/[^/]/.test(url.pathname)) return url;
  const key = Object.entries({ job: JOB, instance: os.hostname(), task });
  const path = key.map((pair) => pair.map(encodeURIComponent).join('/')).join('/');
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/metrics/${path}`;
  return url;
}

/** The configuration may be what the command has failed by. */
function caFileOf(config: string | undefined): string | undefined {
  try {
    return loadConfig({ file: config, anyPartitions: true }).tlsServerCa;
  } catch {
    return undefined;
  }
}
