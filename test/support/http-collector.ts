/** A real HTTP server that keeps what it is sent, and answers as it is told to. */
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';

export interface Collected {
  method: string;
  /** Path and query. */
  path: string;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** A status, `hang`: no answer at all, or `cut`: the connection ends. */
export type Answer = number | 'hang' | 'cut';

export class HttpCollector {
  readonly requests: Collected[] = [];
  /** For the next requests; the last one stays. */
  answers: Answer[] = [200];
  /** Of an answer that is no 2xx. */
  text = 'it is not to be\n';
  readonly #server: http.Server;
  readonly #scheme: string;

  private constructor(server: http.Server, scheme: string) {
    this.#server = server;
    this.#scheme = scheme;
    server.on('request', (request: http.IncomingMessage, response: http.ServerResponse) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text: string) => (body += text));
      request.on('end', () => {
        this.requests.push({
          method: request.method!,
          path: request.url!,
          headers: request.headers,
          body,
        });
        const answer = this.answers.length > 1 ? this.answers.shift()! : this.answers[0]!;
        if (answer === 'cut') request.socket.destroy();
        else if (answer !== 'hang')
          response.writeHead(answer, answer === 302 ? { location: '/elsewhere' } : {}).end(this.text);
      });
    });
  }

  static async start(tls?: { tls_server_cert: string; tls_server_key: string }): Promise<HttpCollector> {
    const server = tls
      ? https.createServer({ cert: readFileSync(tls.tls_server_cert), key: readFileSync(tls.tls_server_key) })
      : http.createServer();
    const collector = new HttpCollector(server, tls ? 'https' : 'http');
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', () => resolve()));
    return collector;
  }

  /** @param userinfo such as `user:password@` */
  url(path = '', userinfo = ''): string {
    const { port } = this.#server.address() as AddressInfo;
    return `${this.#scheme}://${userinfo}localhost:${port}${path}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
