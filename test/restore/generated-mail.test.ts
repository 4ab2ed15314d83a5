import { createHash } from 'node:crypto';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { Player } from '../../bench/load/player.ts';
import { firstPushFrame, messageSteps, smallUpdate } from '../../bench/load/session.ts';
import { Workload } from '../../bench/load/workload.ts';
import { FULL, QUICK } from '../../bench/peer/scenarios.ts';
import { compare } from '../../bench/peer/targets.ts';
import { MailGenerator, SeededRandom } from '../../src/cli/generated-mail.ts';
import { generateUser } from '../../src/cli/generated-user.ts';
import { summary } from '../support/wire-text.ts';
import { GREETING, ScriptedServer } from './scripted-server.ts';

const mail = new MailGenerator(1);
const sample = Array.from({ length: 600 }, () => mail.mixed());

describe('generated mail', () => {
  test('is the same for the same seed and other for another', () => {
    const guids = (seed: number) => {
      const generator = new MailGenerator(seed);
      return Array.from({ length: 20 }, () => generator.mixed().guid);
    };
    expect(guids(1)).toEqual(sample.slice(0, 20).map(({ guid }) => guid));
    expect(guids(2)).not.toEqual(guids(1));
  });

  test('has GUIDs that are the SHA-1 of the bytes, all different', () => {
    for (const { bytes, guid } of sample.slice(0, 50)) {
      expect(createHash('sha1').update(bytes).digest('hex')).toBe(guid);
    }
    expect(new Set(sample.map(({ guid }) => guid)).size).toBe(sample.length);
  });

  test('has sizes and a compressibility as in real mail', () => {
    // The few largest messages make half of all bytes: a mean needs many of them.
    const generator = new MailGenerator(2);
    const sizes = Array.from({ length: 3000 }, () => generator.mixed().bytes.length).sort((a, b) => a - b);
    const meanBytes = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    expect(sizes[0]).toBeGreaterThan(1000);
    expect(sizes[1500]).toBeLessThan(10_000);
    expect(sizes.at(-1)).toBeGreaterThan(2_000_000);
    expect(meanBytes).toBeGreaterThan(85_000);
    expect(meanBytes).toBeLessThan(145_000);
    const compressed = sample.slice(0, 300);
    const total = compressed.reduce((sum, { bytes }) => sum + bytes.length, 0);
    const deflated = compressed.reduce(
      (sum, { bytes }) => sum + deflateRawSync(bytes, { level: 1 }).length,
      0,
    );
    expect(total / deflated).toBeGreaterThan(1.4);
    expect(total / deflated).toBeLessThan(1.9);
  });

  test('keeps lines below the limit of RFC 5322, ended by CRLF', () => {
    for (const { bytes } of sample.slice(0, 100)) {
      const lines = bytes.toString('latin1').split('\r\n');
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(998);
      expect(lines.join('')).not.toMatch(/[\r\n]/);
    }
  });
});

