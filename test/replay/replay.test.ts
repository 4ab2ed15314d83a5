import { readdirSync } from 'node:fs';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type BackupServer, BackupSite } from '../support/backup-server.ts';
import { selfSigned } from '../support/certificate.ts';
import { CAPTURES, readCapture, readPool } from './captures.ts';
import { differences, scriptsSent } from './differences.ts';
import { establish, priorState, replay } from './session.ts';
import { EXPECTED, GROUPS, type SessionGroup } from './sessions.ts';

const pool = readPool();

async function startServer(group: SessionGroup): Promise<BackupServer> {
  const site = await BackupSite.create();
  const tls = group.tls ? selfSigned(site.dir) : {};
  site.configure({ failedloginpause: '0s', ...tls, ...group.config });
  return site.start();
}

describe('sessions that real clients had with other servers', () => {
  for (const group of GROUPS) {
    describe(`to one server: ${group.names[0]} and ${group.names.length - 1} more`, () => {
      let server: BackupServer | undefined;
      const scripts = new Set<string>();

      afterAll(async () => {
        await server?.kill();
        server?.site.remove();
      });

      for (const name of group.names) {
        test(name, async () => {
          server ??= await startServer(group);
          const { port } = server.site;
          const events = readCapture(name);
          await establish(priorState(events, pool), pool, port);
          const exchanges = await replay(events, pool, port);
          for (const script of scriptsSent(events)) scripts.add(script);
          const found = differences(exchanges, scripts);
          const expected = EXPECTED[name] ?? [];
          expect(found.filter((line) => !expected.some(([pattern]) => pattern.test(line)))).toEqual([]);
          const unseen = expected.filter(([pattern]) => !found.some((line) => pattern.test(line)));
          expect(unseen, 'differences that were expected and are not there').toEqual([]);
        });
      }

      test('what they left verifies', async () => {
        expect(await server!.stop()).toBe(0);
        const done = await server!.site.cli(['verify', '-A']);
        expect(`${done.status} ${done.stderr}`).toBe('0 ');
      });
    });
  }

  test('no capture is left out', () => {
    const files = readdirSync(CAPTURES, { recursive: true })
      .map(String)
      .filter((f) => f.endsWith('.json'));
    const played = GROUPS.flatMap((group) => group.names).sort();
    expect(files.map((f) => f.split(path.sep).join('/').replace('.json', '')).sort()).toEqual(played);
    expect(Object.keys(EXPECTED).filter((name) => !played.includes(name))).toEqual([]);
  });
});
