/** Which IMAP servers are asked for backups, and about whom. */
import { isIPv6 } from 'node:net';
import { ValueError } from './units.ts';
import type { ValueType } from './values.ts';

export interface PullServer {
  host: string;
  port: number;
  /** `starttls`: required; `tls`: from the first byte; `insecure`: neither, the password goes in clear. */
  security: 'starttls' | 'tls' | 'insecure';
  /** Userids that live there, `*` standing for anything; empty: everybody may. */
  patterns: string[];
}

const DEFAULT_PORTS = { starttls: 143, tls: 993, insecure: 143 };
const FORM = /^(?:\[([^\]]+)\]|([^:[\]/=]+))(?::([0-9]{1,5}))?(?:\/(tls|insecure))?(?:=(.+))?$/i;

/** One server: `HOST[:PORT][/tls|/insecure][=PATTERN,...]`. @throws ValueError */
export function parsePullServer(word: string): PullServer {
  const match = FORM.exec(word);
  const [, bracketed, plain, portText, suffix, patternText] = match ?? [];
  const host = bracketed ?? plain;
  if (host === undefined || (bracketed !== undefined && !isIPv6(bracketed)))
    throw new ValueError(`has no server in "${word}"`);
  const security = (suffix?.toLowerCase() ?? 'starttls') as PullServer['security'];
  const port = portText === undefined ? DEFAULT_PORTS[security] : Number(portText);
  if (port < 1 || port > 65_535) throw new ValueError(`has no port in "${word}"`);
  const patterns = patternText?.split(',') ?? [];
  if (patterns.includes('')) throw new ValueError(`has an empty pattern in "${word}"`);
  return { host, port, security, patterns };
}

export function printPullServer({ host, port, security, patterns }: PullServer): string {
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const suffix = security === 'starttls' ? '' : `/${security}`;
  return address + suffix + (patterns.length === 0 ? '' : `=${patterns.join(',')}`);
}

/** Any number of servers, separated by spaces. */
export const pullServers: ValueType<PullServer[]> = {
  name: 'servers',
  allowed:
    'HOST[:PORT], with /tls behind it for TLS from the first byte or /insecure for none, and =PATTERN,... for the userids ' +
    'that live there; several are separated by spaces',
  parse: (text) =>
    text
      .split(/[ \t]+/)
      .filter((word) => word !== '')
      .map(parsePullServer),
  print: (value) => value.map(printPullServer).join(' '),
};
