/** A store with a backup whose mailboxes have what files find hard: flags, odd names, deleted ones. */
import fs from 'node:fs';
import path from 'node:path';
import { mailboxLine, messageLine, type RecordText, SampleBackup } from '../../maintenance/backup-files.ts';
import { type Ran, SmallStore } from '../../support/small-store.ts';

export interface SampleMailbox {
  /** Below INBOX, as stored: `Archive.2025`; empty for INBOX. */
  name: string;
  records: RecordText[];
}

export const UIDVALIDITY = 1_500_000_000;
export const INTERNALDATE = 1_600_000_000;

export const MAILBOXES: readonly SampleMailbox[] = [
  {
    name: '',
    records: [
      {
        uid: 2,
        content: 'Subject: one\r\n\r\nFrom me\r\n>From you\r\n',
        flags: '\\Seen \\Flagged $Forwarded',
      },
      { uid: 5, content: 'Subject: two\r\n\r\nno line end', flags: 'work' },
      {
        uid: 9,
        content: 'Subject: three\n\nbare\nlines\r\n',
        flags: '\\Draft \\Answered \\Deleted work $Forwarded',
      },
    ],
  },
  { name: 'Archive.2025', records: [{ uid: 1, content: 'Subject: old\r\n\r\n', flags: '\\Seen' }] },
  { name: 'Entw&APw-rfe', records: [{ uid: 1, content: 'Subject: d\r\n\r\n\r\n\r\n' }] },
  { name: 'v1^2', records: [{ uid: 1, content: 'Subject: dot\r\n\r\nin the name' }] },
  { name: '^^', records: [{ uid: 1, content: 'Subject: dots\r\n\r\n' }] },
  { name: `long${'g'.repeat(300)}`, records: [{ uid: 1, content: 'Subject: long\r\n\r\n' }] },
  { name: 'Empty', records: [] },
];

/** Of the mailbox Lost, in a chunk of its own, so that it can be damaged alone. */
export const LOST = `Subject: lost\r\n\r\n${'what was here is gone '.repeat(20)}`;

/** A store with the backup of anne. */
export class MailStore extends SmallStore {
  readonly dataPath: string;

  constructor(mailboxes: readonly SampleMailbox[] = MAILBOXES, more: string[] = []) {
    super();
    const all = [...mailboxes, { name: 'Lost', records: [{ uid: 1, content: LOST }] }];
    const contents = new Set(
      mailboxes.flatMap(({ records }) => records.map(({ content }) => content as string)),
    );
    contents.delete(LOST);
    const lines = all.map(({ name, records }) =>
      mailboxLine(name === '' ? 'user.anne' : `user.anne.${name}`, records),
    );
    using sample = new SampleBackup([
      [messageLine([LOST])],
      [messageLine([...contents])],
      [...lines, ...more],
    ]);
    this.dataPath = path.join(this.folder, 'one', 'anne_x1Y2z3');
    fs.copyFileSync(sample.dataPath, this.dataPath);
    fs.copyFileSync(sample.indexPath, `${this.dataPath}.index`);
    this.catalog.put('anne', this.dataPath);
  }

  /** Where things are restored to. */
  get out(): string {
    return path.join(this.folder, 'out');
  }

  /** `csync-backup restore`, of everything to where it was. */
  restore(to: string, ...more: string[]): Ran {
    return this.run(['restore', '-u', 'anne', '--to', to, '--in-place', ...more]);
  }

  /** Destroys the message LOST in the data file. */
  damage(): void {
    const fd = fs.openSync(this.dataPath, 'r+');
    fs.writeSync(fd, Buffer.alloc(20, 0xff), 0, 20, 120);
    fs.closeSync(fd);
  }
}
