/** Options that say where to listen. */
import { isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { Config, ListenAddress } from './config.ts';
import { ValueError } from './units.ts';
import type { ValueType } from './values.ts';

const FORM = 'HOST:PORT, with *:PORT for all addresses and [ADDRESS]:PORT for IPv6';

/** Any number of addresses, separated by spaces or commas, each with `/tls` for TLS from the first byte. */
export const listenAddresses: ValueType<Config['listen']> = {
  name: 'addresses',
  allowed: `${FORM}, with /tls behind it for TLS from the first byte; several are separated by spaces`,
  parse: (text) =>
    text.split(/[ \t,]+/).map((word) => {
      const [address, suffix, ...more] = word.split('/');
      if (more.length > 0 || (suffix !== undefined && suffix.toLowerCase() !== 'tls')) {
        throw new ValueError(`has something else than /tls behind the address in "${word}"`);
      }
      return { ...parseAddress(address!), tls: suffix !== undefined };
    }),
  print: (value) => value.map((address) => `${printAddress(address)}${address.tls ? '/tls' : ''}`).join(' '),
};

/** One address; `off` is no address. */
export const addressOrOff: ValueType<ListenAddress | 'off'> = {
  name: 'address',
  allowed: `${FORM}; off`,
  parse: (text) => (text === 'off' ? 'off' : parseAddress(text)),
  print: (value) => (value === 'off' ? 'off' : printAddress(value)),
};

function parseAddress(text: string): ListenAddress {
  const match = /^(?:(\*)|\[([^\]]*)\]|([^:[\]]+)):([A-Za-z0-9]+)$/.exec(text);
  if (!match) throw new ValueError(`is not of the form HOST:PORT in "${text}"`);
  const [, any, bracketed, plain, port] = match;
  if (bracketed !== undefined && !isIPv6(bracketed)) {
    throw new ValueError(`has no IPv6 address in the brackets of "${text}"`);
  }
  if (plain !== undefined && !isIPv4(plain) && !isHostName(plain)) {
    throw new ValueError(`has no address or host name in "${text}"`);
  }
  const host = any === undefined ? (bracketed ?? plain!) : wildcard();
  return { host, port: parsePort(port!) };
}

/** RFC 1123, with the underscores of real life; a name of only digits and dots is a mistyped address. */
function isHostName(text: string): boolean {
  return (
    text.length <= 253 && /^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$/.test(text) && /[^0-9.]/.test(text)
  );
}

function parsePort(text: string): number {
  if (text.toLowerCase() === 'csync') return 2005;
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) > 65_535) throw new ValueError(`has no port in "${text}"`);
  return Number(text);
}

function printAddress(address: ListenAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** On Linux `::` takes IPv4 connections as well, but cannot be bound where IPv6 is turned off. */
function wildcard(): string {
  const hasIPv6 = Object.values(networkInterfaces()).some((list) =>
    list?.some((one) => one.family === 'IPv6'),
  );
  return hasIPv6 ? '::' : '0.0.0.0';
}
