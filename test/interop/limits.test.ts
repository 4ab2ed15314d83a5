/**
 * What needs much of a machine, or root: a message of 2 GB (2,000,000,000 bytes), 10,000 connections, a disk that is
 * really full. No Cyrus is involved; CI runs it with the tests that need root too.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { BackupSite, ROOT, run } from '../support/backup-server.ts';
import { message, Random } from '../support/random.ts';
import type { CsyncWire } from '../support/wire.ts';

const MB = 1_000_000;

function mailbox(user: string, records: { uid: number; guid: string; size: number }[]): string {
  const last = records.at(-1)!.uid;
  const list = records.map(
    ({ uid, guid, size }) =>
      `%(UID ${uid} MODSEQ ${uid + 1} LAST_UPDATED 1 FLAGS () INTERNALDATE 1 SIZE ${size} GUID ${guid})`,
  );
  return (
    `APPLY MAILBOX %(UNIQUEID id-${user} MBOXNAME user.${user} SYNC_CRC 0 SYNC_CRC_ANNOT 0 LAST_UID ${last} ` +
    `HIGHESTMODSEQ ${last + 1} RECENTUID 0 RECENTTIME 0 LAST_APPENDDATE 0 POP3_LAST_LOGIN 0 POP3_SHOW_AFTER 0 ` +
    `UIDVALIDITY 5 PARTITION default ACL "" OPTIONS P RECORD (${list.join(' ')}))`
  );
}

const sha1 = (text: string): string => createHash('sha1').update(text).digest('hex');

/** Pushes one message with its MAILBOX; returns the kinds of the answers to both, or of the first that is not OK. */
async function push(wire: CsyncWire, user: string, uid: number, bytes: Buffer): Promise<string[]> {
  const guid = createHash('sha1').update(bytes).digest('hex');
  const asked = await wire.command(`GET USER ${user}`);
  if (asked.kind !== 'OK') return [asked.kind];
  const sent = await wire.command(`APPLY MESSAGE (%{default ${guid} ${bytes.length}}\r\n`, bytes, ')');
  if (sent.kind !== 'OK') return [sent.kind];
  const named = await wire.command(mailbox(user, [{ uid, guid, size: bytes.length }]));
  return [sent.kind, named.kind];
}

/** Small filesystems that are unmounted and removed at the end. */
class Disks implements Disposable {
  readonly dir: string = mkdtempSync(path.join(tmpdir(), 'csync-backup-full-'));
  readonly #mounted: string[] = [];

