import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { tryLock, unlock } from '../../src/platform/file-lock.ts';
import { Catalog } from '../../src/store/catalog.ts';
import { TwoskipReader } from '../../src/store/twoskip/reader.ts';
import { createEmpty, Transaction } from '../../src/store/twoskip/transaction.ts';
import { afterCrash, type FileStep, MemoryFile } from '../store/twoskip/memory-file.ts';
import { run } from '../support/backup-server.ts';
import { Random } from '../support/random.ts';
import { type Account, CYRUS_BIN, requireCyrus } from './harness/requirements.ts';

describe('backups.db and Cyrus’s cyr_dbtool', () => {
  let account: Account;
  let dir: string;
  let file: string;
  let catalog: Catalog;

  beforeAll(() => {
    account = requireCyrus();
    dir = fs.mkdtempSync(path.join(os.tmpdir(), 'twoskip-'));
    fs.chownSync(dir, account.uid, account.gid);
    fs.writeFileSync(path.join(dir, 'imapd.conf'), `configdirectory: ${dir}\nbackup_db: twoskip\n`);
  });
  let number = 0;
  beforeEach(() => {
    catalog?.close();
    file = path.join(dir, `catalog-${number++}.db`);
    catalog = new Catalog(file);
    catalog.put('anne', '/backup/a/anne_AAAAAA');
    hand();
  });
  afterAll(() => {
    catalog?.close();
    if (dir) fs.rmSync(dir, { recursive: true });
  });

  /** What root wrote belongs to whom it would belong in practice. */
  const hand = (): void => fs.chownSync(file, account.uid, account.gid);

  async function cyrus(args: string[], input?: string): Promise<string> {
    const done = await run(
      path.join(CYRUS_BIN, 'cyr_dbtool'),
      ['-C', path.join(dir, 'imapd.conf'), file, 'twoskip', ...args],
      { ...account, input, cwd: dir, timeoutMs: 30_000 },
    );
    if (done.signal !== null || done.stderr !== '') {
      throw new Error(`cyr_dbtool ${args.join(' ')}: ${done.status} ${done.signal} ${done.stderr}`);
    }
    return done.stdout.toString('latin1');
  }

  async function shown(): Promise<[string, string][]> {
    const lines = (await cyrus(['show'])).split('\n').slice(0, -1);
    return lines.map((line) => line.split('\t').slice(0, 2) as [string, string]);
  }

  const consistent = async (): Promise<void> => {
    expect((await cyrus(['consistent'])).trim()).toBe('Yes, consistent');
  };

  test('take turns in writing, and both see all of it', async () => {
    const random = new Random('turns');
    const model = new Map([['anne', '/backup/a/anne_AAAAAA']]);
    for (let turn = 0; turn < 60; turn++) {
      const commands: string[] = [];
      const count = random.int(1, 12);
      for (let i = 0; i < count; i++) {
        const userid = `user${random.int(0, 40)}`;
        const remove = random.chance(0.3);
        const to = `/backup/u/${userid}_${turn}${'x'.repeat(random.int(0, 60))}`;
        if (remove) model.delete(userid);
        else model.set(userid, to);
        if (turn % 2 === 0) commands.push(remove ? `DELETE ${userid}` : `SET ${userid} ${to}`);
        else if (remove) catalog.delete(userid);
        else catalog.put(userid, to);
      }
      if (commands.length > 0) await cyrus(['batch'], `${commands.join('\n')}\n`);
      const expected = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
      expect([...catalog.entries()]).toEqual(expected);
      catalog.check();
      expect(await shown()).toEqual(expected);
      await consistent();
    }
    // Both have rewritten the file on the way.
    expect(new TwoskipReader(new MemoryFile(fs.readFileSync(file))).header.generation).toBeGreaterThan(2);
  });

  test('write at the same time without losing anything', async () => {
    const sets = Array.from({ length: 400 }, (_, i) => `SET cyrus${i} /cyrus/${i}\n`).join('');
    let running = true;
    const theirs = cyrus(['batch'], sets).finally(() => (running = false));
    let ours = 0;
    while (running) {
      catalog.put(`ours${ours}`, `/ours/${ours}`);
      ours++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await theirs;
    const entries = new Map(catalog.entries());
    for (let i = 0; i < 400; i++) expect(entries.get(`cyrus${i}`)).toBe(`/cyrus/${i}`);
    for (let i = 0; i < ours; i++) expect(entries.get(`ours${i}`)).toBe(`/ours/${i}`);
    expect(entries.size).toBe(401 + ours);
    catalog.check();
    await consistent();
  });

  test('Cyrus waits for our lock', async () => {
    const fd = fs.openSync(file, 'r+');
    expect(tryLock(fd, 'exclusive')).toBe(true);
    let answer = '';
    const asked = cyrus(['get', 'anne']).then((said) => (answer = said));
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(answer).toBe('');
    unlock(fd);
    fs.closeSync(fd);
    expect((await asked).trim()).toBe('/backup/a/anne_AAAAAA');
  });

  test('what we left unfinished in a crash, Cyrus recovers, and the other way round', async () => {
    const start = new MemoryFile();
    createEmpty(start);
    const setUp = new Transaction(new TwoskipReader(start));
    for (let i = 0; i < 12; i++) setUp.put(Buffer.from(`user${i}`), Buffer.from(`/${i}`));
    setUp.commit();
    const contentOf = (bytes: Buffer): [string, string][] =>
      [...new TwoskipReader(new MemoryFile(bytes)).records()].map((r) => [
        r.key.toString(),
        r.value.toString(),
      ]);

    const torn = new MemoryFile(start.bytes);
    const transaction = new Transaction(new TwoskipReader(torn));
    transaction.put(Buffer.from('user3'), Buffer.from('/replaced'));
    transaction.delete(Buffer.from('user5'));
    transaction.put(Buffer.from('user55'), Buffer.from('/new'));
    transaction.commit();
    const [before, after] = [contentOf(start.bytes), contentOf(torn.bytes)];
    const random = new Random('fates');
    const fates: ((step: FileStep) => FileStep | undefined)[] = [
      (step) => step,
      () => undefined,
      (step) => (random.chance(0.5) ? step : undefined),
    ];
    for (let cut = 1; cut <= torn.steps.length; cut++) {
      for (const fate of fates) {
        const held = afterCrash(start.bytes, torn.steps.slice(0, cut), fate);
        fs.writeFileSync(file, held);
        const theirs = await shown();
        expect([before, after]).toContainEqual(theirs);
        // Cyrus has recovered the file now; we find it clean and the same.
        expect([...catalog.entries()]).toEqual(theirs);
        catalog.check();
        fs.writeFileSync(file, held);
        expect([...catalog.entries()]).toEqual(theirs);
        await consistent();
      }
    }
  });

  test('lengths, bytes and order are the same for both', async () => {
    const odd = ['%SHARED', 'a', 'a.b', 'a@example.org', 'b\xc3\xbcrger', `long${'g'.repeat(300)}`];
    for (const userid of odd) catalog.put(userid, `/backup/${userid.length}`);
    catalog.delete('anne');
    hand();
    expect((await shown()).map(([userid]) => userid)).toEqual(odd);
    await cyrus(['set', 'zo\xc3\xab', '/z']);
    expect([...catalog.entries()].map(([userid]) => userid).length).toBe(odd.length + 1);
  });
});
