/** Exit statuses are those of sysexits.h, as Cyrus's own tools use them. */
const STATUSES: Record<number, string> = {
  0: 'done',
  64: 'wrong usage',
  65: 'bad data found',
  69: 'unavailable',
  70: 'a bug in this program',
  74: 'input/output error',
  75: 'temporary: locked, no space, or not in time',
  77: 'permission denied',
  78: 'wrong configuration',
};

/** What stands below the options in --help: examples with what they do, and the exit statuses that can occur. */
export function helpText(
  examples: readonly (readonly [string, string])[],
  statuses: readonly number[],
): string {
  const width = Math.max(...examples.map(([command]) => command.length));
  const lines = ['', 'Examples:'];
  for (const [command, effect] of examples) lines.push(`  ${command.padEnd(width)}  # ${effect}`);
  lines.push('', 'Exit statuses:');
  for (const status of statuses) lines.push(`  ${String(status).padEnd(2)}  ${STATUSES[status]}`);
  return lines.join('\n');
}
