import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { describeObject, readObjectFile } from '../../src/cli/restore/object-file.ts';
import { guidOf, mailboxLine, messageLine } from '../maintenance/backup-files.ts';
import { SmallStore } from '../support/small-store.ts';
import { LAUNCHER } from './run.ts';

const MAILS = ['one invoice', 'two', 'three invoices'].map((subject) => `Subject: ${subject}\r\n\r\n`);

describe('restore --from-file', () => {
  let store: SmallStore;
  beforeAll(() => {
    store = new SmallStore();
    const records = MAILS.map((content, n) => ({ uid: n + 1, content, flags: n === 2 ? '\\Expunged' : '' }));
    const lines = [messageLine(MAILS), mailboxLine('user.anne.Bills', records, { uniqueid: 'u-bills' })];
    store.add('anne', { lines });
  });
  afterAll(() => store[Symbol.dispose]());

  const read = async (text: string, userid?: string): Promise<string[]> => {
    const file = path.join(store.folder, 'wanted');
    writeFileSync(file, text);
    return [...(await readObjectFile(file, userid)).lines.keys()];
  };

  test.each([
    ['', '--json'],
    ['lines for people', ''],
  ])('gives back what search has found, through a pipe %s', (name, json) => {
    const to = path.join(store.folder, `out ${name}`);
    const program = `'${process.execPath}' '${LAUNCHER}'`;
    const script =
      `${program} search anne --subject invoice --deleted ${json} -C '${store.configFile}' | ` +
      `${program} restore -u anne --from-file - --to 'eml:${to}' --in-place -C '${store.configFile}'`;
    const { status, stderr } = spawnSync('/bin/sh', ['-c', script], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const files = globSync('**/*.eml', { cwd: to }).sort();
    expect(files).toEqual(['INBOX/Bills/000000001.eml', 'INBOX/Bills/000000003.eml']);
    expect(files.map((file) => readFileSync(path.join(to, file), 'latin1'))).toEqual([MAILS[0], MAILS[2]]);
  });

  test('objects of every form, each once, in order', async () => {
    const guid = guidOf('x');
    expect(await read(`Bills\n\nuser/anne/Gr\u00fcn\r\nu1:7\n${guid}\nBills\n`)).toEqual([
      'Bills',
      'user/anne/Gr\u00c3\u00bcn',
      'u1:7',
      guid,
    ]);
    const json = [
      { type: 'message', userid: 'anne', uniqueid: 'u1', uid: 7, guid },
      { type: 'unread', uniqueid: 'u1', uid: 8 },
      { guid: guid.toUpperCase() },
      { uniqueid: 'u2', mailbox: 'user/anne' },
      { type: 'summary', found: 1 },
    ];
    expect(await read(json.map((line) => JSON.stringify(line)).join('\n'), 'anne')).toEqual([
      'u1:7',
      guid,
      'u2',
    ]);
  });

  test('what is wrong in it is said with its line', async () => {
    await expect(read('Bills\n{"uid":')).rejects.toThrow(/line 2 of .*wanted: it begins like JSON/);
    await expect(read('{"uid":5}')).rejects.toThrow(
      /line 1 .*neither uniqueid and uid nor guid.* search --json/,
    );
    await expect(read('a\tb')).rejects.toThrow(/line 1 .*2 columns/);
    await expect(read('{"userid":"bob","uniqueid":"u","uid":1}', 'anne')).rejects.toThrow(
      /line 1 .*about the backup of bob, not of anne/,
    );
    await expect(read('\n{"type":"summary","found":0}\n')).rejects.toThrow(
      /names nothing.*leave --from-file out/,
    );
    await expect(readObjectFile('/nowhere/at/all', undefined)).rejects.toThrow(/NOT_FOUND|no such file/i);
    const lines = new Map([['u:5', 3]]);
    expect(describeObject('u:5', { file: 'wanted', lines })).toBe('u:5 (line 3 of wanted)');
    const args = ['restore', '-u', 'anne', '--to', 'eml:x', '--from-file', '-', '-C', store.configFile];
    const ran = spawnSync(process.execPath, [LAUNCHER, ...args], {
      input: 'Bills\nu-bills:99\n',
      encoding: 'utf8',
    });
    expect(ran.status).toBe(65);
    expect(ran.stderr).toMatch(/cannot find u-bills:99 \(line 2 of standard input\)/);
  });
});
