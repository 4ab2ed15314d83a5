/**
 * `node bench/restore-imap.ts [MESSAGES]`: messages a second restored into Dovecot and Cyrus by IMAP, beside a loop of plain
 * APPENDs of the same messages to the same server in the same run. Needs root, Debian's Cyrus and Dovecot.
 */
import { closeSync, openSync } from 'node:fs';
import { ImapTarget } from '../src/restore/imap/target.ts';
import { planRestore } from '../src/restore/plan.ts';
import { RestoreReport } from '../src/restore/report.ts';
import { Selection } from '../src/restore/selection.ts';
import { BackupSource } from '../src/restore/source.ts';
import { BackupIndex } from '../src/store/index/backup-index.ts';
import { CyrusSite } from '../test/interop/harness/cyrus.ts';
import { ADMIN } from '../test/interop/harness/cyrus-conf.ts';
import { Dovecot } from '../test/interop/harness/dovecot.ts';
import type { ImapClient } from '../test/interop/harness/imap.ts';
import { mailboxLine, messageLine, SampleBackup } from '../test/maintenance/backup-files.ts';
import { message, Random } from '../test/support/random.ts';

const ROUNDS = 3;
const DATE = '13-Sep-2020 12:26:40 +0000';
const rules = {
  defaultDomain: 'internal',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
} as const;

const count = Number(process.argv[2] ?? 2000);
const random = new Random('restore-imap');
const contents = Array.from({ length: count }, () => message(random, random.int(600, 9000)));
const bytes = contents.reduce((sum, { length }) => sum + length, 0);
const records = contents.map((content, i) => ({ uid: i + 1, content }));
using backup = new SampleBackup([
  [
    messageLine(contents),
    mailboxLine('user.anne', records).replaceAll(/ANNOTATIONS \(%\(ENTRY \/x.*?\r\)\)/gs, 'ANNOTATIONS ()'),
  ],
]);

/** CPU of this process while it restores, in milliseconds. */
let cpuMs = 0;

/** @returns messages a second */
async function restore(port: number, into: string): Promise<number> {
  const fd = openSync(backup.dataPath, 'r');
  const index = BackupIndex.open(backup.indexPath, { readonly: true });
  const source = new BackupSource({ fd, index, path: backup.dataPath, sizeBytes: 0 });
  const options = { objects: [], rules, recursive: false, deleted: false, onlyDeleted: false };
  const selection = new Selection(source, options);
  const plan = planRestore(source, { userid: 'anne', rules, selection, into, withSettings: false });
  const target = new ImapTarget({
    ...{ host: '127.0.0.1', port, tls: false, user: ADMIN.user, password: ADMIN.password, actAs: 'anne' },
    ...{ allowPlaintext: true, compress: false, withAcls: false, quietMs: 0 },
    sieve: { host: '127.0.0.1', port: 1 },
  });
  const report = new RestoreReport();
  const start = performance.now();
  const before = process.cpuUsage();
  await target.restore(plan, report);
  const seconds = (performance.now() - start) / 1000;
  const { user, system } = process.cpuUsage(before);
  cpuMs = (user + system) / 1000;
  await target.close();
  index.close();
  closeSync(fd);
  if (report.messages !== count) throw new Error(`restored ${report.messages} of ${count} messages`);
  return count / seconds;
}

/** @returns messages a second */
async function appendLoop(imap: ImapClient, folder: string): Promise<number> {
  await imap.command(`CREATE "${folder}"`);
  const start = performance.now();
  for (const content of contents) await imap.append(folder, content, [], DATE);
  const seconds = (performance.now() - start) / 1000;
  await imap.logout();
  return count / seconds;
}

async function measure(name: string, port: number, login: () => Promise<ImapClient>): Promise<void> {
  const [ours, plain]: number[][] = [[], []];
  for (let round = 1; round <= ROUNDS; round++) {
    plain!.push(await appendLoop(await login(), `Plain${round}`));
    ours!.push(await restore(port, `Restored${round}`));
  }
  const [a, b] = [middle(ours!), middle(plain!)];
  process.stdout.write(
    `${name}: restore ${a.toFixed(0)}/s, plain APPENDs ${b.toFixed(0)}/s, ratio ${(a / b).toFixed(1)}, ` +
      `${(cpuMs / count).toFixed(2)} ms of our CPU a message\n`,
  );
}

function middle(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

process.stdout.write(`${count} messages, ${(bytes / 1e6).toFixed(1)} MB, median of ${ROUNDS} rounds\n`);
const dovecot = await Dovecot.start();
try {
  await measure('Dovecot', dovecot.port, () => dovecot.imap('anne'));
} finally {
  await dovecot.close();
}
const cyrus = await CyrusSite.start(['target']);
try {
  const admin = await cyrus.imap(undefined, 'target');
  await admin.command('CREATE "user/anne"');
  await admin.logout();
  await measure('Cyrus', cyrus.ports('target').imap, () => cyrus.imap('anne', 'target'));
} finally {
  await cyrus.close();
}
