/** Options that imapd.conf passes on to the SASL library. */
import type { SaslMechanismName } from './config.ts';
import { ValueError } from './units.ts';
import { type ValueType, words } from './values.ts';

/** What this server speaks, best first: the order in which it is offered. */
export const SASL_MECHANISMS: readonly SaslMechanismName[] = ['SCRAM-SHA-256', 'SCRAM-SHA-1', 'PLAIN'];

/** Names of mechanisms; those of other servers' plugins (DIGEST-MD5, ...) are left out. */
export const mechanismList: ValueType<SaslMechanismName[]> = {
  ...words('mechanisms'),
  allowed: `${SASL_MECHANISMS.join(', ')}, at least one of them; names of other mechanisms are left out`,
  parse(text) {
    const named = text.toUpperCase().split(/[ \t]+/);
    const spoken = SASL_MECHANISMS.filter((name) => named.includes(name));
    if (spoken.length === 0) throw new ValueError('names no mechanism that this server speaks');
    return spoken;
  },
  print: (value) => value.join(' '),
};

/** How plain passwords are checked. */
export const passwordChecks: ValueType<string[]> = {
  ...words('auxprop and saslauthd'),
  parse(text) {
    const methods = text.split(/[ \t]+/);
    const unknown = methods.find((method) => method !== 'auxprop' && method !== 'saslauthd');
    if (unknown !== undefined) throw new ValueError(`names "${unknown}", which this server does not know`);
    return methods;
  },
};
