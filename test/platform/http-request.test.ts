import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type HttpRequest, sendRequest } from '../../src/platform/http-request.ts';
import { selfSigned } from '../support/certificate.ts';
import { HttpCollector } from '../support/http-collector.ts';

let folder: string;
let server: HttpCollector;
let secure: HttpCollector;
let caFile: string;

beforeAll(async () => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'csync-http-'));
  const certificate = selfSigned(folder);
  caFile = certificate.tls_server_cert;
  server = await HttpCollector.start();
  secure = await HttpCollector.start(certificate);
});

beforeEach(() => {
  server.requests.length = 0;
  server.answers = [200];
});

afterAll(async () => {
  await Promise.all([server.stop(), secure.stop()]);
  fs.rmSync(folder, { recursive: true });
});

const send = (url: string, o: Partial<HttpRequest> = {}) =>
  sendRequest({
    url: new URL(url),
    method: 'POST',
    body: 'a body\n',
    timeoutMs: 10_000,
    tried: 'tell',
    remedy: 'Do something',
    ...o,
  });

test('sends method, path, headers, body, and user and password of the URL as basic authentication', async () => {
  await send(server.url('/a/b?c=d', 'an%40ne:p%3Ass@'), { headers: { 'content-type': 'text/plain' } });
  expect(server.requests).toMatchObject([
    {
      method: 'POST',
      path: '/a/b?c=d',
      body: 'a body\n',
      headers: {
        'content-type': 'text/plain',
        authorization: `Basic ${Buffer.from('an@ne:p:ss').toString('base64')}`,
      },
    },
  ]);
});

test.each([204, 299])('%i is success', async (status) => {
  server.answers = [status];
  await send(server.url());
});

test.each([199 + 103, 400, 503])('%i is a failure that tells the answer, and no password', async (status) => {
  server.answers = [status];
  const url = new URL(server.url('/secret-token', 'anne:secret@'));
  const error = await send(url.href).then(
    () => undefined,
    (thrown: unknown) => thrown as Error,
  );
  expect(error).toMatchObject({
    code: 'UNAVAILABLE',
    message: `cannot tell ${url.origin}: it answered ${status}: it is not to be. Do something`,
  });
  expect(server.requests).toHaveLength(1);
});

test('a long error is told in part', async () => {
  server.answers = [500];
  const long = server.text;
  server.text = 'x'.repeat(1_000_000);
  await expect(send(server.url())).rejects.toThrow(/answered 500: x{200}\. /);
  server.text = long;
});

test('one that does not answer, or not to its end, takes no longer than it may', async () => {
  server.answers = ['hang'];
  const startedMs = Date.now();
  await expect(send(server.url(), { timeoutMs: 150 })).rejects.toMatchObject({
    code: 'TIMED_OUT',
    reason: 'it had not answered after 0.15 s',
  });
  expect(Date.now() - startedMs).toBeLessThan(5000);
  // Headers, and then nothing.
  const half = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc');
  });
  await new Promise<void>((resolve) => half.listen(0, '127.0.0.1', () => resolve()));
  const { port } = half.address() as net.AddressInfo;
  await expect(send(`http://127.0.0.1:${port}`, { timeoutMs: 150 })).rejects.toMatchObject({
    code: 'TIMED_OUT',
  });
  half.close();
});

test('nobody there, or one that hangs up', async () => {
  const port = await new Promise<number>((resolve) => {
    const taken = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = taken.address() as net.AddressInfo;
      taken.close(() => resolve(port));
    });
  });
  await expect(send(`http://127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  server.answers = ['cut'];
  await expect(send(server.url())).rejects.toMatchObject({ code: 'UNAVAILABLE' });
});

test('TLS: whoever is not vouched for gets nothing', async () => {
  await expect(send(secure.url())).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    reason: expect.stringMatching(/self-signed/),
  });
  expect(secure.requests).toEqual([]);
  await send(secure.url(), { caFile });
  expect(secure.requests).toHaveLength(1);
  await expect(send(secure.url(), { caFile: path.join(folder, 'none') })).rejects.toMatchObject({
    code: 'IO_ERROR',
  });
});
