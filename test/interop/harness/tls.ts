import { chmodSync, chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { run } from '../../support/backup-server.ts';
import { requireCyrus } from './requirements.ts';

/**
 * Connecting there reaches this machine, but it does not count as loopback: certificates are checked, mail is compressed, no
 * password goes out in clear.
 */
export const NOT_LOOPBACK = '0.0.0.0';

/** A certificate for localhost and NOT_LOOPBACK, its authority, and another authority that has nothing to do with it. */
export class Certificates implements Disposable {
  readonly #dir: string = mkdtempSync(path.join(tmpdir(), 'interop-tls-'));

  static async make(): Promise<Certificates> {
    const one = new Certificates();
    const dir = one.#dir;
    chmodSync(dir, 0o755);
    const key = ['-newkey', 'rsa:2048', '-nodes'];
    for (const name of ['authority', 'stranger']) {
      const files = ['-keyout', `${dir}/${name}.key`, '-out', `${dir}/${name}.pem`];
      await openssl(['req', '-x509', ...key, '-days', '30', '-subj', `/CN=${name}`, ...files]);
    }
    const request = ['-keyout', `${dir}/server.key`, '-out', `${dir}/server.csr`];
    await openssl(['req', ...key, '-subj', '/CN=mail', ...request]);
    writeFileSync(`${dir}/names`, `subjectAltName=DNS:localhost,IP:${NOT_LOOPBACK}\n`);
    const authority = ['-CA', `${dir}/authority.pem`, '-CAkey', `${dir}/authority.key`, '-CAcreateserial'];
    const files = ['-in', `${dir}/server.csr`, '-extfile', `${dir}/names`, '-out', `${dir}/server.pem`];
    await openssl(['x509', '-req', '-days', '30', ...authority, ...files]);
    const { uid, gid } = requireCyrus();
    chownSync(one.key, uid, gid);
    return one;
  }

  get cert(): string {
    return path.join(this.#dir, 'server.pem');
  }

  get key(): string {
    return path.join(this.#dir, 'server.key');
  }

  get authority(): string {
    return path.join(this.#dir, 'authority.pem');
  }

  get stranger(): string {
    return path.join(this.#dir, 'stranger.pem');
  }

  [Symbol.dispose](): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

async function openssl(args: string[]): Promise<void> {
  const done = await run('openssl', args);
  if (done.status !== 0) throw new Error(`openssl ${args[0]}: ${done.stderr}`);
}
