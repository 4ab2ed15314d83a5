/** Prometheus as Debian packages it, started here on loopback with data of its own. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort, ROOT } from '../../support/backup-server.ts';

export interface Sample {
  metric: Record<string, string>;
  /** Unix time and value, of an instant query. */
  value?: [number, string];
  /** The same of a range query. */
  values?: [number, string][];
}

export interface Scraped {
  /** What the series are labelled with. */
  job: string;
  instance: string;
  port: number;
}

const PROGRAMS = ['prometheus', 'promtool', 'prometheus-pushgateway'];

/** Throws unless the programs are there: these tests fail where they cannot run, they are never skipped. */
export function requirePrometheus(): void {
  const missing = PROGRAMS.filter((program) => spawnSync(program, ['--version']).status !== 0);
  if (missing.length > 0) {
    throw new Error(
      `${missing.join(' and ')} cannot be run; on Debian 12: apt-get install prometheus prometheus-pushgateway`,
    );
  }
}

export function promtool(...args: string[]): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync('promtool', args, { cwd: ROOT, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

export class Prometheus {
  readonly url: string;
  /** Of a Pushgateway, which it scrapes too. */
  readonly gatewayUrl: string;
  readonly #dir: string;
  readonly #children: ChildProcess[];

  private constructor(dir: string, port: number, gatewayPort: number, children: ChildProcess[]) {
    this.#dir = dir;
    this.url = `http://127.0.0.1:${port}`;
    this.gatewayUrl = `http://127.0.0.1:${gatewayPort}`;
    this.#children = children;
  }

  /** With the rules of grafana/rules, as they are. Resolves when it can be asked. */
  static async start(o: { scraped: Scraped; everySeconds: number }): Promise<Prometheus> {
    requirePrometheus();
    const dir = mkdtempSync(path.join(tmpdir(), 'csync-backup-prometheus-'));
    const config = path.join(dir, 'prometheus.yml');
    const port = await freePort();
    const gatewayPort = await freePort();
    writeFileSync(config, configuration(o.scraped, gatewayPort, o.everySeconds));
    const gateway = spawn('prometheus-pushgateway', [`--web.listen-address=127.0.0.1:${gatewayPort}`], {
      stdio: 'ignore',
    });
    const child = spawn(
      'prometheus',
      [
        `--config.file=${config}`,
        `--storage.tsdb.path=${path.join(dir, 'data')}`,
        `--web.listen-address=127.0.0.1:${port}`,
        '--log.level=warn',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (said += text));
    process.once('exit', () => [child, gateway].map((one) => one.kill('SIGKILL')));
    const prometheus = new Prometheus(dir, port, gatewayPort, [child, gateway]);
    for (let waitedMs = 0; ; waitedMs += 100) {
      const answer = await fetch(`${prometheus.url}/-/ready`).catch(() => undefined);
      if (answer?.ok) return prometheus;
      if (child.exitCode !== null || waitedMs > 30_000) {
        await prometheus.stop();
        throw new Error(`prometheus does not start:\n${said}`);
      }
      await sleep(100);
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || !child.kill('SIGTERM')) continue;
      await new Promise((resolve) => child.once('exit', resolve));
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** The HTTP API of a Prometheus, this one or another. */
export class PrometheusApi {
  readonly #url: string;

  constructor(url: string) {
    this.#url = url;
  }

  /** @throws Error with what Prometheus says, if the expression cannot be parsed or evaluated */
  async query(expr: string): Promise<Sample[]> {
    return await this.#samples('query', { query: expr });
  }

  /** @param range from, to: Unix time; step: seconds */
  async queryRange(expr: string, range: { from: number; to: number; step: number }): Promise<Sample[]> {
    const { from, to, step } = range;
    return await this.#samples('query_range', {
      query: expr,
      start: String(from),
      end: String(to),
      step: String(step),
    });
  }

  /** Names of all metrics that it has. */
  async names(): Promise<string[]> {
    return (await this.get('label/__name__/values')) as string[];
  }

  /** `data` of an answer. */
  async get(what: string, parameters: Record<string, string> = {}): Promise<unknown> {
    const answer = await fetch(`${this.#url}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const body = (await answer.json()) as { status: string; error?: string; data: unknown };
    if (body.status !== 'success') throw new Error(`${parameters.query ?? what}: ${body.error}`);
    return body.data;
  }

  async #samples(what: string, parameters: Record<string, string>): Promise<Sample[]> {
    const data = (await this.get(what, parameters)) as { result: Sample[] };
    return data.result;
  }
}

function configuration({ job, instance, port }: Scraped, gatewayPort: number, everySeconds: number): string {
  return `global:
  scrape_interval: ${everySeconds}s
  evaluation_interval: ${everySeconds}s
rule_files:
  - ${path.join(ROOT, 'grafana/rules/*.alerts.yml')}
  - ${path.join(ROOT, 'grafana/rules/*.recording.yml')}
scrape_configs:
  - job_name: ${job}
    static_configs:
      - targets: ["127.0.0.1:${port}"]
        labels: { instance: "${instance}" }
  - job_name: pushgateway
    honor_labels: true
    static_configs:
      - targets: ["127.0.0.1:${gatewayPort}"]
`;
}
