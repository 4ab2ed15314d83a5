/** `--to`: files. */
import type { TargetKind } from './targets.ts';

export const FILE_KINDS: readonly TargetKind[] = [
  {
    scheme: 'eml',
    form: 'eml:DIR',
    summary: 'a file for each message',
    open: async (rest) => new (await import('../../restore/files/eml.ts')).EmlTarget(rest),
  },
  {
    scheme: 'maildir',
    form: 'maildir:DIR',
    summary: 'a Maildir++, as Dovecot serves it',
    open: async (rest) => new (await import('../../restore/files/maildir.ts')).MaildirTarget(rest),
  },
  {
    scheme: 'mbox',
    form: 'mbox:DIR',
    summary: 'an mbox file for each mailbox',
    open: async (rest) => new (await import('../../restore/files/mbox.ts')).MboxTarget(rest),
  },
  {
    scheme: 'tar',
    form: 'tar:FILE|-',
    summary: 'a tar archive of EML files',
    open: async (rest) => new (await import('../../restore/files/tar.ts')).TarTarget(rest),
  },
  {
    scheme: 'json',
    form: 'json:FILE|-',
    summary: 'everything as JSON, one object a line',
    open: async (rest, { content = true, settings = true }) =>
      new (await import('../../restore/files/json.ts')).JsonTarget(rest, { content, settings }),
  },
];
