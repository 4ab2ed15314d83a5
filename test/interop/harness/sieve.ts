import net from 'node:net';
import { ADMIN } from './cyrus-conf.ts';

/** Carries out ManageSieve commands (RFC 5804) for a user; throws at the first that is refused. */
export async function manageSieve(port: number, user: string, commands: string[]): Promise<void> {
  const socket = net.connect(port, '127.0.0.1').setEncoding('utf8');
  let received = '';
  let wake = (): void => {};
  socket.on('data', (text) => {
    received += String(text);
    wake();
  });
  let ended = false;
  for (const event of ['end', 'error', 'close']) {
    socket.on(event, () => {
      ended = true;
      wake();
    });
  }
  const answer = async (command: string): Promise<void> => {
    for (;;) {
      const match = /^(?:(?!OK|NO|BYE).*\r\n)*?(OK|NO|BYE)\b.*\r\n/.exec(received);
      if (match !== null) {
        received = received.slice(match[0].length);
        if (match[1] !== 'OK') throw new Error(`ManageSieve ${command}: ${match[0]}`);
        return;
      }
      if (ended) throw new Error(`ManageSieve ${command}: connection lost after ${received}`);
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  await answer('(greeting)');
  const token = Buffer.from(`${user}\0${ADMIN.user}\0${ADMIN.password}`).toString('base64');
  for (const command of [`AUTHENTICATE "PLAIN" "${token}"`, ...commands, 'LOGOUT']) {
    socket.write(`${command}\r\n`);
    await answer(command.split('\r\n')[0]!);
  }
  socket.destroy();
}

export function putScript(name: string, text: string): string {
  return `PUTSCRIPT "${name}" {${Buffer.byteLength(text)}+}\r\n${text}`;
}
