import { copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type BackupServer, BackupSite, type Finished, ROOT, run } from '../support/backup-server.ts';
import { dataFilesOf, SharedBackup } from './harness/backup.ts';
import { CyrusSite, until } from './harness/cyrus.ts';
import { change, seedShared, seedUser } from './harness/mail.ts';
import { CYRUS_BIN } from './harness/requirements.ts';

/** A store that both programs look at: how Cyrus's are run over it, and its configuration for ours. */
interface Store {
  config: string;
  files: Map<string, string>;
  cyrus(program: string, args: string[]): Promise<Finished>;
}

describe('ctl_backups and cyr_backup beside Cyrus’s own', () => {
  let cyrus: CyrusSite;
  let backup: SharedBackup;
  let server: BackupServer;
  const stores = new Map<'ours' | 'backupd', Store>();

  beforeAll(async () => {
    cyrus = await CyrusSite.start(['source', 'peer']);
    backup = await SharedBackup.create(cyrus, { backup_retention: '7d' });
    server = await backup.site.start();
    await seedUser(cyrus, 'alice');
    await seedUser(cyrus, 'bob.dot', { sieve: false });
    await seedShared(cyrus, ['alice']);
    const targets = [{ port: backup.site.port }, { port: cyrus.ports('peer').csync }];
    for (const to of targets) await cyrus.sync(['-A'], to);
    for (const what of ['new', 'expunge', 'create', 'rename', 'delete', 'copy'] as const) {
      await change(cyrus, 'alice', what);
      for (const to of targets) await cyrus.sync(['-u', 'alice'], to);
    }
    stores.set('ours', {
      config: backup.site.configFile,
      files: backup.dataFiles(),
      cyrus: (program, args) => backup.tool(program, args),
    });
    const conf = cyrus.conf('peer');
    stores.set('backupd', {
      config: conf,
      files: dataFilesOf(path.join(cyrus.dir, 'peer', 'backup')),
      cyrus: (program, args) => cyrus.tool(program, conf, args),
    });
  });

  afterAll(async () => {
    await server?.kill();
    backup?.site.remove();
    await cyrus?.close();
  });

  const ours = (program: string, config: string, args: string[]): Promise<Finished> =>
    run(process.execPath, [path.join(ROOT, `src/cli/compat/${program}.cjs`), '-C', config, ...args]);

  /** Both programs say and return the same; what Cyrus says on standard error in passing is left aside. */
  async function compare(
    store: Store,
    program: string,
    args: string[],
    o: { stderr?: boolean } = {},
  ): Promise<string> {
    const [theirs, own] = [await store.cyrus(program, args), await ours(program, store.config, args)];
    const what = `${program} ${args.join(' ')}`;
    expect(own.stdout.toString('latin1'), what).toBe(theirs.stdout.toString('latin1'));
    expect(own.status, what).toBe(theirs.status);
    if (o.stderr !== false) expect(own.stderr, what).toBe(theirs.stderr.replaceAll(DLIST_NOISE, ''));
    return own.stdout.toString();
  }

  /** What Cyrus's parser says about values that its own backupd wrote. */
  const DLIST_NOISE = /\n?didn't parse dlist, error -1\n/g;

  describe.each(['ours', 'backupd'] as const)('store that %s wrote', (which) => {
    const store = (): Store => stores.get(which)!;
    const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '');

    test.each([
      ['list'],
      ['list -A'],
      ['-V list -A'],
      ['-j list -A'],
      ['list -t 1'],
      ['list -t'],
      ['list alice bob.dot'],
      ['list alice nobody'],
      ['list -m user/alice/Sent'],
      ['list -P al bo zz'],
      ['list -D internal'],
      ['list -D example.com'],
      ['stat -A'],
      ['-j stat -A'],
      ['-V stat -u alice'],
      ['-S stat -f /nowhere'],
      ['-S list -f /nowhere'],
      ['verify -A'],
      ['-v verify alice'],
      ['-vv verify bob.dot'],
      ['-j verify -A'],
      ['lock alice'],
      ['lock -x true alice'],
      ['lock -x false -u alice'],
      ['lock -c alice'],
      ['stat'],
    ])('ctl_backups %s', async (line) => {
      await compare(store(), 'ctl_backups', line.split(' '));
    });

    test('ctl_backups over files, also those that are not there', async () => {
      const files = [...store().files.values(), '/nowhere/at_all'];
      for (const command of ['list', 'stat', 'verify'])
        await compare(store(), 'ctl_backups', [command, '-f', ...files]);
    });

    test('ctl_backups lock -x hands over the files', async () => {
      const command = 'echo "$ctl_backups_lock_data_fname $ctl_backups_lock_index_fname"';
      const file = store().files.get('alice')!;
      expect(await compare(store(), 'ctl_backups', ['lock', '-x', command, 'alice'])).toBe(
        `${file} ${file}.index\n`,
      );
    });

    test.each([
      ['list chunks'],
      ['list mailboxes'],
      ['list messages'],
      ['list all'],
      ['json chunks'],
      ['json mailboxes'],
      ['json messages'],
      ['show mailboxes user/alice user/alice/Archive/Old%20years nothing user/alice/Sent'],
      ['dump chunk 1'],
      ['dump chunk 2'],
      ['dump chunk 999'],
      ['show messages nothing'],
      ['json headers nothing'],
    ])('cyr_backup alice %s', async (line) => {
      const words = line.split(' ').map((word) => word.replace('%20', ' '));
      await compare(store(), 'cyr_backup', ['alice', ...words]);
      await compare(store(), 'cyr_backup', ['-f', store().files.get('bob.dot')!, ...words]);
      await compare(store(), 'cyr_backup', ['-v', '-m', 'user/alice/Drafts', ...words]);
    });

    test('cyr_backup shows, dumps and lists the headers of every message', async () => {
      const guids = lines(
        (await store().cyrus('cyr_backup', ['alice', 'list', 'messages'])).stdout.toString(),
      );
      expect(guids.length).toBeGreaterThan(10);
      await compare(store(), 'cyr_backup', ['alice', 'show', 'messages', ...guids]);
      await compare(store(), 'cyr_backup', ['alice', 'json', 'headers', ...guids]);
      for (const guid of guids.slice(0, 3))
        await compare(store(), 'cyr_backup', ['alice', 'dump', 'message', guid]);
      const mailboxes = lines(
        (await store().cyrus('cyr_backup', ['alice', 'list', 'mailboxes'])).stdout.toString(),
      );
      const uniqueids = mailboxes.slice(1).map((line) => line.split(' ')[0]!);
      await compare(store(), 'cyr_backup', ['alice', 'show', 'mailboxes', ...uniqueids]);
    });

    test('ctl_backups reindex of a copy', async () => {
      // bob.dot has no Sieve scripts, which Cyrus's reindex miscounts.
      const original = store().files.get('bob.dot')!;
      const copy = path.join(path.dirname(store().config), 'reindexed');
      for (const line of ['-v reindex', 'reindex', '-j reindex', '-w reindex']) {
        const said: string[] = [];
        for (const program of [
          store().cyrus,
          (name: string, args: string[]) => ours(name, store().config, args),
        ]) {
          rmSync(`${copy}.index`, { force: true });
          copyFileSync(original, copy);
          cyrus.giveToCyrus(copy);
          const done = await program('ctl_backups', [...line.split(' '), '-f', copy]);
          // Cyrus finds one more chunk, where the file ends.
          const beyond = `\nfound chunk at offset ${statSync(copy).size}\n\n`;
          said.push(`${done.status}\n${done.stdout.toString().replace(beyond, '')}`);
          const messages = await program('cyr_backup', ['-f', copy, 'list', 'messages']);
          said.push(lines(messages.stdout.toString()).toSorted().join('\n'));
        }
        expect(said.slice(2), line).toEqual(said.slice(0, 2));
      }
      rmSync(copy);
      rmSync(`${copy}.index`);
    });

    test('ctl_backups compact of a copy: done when it is told to, skipped where there is nothing to do', async () => {
      const copy = path.join(path.dirname(store().config), 'compacted');
      const said: string[] = [];
      for (const program of [
        store().cyrus,
        (name: string, args: string[]) => ours(name, store().config, args),
      ]) {
        rmSync(`${copy}.index`, { force: true });
        copyFileSync(store().files.get('bob.dot')!, copy);
        copyFileSync(`${store().files.get('bob.dot')!}.index`, `${copy}.index`);
        for (const file of [copy, `${copy}.index`]) cyrus.giveToCyrus(file);
        for (const line of ['-F compact', 'compact', '-j compact', '-S compact']) {
          const done = await program('ctl_backups', [...line.split(' '), '-f', copy, copy]);
          said.push(`${line}: ${done.status}\n${done.stdout}`);
        }
      }
      expect(said.slice(4)).toEqual(said.slice(0, 4));
      expect(said[5]).toContain('skipped');
      rmSync(copy);
      rmSync(`${copy}.index`);
    });

    test('what is not there and what is no command line', async () => {
      const quiet = { stderr: false };
      for (const line of [
        'nobody list all',
        '-m user/nobody list all',
        '-z',
        'alice list foo',
        'alice list',
        'alice dump chunk x',
      ])
        await compare(store(), 'cyr_backup', line.split(' '), quiet);
      for (const line of [
        '',
        'stat -A alice',
        'lock -A',
        'lock alice bob',
        '-j -v stat',
        'lock -p -s alice',
        'list -t soon',
        '-x',
        'frobnicate',
      ])
        await compare(
          store(),
          'ctl_backups',
          line.split(' ').filter((word) => word !== ''),
          quiet,
        );
    });

    test('a backup that somebody holds is left out', async () => {
      const { config, files, cyrus: theirs } = store();
      const others = ['list -A', 'stat -A', 'verify -A', '-j verify alice', 'lock alice'];
      // Each program is run inside the other's lock.
      const inside = (program: string): string =>
        others.map((line) => `${program} -C ${config} ${line} </dev/null 2>&1; echo "status $?"`).join('; ');
      const own = `${process.execPath} ${ROOT}/src/cli/compat/ctl_backups.cjs`;
      const held = await theirs('ctl_backups', [
        'lock',
        '-x',
        `exec 2>&1; ${inside(`${CYRUS_BIN}/ctl_backups`)}`,
        'alice',
      ]);
      const file = path.join(path.dirname(config), 'inside.sh');
      writeFileSync(file, inside(own));
      const heldByUs = await ours('ctl_backups', config, ['lock', '-x', `sh ${file}`, 'alice']);
      // Cyrus's standard output comes late where it goes into a pipe, so the order of the two means nothing.
      const said = (done: Finished): string[] =>
        done.stdout.toString().replaceAll(DLIST_NOISE, '').split('\n').toSorted();
      expect(said(heldByUs)).toEqual(said(held));
      expect(said(held)).toContain('verify alice: locked');
      expect(files.size).toBeGreaterThan(1);
    });
  });

  test('a name that is not known shows in the status also where Cyrus forgets it', async () => {
    const { config } = stores.get('ours')!;
    const done = await ours('ctl_backups', config, ['list', 'nobody', 'alice']);
    expect(done).toMatchObject({ status: 75, stderr: 'nobody: not found in backups.db\n' });
    expect(done.stdout.toString()).toContain('\talice\t');
  });

  test('Cyrus’s master starts our backupd, sync_client pushes to it, a reread configuration starts it anew', async () => {
    const site = await BackupSite.create({
      // Cyrus's user need not be able to read the checkout.
      cyrus_user: 'root',
      proc_path: cyrus.makeDir('master', 'proc'),
      mboxname_lockpath: cyrus.makeDir('master', 'lock'),
    });
    const file = (name: string): string => path.join(site.dir, name);
    const backupd = path.join(ROOT, 'src/cli/compat/backupd.cjs');
    const service = `cmd="${backupd} -C ${site.configFile} -U 250" listen="127.0.0.1:${site.port}" proto="tcp4"`;
    writeFileSync(
      file('cyrus.conf'),
      `START {\n}\nSERVICES {\n  backupd ${service} prefork=0 maxchild=1\n}\nEVENTS {\n}\n`,
    );
    const started = await run(`${CYRUS_BIN}/master`, [
      ...['-C', site.configFile, '-M', file('cyrus.conf'), '-p', file('master.pid')],
      ...['-d', '-L', file('master.log')],
    ]);
    expect(started.status).toBe(0);
    const pid = Number(readFileSync(file('master.pid'), 'utf8'));
    const log = (): string => readFileSync(file('master.log'), 'utf8');
    try {
      await cyrus.sync(['-u', 'alice'], { port: site.port });
      await cyrus.sync(['-u', 'bob.dot'], { port: site.port });
      expect(log().match(/"msg":"ready"/g)).toHaveLength(1);
      process.kill(pid, 'SIGHUP');
      await until('the server has stopped', () => log().includes('"msg":"stopped"'));
      await change(cyrus, 'alice', 'new');
      await cyrus.sync(['-u', 'alice'], { port: site.port });
      expect(log().match(/"msg":"ready"/g)).toHaveLength(2);
    } finally {
      process.kill(pid, 'SIGTERM');
    }
    await until('the server has stopped', () => log().match(/"msg":"stopped"/g)?.length === 2);
    expect((await site.cli(['verify', '-A'])).status).toBe(0);
    site.remove();
  });

  test('a last chunk that is not what the index says: list leaves the backup out, as Cyrus’s does', async () => {
    // Damage of the compressed bytes themselves makes Cyrus's list run for ever.
    const store = stores.get('backupd')!;
    const index = new Database(`${store.files.get('alice')!}.index`);
    index.exec("UPDATE chunk SET data_sha1 = 'ffff' WHERE id = (SELECT max(id) FROM chunk)");
    index.close();
    const quiet = { stderr: false };
    await compare(store, 'ctl_backups', ['list', '-A'], quiet);
    await compare(store, 'ctl_backups', ['-V', 'list', '-A'], quiet);
    await compare(store, 'ctl_backups', ['stat', '-A'], quiet);
    await compare(store, 'ctl_backups', ['-V', 'stat', '-A'], quiet);
    const own = await ours('cyr_backup', store.config, ['alice', 'list', 'messages']);
    expect(own.status).toBe(75);
    expect(own.stdout.length).toBeGreaterThan(400);
  });
});
