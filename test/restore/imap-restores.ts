/** Small backups restored to an IMAP server in this process. */
import { closeSync, openSync } from 'node:fs';
import { ImapTarget, type ImapTargetOptions } from '../../src/restore/imap/target.ts';
import { planRestore, type RestorePlan } from '../../src/restore/plan.ts';
import { RestoreReport } from '../../src/restore/report.ts';
import { Selection } from '../../src/restore/selection.ts';
import { BackupSource } from '../../src/restore/source.ts';
import { BackupIndex } from '../../src/store/index/backup-index.ts';
import type { OpenBackup } from '../../src/store/open-backup.ts';
import { mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';
import { MailServer, type MailServerOptions } from '../support/mail-server.ts';

const rules = {
  defaultDomain: 'internal',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
} as const;
export const closing: (() => void | Promise<void>)[] = [];

/** What the helpers opened; to be called after each test. */
export async function closeAll(): Promise<void> {
  for (const close of closing.splice(0).reverse()) await close();
}

export async function serve(o: MailServerOptions = {}): Promise<MailServer> {
  const server = await MailServer.start(o);
  closing.push(() => server.close());
  return server;
}

interface Sample {
  [mailbox: string]: { content: string; flags?: string }[];
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');

/** A plan of a backup with these mailboxes. */
export function planOf(sample: Sample, into: string | undefined = undefined, userid = 'anne'): RestorePlan {
  const contents = [
    ...new Set(Object.values(sample).flatMap((records) => records.map(({ content }) => content))),
  ];
  const lines = Object.entries(sample).map(([name, records]) =>
    mailboxLine(
      name,
      records.map(({ content, flags }, i) => ({ uid: i + 1, content: latin1(content), flags })),
    ).replaceAll(/ANNOTATIONS \(%\(ENTRY \/x USERID NIL VALUE \{5\}\r\n\)\r\n\(\r\)\)/g, 'ANNOTATIONS ()'),
  );
  const backup = new SampleBackup([[messageLine(contents.map(latin1)), ...lines]]);
  closing.push(() => backup[Symbol.dispose]());
  const fd = openSync(backup.dataPath, 'r');
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  closing.push(
    () => closeSync(fd),
    () => index.close(),
  );
  const source = new BackupSource({ fd, index, path: backup.dataPath } as OpenBackup);
  const selection = new Selection(source, {
    objects: [],
    rules,
    recursive: false,
    deleted: false,
    onlyDeleted: false,
  });
  return planRestore(source, { userid, rules, selection, into, withSettings: false });
}

export function target(server: { port: number }, o: Partial<ImapTargetOptions> = {}): ImapTarget {
  const one = new ImapTarget({
    ...{
      host: '127.0.0.1',
      port: server.port,
      tls: false,
      user: 'anne',
      password: 'secret',
      allowPlaintext: false,
    },
    ...{ compress: false, quietMs: 0, withAcls: false, sieve: { host: '127.0.0.1', port: 1 }, ...o },
  });
  closing.push(() => one.close());
  return one;
}

export async function restore(
  server: MailServer,
  plan: RestorePlan,
  o: Partial<ImapTargetOptions> = {},
): Promise<RestoreReport> {
  const report = new RestoreReport();
  await target(server, o).restore(plan, report);
  return report;
}
