/** A server that only reads, as ours reads, in a process of its own: told to end, it says what CPU it took. */
import net from 'node:net';
import { shareReceiveBuffer } from '../../src/platform/shared-receive.ts';

let before = process.cpuUsage();
let bytes = 0;

const server = net.createServer({ pauseOnConnect: true }, (socket) => {
  const take = (received: Uint8Array): void => {
    bytes += received.length;
  };
  if (!shareReceiveBuffer(socket, take, () => false)) socket.on('data', take);
  socket.on('end', () => socket.end(String(bytes)));
  socket.resume();
});
server.listen(0, '127.0.0.1', () => process.send!({ port: (server.address() as net.AddressInfo).port }));

process.on('message', (asked: 'begin' | 'end') => {
  if (asked === 'begin') [before, bytes] = [process.cpuUsage(), 0];
  else {
    const { user, system } = process.cpuUsage(before);
    process.send!({ bytes, cpuSeconds: (user + system) / 1e6 });
  }
});
