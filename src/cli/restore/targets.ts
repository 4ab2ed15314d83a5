/** `--to`: where mail is restored to. */
import { BackupError } from '../../platform/errors.ts';
import type { RestoreTarget } from '../../restore/target.ts';
import { FILE_KINDS } from './file-targets.ts';
import type { RestoreFlags } from './restore.ts';

export interface TargetKind {
  /** What stands before the colon. */
  scheme: string;
  form: string;
  summary: string;
  /** @param rest what follows `SCHEME:` */
  open(rest: string, flags: RestoreFlags): Promise<RestoreTarget>;
}

const imap = (scheme: 'imap' | 'imaps', summary: string): TargetKind => ({
  scheme,
  form: `${scheme}://[USER@]HOST[:PORT]`,
  summary,
  open: async (rest, flags) => (await import('./imap-target.ts')).openImapTarget(scheme, rest, flags),
});

const KINDS: readonly TargetKind[] = [
  ...FILE_KINDS,
  {
    scheme: 'csync',
    form: 'csync://USER@HOST[:PORT]',
    summary: 'a Cyrus server, by replication',
    open: async (rest, flags) => (await import('./csync-target.ts')).openCsyncTarget(rest, flags),
  },
  imap('imap', 'any IMAP server'),
  imap('imaps', 'the same with TLS from the first byte'),
];

/** For --help. */
export const TARGET_FORMS: string = KINDS.map(({ form, summary }) => `${form} (${summary})`).join(', ');

/** @throws BackupError USAGE for a target of a kind that there is not; what opening it says */
export async function openTarget(text: string, flags: RestoreFlags): Promise<RestoreTarget> {
  const colon = text.indexOf(':');
  const kind = KINDS.find(({ scheme }) => colon > 0 && scheme === text.slice(0, colon).toLowerCase());
  if (flags.identity && kind !== undefined && kind.scheme !== 'csync') {
    throw new BackupError({
      code: 'USAGE',
      tried: 'keep the identity of mailboxes at',
      subject: text,
      reason: 'only replication can say which UIDs messages are to have',
      remedy: 'Give --to csync://USER@HOST, or leave --identity out',
    });
  }
  if (kind !== undefined && colon < text.length - 1) return await kind.open(text.slice(colon + 1), flags);
  throw new BackupError({
    code: 'USAGE',
    tried: 'restore to',
    subject: text === '' ? '(nothing)' : text,
    reason: kind === undefined ? 'there is no such kind of target' : 'it does not say where',
    remedy: `Give one of ${TARGET_FORMS}`,
  });
}
