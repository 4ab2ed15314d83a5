/** What a look at a configuration or a store has found, with what to do about it. */
export interface DoctorCheck {
  group: 'configuration' | 'system' | 'credentials' | 'tls' | 'partitions' | 'catalog' | 'files' | 'backup';
  /** Stable name of the check. */
  check: string;
  status: 'ok' | 'warn' | 'error';
  /** What was found. */
  text: string;
  /** What to do; absent if all is well. */
  remedy?: string;
}

type Group = DoctorCheck['group'];

export function ok(group: Group, check: string, text: string): DoctorCheck {
  return { group, check, status: 'ok', text };
}

export function warn(group: Group, check: string, text: string, remedy: string): DoctorCheck {
  return { group, check, status: 'warn', text, remedy };
}

export function error(group: Group, check: string, text: string, remedy: string): DoctorCheck {
  return { group, check, status: 'error', text, remedy };
}

/** 1536 -> `1.5 kB`, in powers of 1000. */
export function bytesText(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A line may be younger than the clock by so much. */
export const CLOCK_SECONDS = 300;
export const CLOCK_REMEDY = 'Set the clock (NTP). New lines take the time of the last one until it has come';
