/** A configured store that holds the two backups by Cyrus in test/fixtures/backup-sample. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Catalog } from '../../src/store/catalog.ts';

export const FIXTURES = path.join(import.meta.dirname, '../fixtures/backup-sample');

export class BackupStore implements Disposable {
  readonly folder: string = fs.mkdtempSync(path.join(os.tmpdir(), 'cli-store-'));
  readonly configFile: string = path.join(this.folder, 'imapd.conf');
  readonly databasePath: string = path.join(this.folder, 'conf/backups.db');
  readonly carol: string = path.join(this.folder, 'part/c/carol_fQAmPe');
  readonly erik: string = path.join(this.folder, 'part/e/erik_em7N7U');

  constructor() {
    for (const name of ['conf', 'part/c', 'part/e'])
      fs.mkdirSync(path.join(this.folder, name), { recursive: true });
    fs.writeFileSync(
      this.configFile,
      `configdirectory: ${this.folder}/conf\nbackuppartition-default: ${this.folder}/part\n`,
    );
    for (const file of [this.carol, this.erik]) {
      fs.copyFileSync(path.join(FIXTURES, path.basename(file)), file);
      fs.copyFileSync(path.join(FIXTURES, `${path.basename(file)}.index`), `${file}.index`);
    }
  }

  /** Enters them into the catalog. */
  enter(): this {
    const catalog = new Catalog(this.databasePath);
    catalog.put('carol', this.carol);
    catalog.put('erik', this.erik);
    catalog.close();
    return this;
  }

  put(userid: string, file: string): void {
    const catalog = new Catalog(this.databasePath);
    catalog.put(userid, file);
    catalog.close();
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.folder, { recursive: true });
  }
}
