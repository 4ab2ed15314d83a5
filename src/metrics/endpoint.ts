/** The HTTP server for Prometheus and for health checks. Only to this machine itself does it say anything about users. */
import type * as Http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { BackupError } from '../platform/errors.ts';

export interface EndpointOptions {
  registry: Registry;
  /** Brings gauges up to date; called before each scrape. */
  collect(): Promise<void>;
  /** Undefined when all is well, else what is not. */
  health(): string | undefined;
  /** The backups that are worst off, so many of each kind; undefined while that is not known. */
  worst?(limit: number): Promise<Record<string, unknown> | undefined>;
}

// An import would read every property of the module, and so load a client of HTTP and WebSockets: 14 MB of memory.
const http = process.getBuiltinModule('node:http');

const WORST_DEFAULT = 20;
const WORST_MAX = 1000;

/** A scraper that sends its request byte by byte is cut off. */
const REQUEST_TIMEOUT_MS = 10_000;

export class MetricsEndpoint {
  readonly #server: Http.Server;
  readonly #o: EndpointOptions;

  constructor(o: EndpointOptions) {
    this.#o = o;
    this.#server = http.createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8' });
        response.end(`${error instanceof Error ? error.message : String(error)}\n`);
      });
    });
    this.#server.maxConnections = 64;
  }

  /** @throws BackupError UNAVAILABLE when the address cannot be bound */
  async listen(address: { host: string; port: number }): Promise<AddressInfo> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', (error) => {
        reject(
          new BackupError({
            code: 'UNAVAILABLE',
            tried: 'listen for metrics on',
            subject: `${address.host}:${address.port}`,
            reason: error.message,
            remedy: 'End what has the port, or set backup_metrics_listen to another address or to off.',
            cause: error,
          }),
        );
      });
      this.#server.listen(address.port, address.host, () => {
        this.#server.removeAllListeners('error');
        resolve();
      });
    });
    return this.#server.address() as AddressInfo;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #answer(request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost');
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.writeHead(405, { allow: 'GET, HEAD' }).end();
    } else if (pathname === '/metrics') {
      await this.#o.collect();
      const body = await this.#o.registry.metrics();
      response.writeHead(200, { 'content-type': this.#o.registry.contentType });
      response.end(body);
    } else if (pathname === '/healthz') {
      const problem = this.#o.health();
      response.writeHead(problem === undefined ? 200 : 503, { 'content-type': 'text/plain; charset=utf-8' });
      response.end(`${problem ?? 'ok'}\n`);
    } else if (pathname === '/worst' && this.#o.worst !== undefined) {
      await this.#answerWorst(searchParams.get('n') ?? String(WORST_DEFAULT), request, response);
    } else {
      response
        .writeHead(404, { 'content-type': 'text/plain; charset=utf-8' })
        .end('/metrics, /healthz and /worst\n');
    }
  }

  /** It names users, so that it is for those who are on this machine anyway. */
  async #answerWorst(n: string, request: Http.IncomingMessage, response: Http.ServerResponse): Promise<void> {
    const refuse = (status: number, text: string) => {
      response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' }).end(`${text}\n`);
    };
    if (!isLoopback(request.socket.remoteAddress)) {
      refuse(403, '/worst names users, and is answered to connections from this machine only');
      return;
    }
    const limit = /^\d{1,4}$/.test(n) ? Number(n) : 0;
    if (limit < 1 || limit > WORST_MAX) {
      refuse(400, `n has to be a number from 1 to ${WORST_MAX}`);
      return;
    }
    const worst = await this.#o.worst?.(limit);
    if (worst === undefined) {
      refuse(503, 'the server is starting or stopping, try again');
      return;
    }
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' });
    response.end(`${JSON.stringify(worst)}\n`);
  }
}

function isLoopback(address: string | undefined): boolean {
  return address !== undefined && /^(?:::ffff:)?127\.|^::1$/.test(address);
}
