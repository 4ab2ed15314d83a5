import { Option } from 'commander';

/** What `configOption()` adds to a command's options. */
export interface ConfigFlag {
  config?: string;
}

/** `-C FILE`, the same for every command. */
export function configOption(): Option {
  return new Option(
    '-C, --config <file>',
    'configuration file (default: /etc/csync-backup.conf, else /etc/imapd.conf if it names a backup partition, else the embedded default)',
  );
}
