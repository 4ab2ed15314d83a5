/** What the server says of itself, first of all and again after TLS has begun. */
import type { Config } from '../config/config.ts';
import type { ServerContext } from './context.ts';
import type { Session } from './session.ts';

/** Mechanisms on offer: none before TLS where TLS is required, no plain passwords in clear unless allowed. */
export function offeredMechanisms(config: Config, isTls: boolean): string[] {
  if (config.tlsRequired && !isTls) return [];
  return config.saslMechanisms.filter((name) => name !== 'PLAIN' || isTls || config.allowPlaintext);
}

/** Capabilities one to a line, then OK; clients read the lines literally. */
export function greeting(session: Session): string {
  const { server, transport } = session;
  const lines: string[] = [];
  const mechanisms = offeredMechanisms(server.config, transport.isTls);
  if (mechanisms.length > 0) lines.push(`* SASL ${mechanisms.join(' ')}`);
  if (server.secureContext !== undefined && !transport.isTls) lines.push('* STARTTLS');
  if (server.compression.inflates !== undefined) lines.push('* COMPRESS DEFLATE');
  lines.push(greetingOk(server));
  return `${lines.join('\r\n')}\r\n`;
}

/** The line that ends the greeting. */
export function greetingOk({ config, version }: ServerContext): string {
  return `* OK ${config.servername} csync-backup ${version} backup server`;
}