describe('the load', () => {
  test('is in the order of sync_client: MESSAGE before its MAILBOX, RESTART at the end', () => {
    const { steps } = new Workload(1).smallUser('anne');
    expect(steps.map(({ verb }) => verb)).toEqual([
      'GET USER',
      'MESSAGE',
      'MAILBOX',
      'QUOTA',
      'SUB',
      'SEEN',
      'RESTART',
    ]);
    const text = steps.map(({ bytes }) => bytes.toString('latin1')).join('');
    expect(text.endsWith('RESTART\r\n')).toBe(true);
  });

  test('of a small update says what the server has and what is new', () => {
    const user = generateUser(new SeededRandom(1), 'anne', [''], 1);
    const inbox = user.mailboxes[0]!;
    inbox.append(sample[0]!);
    const steps = smallUpdate(inbox, mail.text(4096));
    const shown = steps.map(({ bytes }) => summary(bytes));
    expect(shown[0]).toBe('GET MAILBOXES (user.anne)');
    expect(shown[1]).toContain(`GUID (${inbox.records[1]!.guid})`);
    expect(shown[2]).toContain(inbox.records[1]!.guid);
    expect(shown[3]).toContain('SINCE_MODSEQ 2 ');
    expect(shown[3]).toContain('RECORD (%(UID 2 ');
    expect(shown[4]).toBe('RESTART');
    expect(firstPushFrame(user).head).toHaveLength(1);
    expect(messageSteps([])).toEqual([]);
  });

  test('is played one command at a time, and ends at an answer that should not be', async () => {
    const seen: string[] = [];
    const server = await ScriptedServer.start(async (peer) => {
      peer.send(GREETING);
      for (let command = await peer.command(); command !== null; command = await peer.command()) {
        seen.push(command);
        peer.send(command === 'A' ? '* X 1\r\nOK\r\n' : command === 'B' ? 'NO nothing\r\n' : 'OK\r\n');
      }
    });
    const target = { ...server.endpoint, user: 'u', password: 'p', store: 's' };
    const player = await Player.connect(target);
    const step = (text: string, answers?: number) => ({
      verb: text,
      bytes: Buffer.from(`${text}\r\n`),
      answers,
    });
    await player.play([step('A', 1), step('C', 0)]);
    await expect(player.play([step('A', 0)])).rejects.toThrow(/1 lines came before the OK instead of 0/);
    await expect(player.play([step('B')])).rejects.toThrow(/NO nothing/);
    expect(player.figures).toMatchObject({ steps: 3, bytes: seen[0]!.length + 2 + 3 + 3 });
    expect(seen.slice(1)).toEqual(['A', 'C', 'A', 'B']);
    player.close();
    await server.stop();
  });
});

describe('targets', () => {
  const push = (megabytesPerSecond: number, cpuSecondsPerGigabyte: number) => ({
    'push-1': {
      megabytesPerSecond,
      cpuSecondsPerGigabyte,
      peakMegabytes: 200,
      dataMegabytes: 10,
      indexMegabytes: 1,
    },
  });
  const met = (rows: ReturnType<typeof compare>, name: string) => {
    const { shortBy } = rows.find((row) => row.name === name)!;
    return shortBy === undefined ? undefined : shortBy <= 1;
  };

  test('are judged by ratio where both were measured', () => {
    const rows = compare(QUICK, push(100, 10), push(10, 50));
    expect(met(rows, 'first push, 1 connection')).toBe(true);
    expect(met(rows, 'stored, first push')).toBe(true);
    const missed = compare(QUICK, push(99, 10), push(10, 50));
    expect(met(missed, 'first push, 1 connection')).toBe(false);
  });

  test('of time itself are judged with the full sizes alone', () => {
    for (const [seconds, isMet] of [
      [8.9, true],
      [25.1, false],
    ] as const) {
      expect(met(compare(FULL, push(100, seconds), push(10, 50)), 'CPU, first push')).toBe(isMet);
      expect(met(compare(QUICK, push(100, seconds), push(10, 50)), 'CPU, first push')).toBeUndefined();
    }
  });

  test('are not judged by what was not measured', () => {
    const rows = compare(QUICK, push(50, 10), undefined);
    expect(met(rows, 'first push, 1 connection')).toBeUndefined();
    expect(met(rows, 'peak memory, first push, 1 connection')).toBe(true);
    expect(met(rows, 'first push, 4 connections')).toBeUndefined();
  });

  test('of the small update hold it to its time and to its time at the smallest backup', () => {
    const at = (small: number, large: number) =>
      met(
        compare(
          FULL,
          { update: { updateAt10MegabytesMs: small, updateAt1000MegabytesMs: large } },
          undefined,
        ),
        'small update at 1000 MB',
      );
    expect(at(3.8, 4)).toBe(true);
    expect(at(3.8, 4.1)).toBe(false);
    expect(at(2, 3.9)).toBe(false);
  });
});
