/** Which options take effect while the server runs. */
import type { Config } from '../config/config.ts';
import { optionsOf } from '../config/effective.ts';

/** Read at each use in the main thread. Threads of the store and the pools keep what they were started with. */
const LIVE: ReadonlySet<keyof Config> = new Set<keyof Config>([
  'admins',
  'allowPlaintext',
  'compactAt',
  'drillBackups',
  'drillEveryMs',
  'drillMessages',
  'failedLoginPauseMs',
  'idleReleaseMs',
  'logLevel',
  'maintenanceRateBytes',
  'pingUrl',
  'maxConnections',
  'maxLiteralBytes',
  'maxMessageBytes',
  'maxQuotedBytes',
  'maxWordBytes',
  'passwdFile',
  'pullAuthname',
  'pullChannel',
  'pullEveryMs',
  'pullOlderThanMs',
  'pullPasswordFile',
  'saslMechanisms',
  'saslauthdPath',
  'servername',
  'syncTimeoutMs',
  'tlsRequired',
  'tlsServerCa',
  'tlsServerCert',
  'tlsServerKey',
  'verifyEveryMs',
]);

export interface ConfigChange {
  config: Config;
  /** Options that changed and are in effect, as they stand in the file. */
  changed: string[];
  /** Options that differ and stay as they were until a restart. */
  needsRestart: string[];
}

/** The running configuration with what may change taken from the new one. */
export function mergeReloaded(running: Config, loaded: Config): ConfigChange {
  const changed: string[] = [];
  const needsRestart: string[] = [];
  const fields: Partial<Config> = {};
  const names = new Set([...Object.keys(running), ...Object.keys(loaded)]) as Set<keyof Config>;
  for (const name of names) {
    const isLive = LIVE.has(name);
    Object.assign(fields, { [name]: isLive ? loaded[name] : running[name] });
    if (JSON.stringify(running[name]) === JSON.stringify(loaded[name])) continue;
    (isLive ? changed : needsRestart).push(...optionsOf(name));
  }
  return { config: { ...running, ...fields }, changed: changed.sort(), needsRestart: needsRestart.sort() };
}
