/** `csync-backup config`: the effective values and where each comes from. */
import { Command } from 'commander';
import { type EffectiveValue, loadConfigWithOrigins, type Origin } from '../config/load.ts';
import { OPTION_LIST } from '../config/options.ts';
import { type ConfigFlag, configOption } from './config-option.ts';
import { helpText } from './help-text.ts';

interface ConfigOptions extends ConfigFlag {
  json?: boolean;
  describe?: boolean;
}

export function newConfigCommand(): Command {
  return new Command('config')
    .description('Check the configuration and print every option with its effective value and its origin.')
    .addOption(configOption())
    .option(
      '--json',
      'one JSON object a line: option, value (null if it has none), source, file, line, writtenAs',
    )
    .option('--describe', 'print what each option means, as Markdown, instead')
    .addHelpText(
      'after',
      helpText(
        [
          ['csync-backup config', 'what a server started here would use'],
          ['csync-backup config -C /etc/imapd.conf', 'check that file'],
        ],
        [0, 64, 78],
      ),
    )
    .action(runConfig);
}

function runConfig(options: ConfigOptions): void {
  if (options.describe) {
    process.stdout.write(describeOptions());
    return;
  }
  const { values } = loadConfigWithOrigins({ file: options.config });
  process.stdout.write(options.json ? values.map(jsonLine).join('') : textLines(values));
}

function textLines(values: readonly EffectiveValue[]): string {
  const rows = values.map(({ option, value, origin }) => [
    value === undefined ? option : `${option}: ${value}`,
    value === undefined && origin.source === 'default' ? 'no value' : printOrigin(origin),
  ]);
  const width = Math.min(60, Math.max(...rows.map(([left]) => left!.length)));
  return rows.map(([left, right]) => `${left!.padEnd(width)}  # ${right}\n`).join('');
}

function printOrigin(origin: Origin): string {
  if (origin.source === 'default') return 'default';
  if (origin.source === 'embedded') return 'embedded default';
  const writtenAs = origin.option === undefined ? '' : ` as ${origin.option}`;
  return `${origin.file}:${origin.line}${writtenAs}`;
}

function jsonLine({ option, value, origin }: EffectiveValue): string {
  const { source } = origin;
  const place =
    source === 'file' ? { file: origin.file, line: origin.line, writtenAs: origin.option ?? option } : {};
  return `${JSON.stringify({ option, value: value ?? null, source, ...place })}\n`;
}

/** The table of options as a page of documentation. */
function describeOptions(): string {
  const rows = OPTION_LIST.map(([name, option]) => {
    const fallback =
      option.default === undefined || option.default === ''
        ? 'none'
        : typeof option.default === 'function'
          ? option.defaultNote
          : `\`${option.default}\``;
    const also = option.otherwise?.length ? ` Otherwise \`${option.otherwise.join('`, `')}\` is used.` : '';
    return `### ${name}\n\n${option.help}${also}\n\nDefault: ${fallback}. Allowed: ${option.type.allowed}.\n`;
  });
  const partition =
    '### backuppartition-NAME\n\nDirectory for backups; at least one is required. It must exist, be writable and lie in no other partition.\n';
  return [...rows, partition].join('\n');
}
