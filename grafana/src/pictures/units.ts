/** Values as Grafana shows them in a unit. */
import type { Unit } from '../dashboards/panel.ts';

const DECIMAL = ['', ' K', ' Mil', ' Bil'];
const BINARY = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
const RATES: Partial<Record<Unit, string>> = { ops: ' ops/s', reqps: ' req/s', cps: ' c/s' };
const TIMES: [seconds: number, name: string][] = [
  [31_536_000, ' years'],
  [604_800, ' weeks'],
  [86_400, ' days'],
  [3600, ' hours'],
  [60, ' mins'],
  [1, ' s'],
  [1e-3, ' ms'],
  [1e-6, ' µs'],
];

export function shown(value: number, unit: Unit, decimals?: number): string {
  if (!Number.isFinite(value)) return String(value);
  switch (unit) {
    case 'percentunit':
      return `${rounded(value * 100, decimals)}%`;
    case 'bytes':
    case 'Bps':
      return scaled(value, 1024, BINARY, ' ', decimals) + (unit === 'Bps' ? '/s' : '');
    case 's': {
      const [seconds, name] = TIMES.find(([at]) => Math.abs(value) >= at) ?? [1, ' s'];
      return rounded(value / seconds, decimals) + name;
    }
    case 'none':
      return rounded(value, decimals);
    default:
      return scaled(value, 1000, DECIMAL, '', decimals) + (RATES[unit] ?? '');
  }
}

function scaled(value: number, base: number, names: string[], gap: string, decimals?: number): string {
  let [rest, index] = [value, 0];
  for (; Math.abs(rest) >= base && index < names.length - 1; index++) rest /= base;
  return rounded(rest, decimals) + (names[index] === '' ? '' : gap) + names[index];
}

/** Three digits, if it is not said how many behind the point. */
function rounded(value: number, decimals?: number): string {
  if (decimals !== undefined) return value.toFixed(decimals);
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return String(Number(value.toFixed(Math.min(digits, 6))));
}
