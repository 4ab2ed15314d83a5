/** `csync-backup describe`: the help of all commands as Markdown, which is the reference part of docs/commands.md. */
import fs from 'node:fs';
import { Command } from 'commander';
import { withTables } from '../metrics/describe.ts';
import { BACKUPD_USAGE } from './compat/backupd.ts';
import { CTL_BACKUPS_USAGE, CYR_BACKUP_USAGE, RESTORE_USAGE } from './compat/usage-text.ts';

/** Where the reference begins in the page. */
const HEADING = '## Reference\n';
const WIDTH = 110;

/** `commands`: the program's, without this one. */
export function newDescribeCommand(commands: () => Promise<Command[]>): Command {
  return new Command('describe')
    .description(
      'Print the help of all commands as Markdown, or write it into a page that has a "## Reference".',
    )
    .argument('[page]', 'file whose reference is replaced')
    .option('--metrics <page>', 'make the tables of metrics in this page anew instead')
    .action(async (page: string | undefined, { metrics }: { metrics?: string }) => {
      if (metrics !== undefined) {
        fs.writeFileSync(metrics, withTables(fs.readFileSync(metrics, 'utf8')));
        return;
      }
      const reference = describeCommands(await commands());
      if (page === undefined) process.stdout.write(reference);
      else fs.writeFileSync(page, withReference(fs.readFileSync(page, 'utf8'), reference));
    });
}

function withReference(page: string, reference: string): string {
  const start = page.indexOf(HEADING);
  return (start === -1 ? `${page}\n` : page.slice(0, start)) + reference;
}

function describeCommands(commands: readonly Command[]): string {
  const sections = commands.flatMap((command) => sectionsOf(command, 'csync-backup'));
  for (const [name, usage] of [
    ['ctl_backups', CTL_BACKUPS_USAGE],
    ['cyr_backup', CYR_BACKUP_USAGE],
    ['restore', RESTORE_USAGE],
    ['backupd', BACKUPD_USAGE],
  ] as const) {
    sections.push(section(name, usage));
  }
  return `${HEADING}\nWhat \`--help\` says.\n${sections.join('')}`;
}

/** A section for a command that does something, or for each of its subcommands. */
function sectionsOf(command: Command, parent: string): string[] {
  const name = `${parent} ${command.name()}`;
  if (command.commands.length > 0) return command.commands.flatMap((child) => sectionsOf(child, name));
  return [section(name, helpOf(command))];
}

function section(name: string, help: string): string {
  return `\n### ${name}\n\n\`\`\`\n${help.replace(/[ \t]+$/gm, '').trim()}\n\`\`\`\n`;
}

function helpOf(command: Command): string {
  let text = '';
  command
    .configureOutput({
      writeOut: (piece) => (text += piece),
      getOutHelpWidth: () => WIDTH,
      getOutHasColors: () => false,
    })
    .outputHelp();
  return text;
}