  mount(name: string, kilobytes: number): string {
    const target = path.join(this.dir, name);
    mkdirSync(target, { mode: 0o700 });
    const done = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${kilobytes}k,mode=0700`, 'tmpfs', target]);
    if (done.status !== 0) throw new Error(`mount: ${done.stderr}`);
    this.#mounted.push(target);
    return target;
  }

  /** On a file of its own, as a disk is: space is given to files when they are written to disk, and inodes run out. */
  mountExt4(name: string, kilobytes: number): string {
    const [image, target] = [path.join(this.dir, `${name}.img`), path.join(this.dir, name)];
    mkdirSync(target, { mode: 0o700 });
    for (const [program, ...args] of [
      ['truncate', '-s', `${kilobytes}k`, image],
      ['mkfs.ext4', '-q', '-F', '-m', '0', '-O', '^resize_inode', '-J', 'size=4', image],
      ['mount', '-o', 'loop', image, target],
    ] as [string, ...string[]][]) {
      const done = spawnSync(program, args);
      if (done.status !== 0) throw new Error(`${program}: ${done.stderr}`);
      if (program === 'mount') this.#mounted.push(target);
    }
    return target;
  }

  [Symbol.dispose](): void {
    for (const target of this.#mounted) spawnSync('umount', ['-l', target]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

describe('limits', () => {
  test('a message of 2 GB at a ceiling of 256 MB', async () => {
    const site = await BackupSite.create({
      backup_memory_limit: '256M',
      backup_max_message_size: '2000000000',
    });
    const server = await site.start();
    try {
      // Random blocks with a counter: nothing to compress, and cheap to make.
      const block = randomBytes(MB);
      const blockOf = (i: number): Buffer => {
        const copy = Buffer.from(block);
        copy.writeUInt32BE(i, 0);
        return copy;
      };
      const hash = createHash('sha1');
      for (let i = 0; i < 2000; i++) hash.update(blockOf(i));
      const guid = hash.digest('hex');
      const wire = await server.connect();
      await wire.ok('GET USER anne');
      wire.send(`APPLY MESSAGE (%{default ${guid} ${2000 * MB}}\r\n`);
      for (let i = 0; i < 2000; i++) {
        if (!wire.socket.write(blockOf(i))) await once(wire.socket, 'drain');
      }
      expect((await wire.command(')')).kind).toBe('OK');
      await wire.ok(mailbox('anne', [{ uid: 1, guid, size: 2000 * MB }]));
      await wire.ok('RESTART');
      const peak = server.peakMemoryBytes() / MB;
      console.log(`peak memory of the server: ${peak.toFixed(0)} MB`);
      expect(peak).toBeLessThan(300);

      // One byte more than is allowed is refused, and costs nobody anything.
      const over = await server.connect();
      await over.ok('GET USER bob');
      over.send(`APPLY MESSAGE (%{default ${guid} ${2000 * MB + 1}}\r\n`);
      expect((await over.read()).final).toMatch(
        /^NO IMAP_MAILBOX_LOCKED Over a limit: a message is longer than 2000000000/,
      );
      over.destroy();
      expect(await push(wire, 'carol', 1, Buffer.from('small'))).toEqual(['OK', 'OK']);
      wire.destroy();
      expect(await server.stop()).toBe(0);

      const launch = path.join(ROOT, 'src/cli/launch.cjs');
      const dump = `'${process.execPath}' '${launch}' dump message ${guid} -u anne -C '${site.configFile}' | sha1sum`;
      expect((await run('sh', ['-c', dump])).stdout.toString()).toContain(guid);
      expect((await site.cli(['verify', '-A'])).status).toBe(0);
    } finally {
      await server.kill();
      site.remove();
    }
  }, 180_000);

  test('55,000 new messages in a mailbox of a batch with one of somebody else', async () => {
    const site = await BackupSite.create({ backup_memory_limit: '256M' });
    const server = await site.start();
    try {
      const wire = await server.connect();
      const all = Array.from({ length: 55_000 }, (_, i) => `Subject: ${i}\r\n\r\nof anne\r\n`);
      const records = all.map((text, i) => ({ uid: i + 1, guid: sha1(text), size: text.length }));
      // Of neither mailbox is anything here, so that the client says of no message whose it is.
      await wire.ok('GET MAILBOXES (user.anne user.bob)');
      for (let at = 0; at < all.length; at += 1024) {
        const files = all
          .slice(at, at + 1024)
          .map((text) => `%{default ${sha1(text)} ${text.length}}\r\n${text}`);
        await wire.ok(`APPLY MESSAGE (${files.join(' ')})`);
      }
      await wire.ok(mailbox('anne', records));
      // The client does not send again what it has sent.
      await wire.ok(mailbox('bob', records.slice(-3)));
      await wire.ok('EXIT');
      wire.destroy();
      const peak = server.peakMemoryBytes() / MB;
      console.log(`peak memory of the server: ${peak.toFixed(0)} MB`);
      expect(peak).toBeLessThan(300);
      const verified = await site.cli(['verify', '-A', '--json']);
      expect(verified.status, verified.stdout.toString()).toBe(0);
      expect(verified.stdout.toString()).not.toContain('CONTENT_MISSING');
      for (const [user, text] of [
        ['anne', all[0]!],
        ['anne', all.at(-1)!],
        ['bob', all.at(-1)!],
      ] as const) {
        const dumped = await site.cli(['dump', 'message', sha1(text), '-u', user]);
        expect(dumped.stdout.toString()).toBe(text);
      }
    } finally {
      await server.kill();
      site.remove();
    }
  }, 300_000);

  test('10,000 idle connections', async () => {
    const site = await BackupSite.create({ backup_memory_limit: '128M' });
    const server = await site.start();
    const sockets: net.Socket[] = [];
    try {
      const wire = await server.connect();
      await push(wire, 'anne', 1, message(new Random('before'), 3000));
      const before = server.memoryBytes();
      let greeted = 0;
      // From several addresses, as each has 28,000 ports; a few hundred at a time, as clients that start after an outage.
      for (let batch = 0; batch < 40; batch++) {
        await Promise.all(
          Array.from({ length: 250 }, async () => {
            const localAddress = `127.0.0.${2 + (batch % 8)}`;
            const socket = net.connect({ port: site.port, host: '127.0.0.1', localAddress });
            sockets.push(socket);
            await once(socket, 'data');
            greeted++;
          }),
        );
      }
      expect(greeted).toBe(10_000);
      for (let uid = 2; uid < 12; uid++)
        expect(await push(wire, 'anne', uid, message(new Random(`m${uid}`), 3000))).toEqual(['OK', 'OK']);
      expect(await server.metric('csync_backup_sessions')).toBe(10_001);
      const perConnection = (server.memoryBytes() - before) / 10_000;
      console.log(`each idle connection takes ${(perConnection / 1000).toFixed(1)} kB`);
      expect(perConnection).toBeLessThan(20_000);
      wire.destroy();
    } finally {
      for (const socket of sockets) socket.destroy();
      await server.kill();
      site.remove();
    }
  }, 120_000);

  test.each(['tmpfs', 'ext4'])(
    'a disk (%s) that is really full costs nothing that was acknowledged, and heals when there is room',
    async (kind) => {
      using disks = new Disks();
      let site: BackupSite | undefined;
      let server: Awaited<ReturnType<BackupSite['start']>> | undefined;
      try {
        const partition =
          kind === 'ext4' ? disks.mountExt4('partition', 22_000) : disks.mount('partition', 16_000);
        const conf = disks.mount('conf', 400);
        site = await BackupSite.create({ 'backuppartition-default': partition, configdirectory: conf });
        server = await site.start();
        const wire = await server.connect();
        const acknowledged: { user: string; guid: string }[] = [];
        const store = async (user: string, uid: number, bytes: Buffer): Promise<boolean> => {
          const kinds = await push(wire, user, uid, bytes);
          expect(kinds.every((kind) => kind === 'OK' || kind === 'NO IMAP_MAILBOX_LOCKED')).toBe(true);
          await wire.ok('RESTART');
          const isStored = kinds.join() === 'OK,OK';
          if (isStored) acknowledged.push({ user, guid: createHash('sha1').update(bytes).digest('hex') });
          return isStored;
        };

        // The partition fills up while messages come: large ones, then small ones into what is left.
        const filler = path.join(partition, 'filler');
        writeFileSync(filler, randomBytes(10 * MB));
        let refused = 0;
        for (let uid = 1; uid <= 12; uid++) if (!(await store('anne', uid, randomBytes(MB)))) refused++;
        for (let uid = 20; uid <= 200; uid++) if (!(await store('anne', uid, randomBytes(8000)))) refused++;
        if (!(await store('new', 1, randomBytes(9000)))) refused++;
        expect(refused).toBeGreaterThan(10);
        expect(acknowledged.length).toBeGreaterThan(3);
        expect(server.log.some((line) => line.includes('"NO_SPACE"') && line.includes(partition))).toBe(true);
        expect(await server.metric('csync_backup_store_failures_total')).toBeGreaterThanOrEqual(refused);
        rmSync(filler);
        expect(await store('anne', 300, randomBytes(MB))).toBe(true);

        // The same for the folder of backups.db: no new users then, and the others go on.
        const block = path.join(conf, 'filler');
        spawnSync('dd', ['if=/dev/zero', `of=${block}`, 'bs=1k']);
        expect(statSync(block).size).toBeGreaterThan(0);
        const failures = await server.metric('csync_backup_store_failures_total');
        let newUsers = 0;
        for (let i = 0; i < 60; i++) if (await store(`user${i}`, 1, Buffer.from(`of ${i}`))) newUsers++;
        expect(newUsers).toBeLessThan(50);
        expect((await server.metric('csync_backup_store_failures_total')) - failures).toBeGreaterThanOrEqual(
          60 - newUsers,
        );
        expect(server.log.some((line) => line.includes('"NO_SPACE"') && line.includes('backups.db'))).toBe(
          true,
        );
        expect(await store('anne', 301, Buffer.from('still'))).toBe(true);
        rmSync(block);
        for (let i = 0; i < 60; i++) expect(await store(`user${i}`, 2, Buffer.from(`again ${i}`))).toBe(true);

        wire.destroy();
        expect(await server.stop()).toBe(0);
        expect((await site.cli(['verify', '-A'])).status).toBe(0);
        // Verify has read all of them; these are also found by their names.
        for (const { user, guid } of acknowledged.filter((_, i) => i % 6 === 0)) {
          const { stdout } = await site.cli(['dump', 'message', guid, '-u', user]);
          expect(createHash('sha1').update(stdout).digest('hex')).toBe(guid);
        }
      } finally {
        await server?.kill();
        site?.remove();
      }
    },
    180_000,
  );

  test('a disk that fills up while an index is committed', async () => {
    using disks = new Disks();
    const partition = disks.mount('partition', 8000);
    const site = await BackupSite.create({ 'backuppartition-default': partition });
    const server = await site.start();
    try {
      const wire = await server.connect();
      const bytes = Buffer.from('Subject: x\r\n\r\nhello\r\n');
      const guid = createHash('sha1').update(bytes).digest('hex');
      expect(await push(wire, 'anne', 1, bytes)).toEqual(['OK', 'OK']);
      await wire.ok('RESTART');
      const filler = path.join(partition, 'filler');
      const { bavail, bsize } = statfsSync(partition);
      writeFileSync(filler, Buffer.alloc(bavail * bsize - 200_000, 1));
      // RECORDs of the same message compress well, and grow the index by much more than the data file.
      const acknowledged: number[] = [];
      for (let first = 1; first <= 4000; first += 100) {
        const records = Array.from({ length: 100 }, (_, i) => ({ uid: first + i, guid, size: bytes.length }));
        const asked = await wire.command('GET USER anne');
        const { kind } = asked.kind === 'OK' ? await wire.command(mailbox('anne', records)) : asked;
        expect(['OK', 'NO IMAP_MAILBOX_LOCKED']).toContain(kind);
        if (kind === 'OK') acknowledged.push(first);
        await wire.ok('RESTART');
      }
      expect(acknowledged.length).toBeGreaterThan(0);
      expect(acknowledged.length).toBeLessThan(40);
      const lines = server.log.filter((line) => line.includes('database or disk is full'));
      const said = lines
        .map((line) => JSON.parse(line) as { level: number })
        .filter(({ level }) => level >= 50);
      expect(said.length).toBeGreaterThan(0);
      for (const line of said)
        expect(line).toMatchObject({
          code: 'NO_SPACE',
          err: { message: expect.stringContaining('.index') as string },
        });

      rmSync(filler);
      await wire.ok('GET USER anne');
      await wire.ok(mailbox('anne', [{ uid: 60_000, guid, size: bytes.length }]));
      await wire.ok('RESTART');
      const text = (await wire.ok('GET FULLMAILBOX user.anne')).lines.join('\n');
      for (const first of acknowledged)
        for (const uid of [first, first + 99]) expect(text).toContain(`UID ${uid} `);
      wire.destroy();
      expect(await server.stop()).toBe(0);
      expect((await site.cli(['verify', '-A'])).status).toBe(0);
    } finally {
      await server.kill();
      site.remove();
    }
  }, 120_000);

  test('a full staging folder stops only those who need it, and goes on when there is room', async () => {
    using disks = new Disks();
    const staging = disks.mount('staging', 8000);
    const site = await BackupSite.create({ backup_staging_path: staging });
    const server = await site.start();
    try {
      // A GET of several users does not say whose the messages are that follow: they wait in staging for their MAILBOX.
      const wire = await server.connect();
      const sent: { guid: string; size: number }[] = [];
      await wire.ok('GET MAILBOXES (user.anne user.bob)');
      let refused = 0;
      for (let i = 0; i < 12; i++) {
        const bytes = randomBytes(MB);
        const guid = createHash('sha1').update(bytes).digest('hex');
        const { kind } = await wire.command(`APPLY MESSAGE (%{default ${guid} ${MB}}\r\n`, bytes, ')');
        expect(['OK', 'NO IMAP_MAILBOX_LOCKED']).toContain(kind);
        if (kind === 'OK') sent.push({ guid, size: MB });
        else refused++;
      }
      expect(refused).toBeGreaterThan(2);
      expect(server.log.some((line) => line.includes('"NO_SPACE"') && line.includes(staging))).toBe(true);

      // What does not need it goes on, and what is in it is not lost.
      const other = await server.connect();
      expect(await push(other, 'carol', 1, randomBytes(3 * MB))).toEqual(['OK', 'OK']);
      const records = sent.map((message, i) => ({ uid: i + 1, ...message }));
      expect((await wire.command(mailbox('anne', records))).kind).toBe('OK');
      await wire.ok('RESTART');

      // The session's messages went with its RESTART.
      await wire.ok('GET MAILBOXES (user.anne user.bob)');
      const again = randomBytes(4 * MB);
      const guid = createHash('sha1').update(again).digest('hex');
      await wire.ok(`APPLY MESSAGE (%{default ${guid} ${again.length}}\r\n`, again, ')');
      await wire.ok(mailbox('bob', [{ uid: 1, guid, size: again.length }]));
      wire.destroy();
      other.destroy();
      expect(await server.stop()).toBe(0);
      expect((await site.cli(['verify', '-A'])).status).toBe(0);
      const { stdout } = await site.cli(['dump', 'message', sent.at(-1)!.guid, '-u', 'anne']);
      expect(createHash('sha1').update(stdout).digest('hex')).toBe(sent.at(-1)!.guid);
    } finally {
      await server.kill();
      site.remove();
    }
  }, 120_000);

  test('clients that wait for memory hold little of it: 2,000 at once, each in the middle of a message', async () => {
    const site = await BackupSite.create({ backup_memory_limit: '128M' });
    const server = await site.start();
    const wires: CsyncWire[] = [];
    const half = randomBytes(120_000);
    const begin = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) {
        const wire = await server.connect();
        wires.push(wire);
        await wire.ok(`GET USER u${wires.length}`);
        wire.send(`APPLY MESSAGE (%{default ${'a'.repeat(40)} 5000000}\r\n`, half);
      }
      await new Promise((resolve) => setTimeout(resolve, 1500));
    };
    try {
      // These take all slabs and small buffers that the limit allows.
      await begin(500);
      const before = server.memoryBytes();
      await begin(1500);
      expect(await server.metric('csync_backup_slab_waiters')).toBeGreaterThan(1900);
      const each = (server.memoryBytes() - before) / 1500;
      console.log(`each waiting client takes ${(each / 1000).toFixed(1)} kB`);
      expect(each).toBeLessThan(25_000);
    } finally {
      for (const wire of wires) wire.destroy();
      await server.kill();
      site.remove();
    }
  }, 120_000);
});
