/**
 * Every whole message of a data file, whether a line of it says where it belongs or not: what is left to do where the
 * lines that named them are lost. Needs no index, and only reads.
 */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { ioError } from '../platform/io-error.ts';
import { BackupIndex } from '../store/index/backup-index.ts';
import { messages } from '../store/index/queries.ts';
import { fillCopies } from '../store/past-index.ts';
import { readMessage } from '../store/stored-message.ts';
import { DurableFiles, isThere } from './files/durable-files.ts';
import { checkFolder } from './files/target-error.ts';
import { temporaryFile } from './temporary-index.ts';

export interface AllMessagesReport {
  /** That were written, and their bytes. */
  messages: number;
  bytes: number;
  /** That were there already. */
  present: number;
  /** That have begun in the file, and are not what their GUIDs say. */
  damaged: number;
}

/**
 * Writes each as `FOLDER/GUID.eml`.
 *
 * @throws BackupError NOT_FOUND, PERMISSION_DENIED, IO_ERROR, NO_SPACE
 */
export async function writeAllMessages(
  dataPath: string,
  folder: string,
  config: Pick<Config, 'backupStagingPath'>,
): Promise<AllMessagesReport> {
  checkFolder(folder);
  const fd = openData(dataPath);
  const index = BackupIndex.open(temporaryFile(config.backupStagingPath), { create: true });
  try {
    const damaged = fillCopies(fd, fs.fstatSync(fd).size, index).length;
    index.forgetName();
    return { ...(await writeFiles(fd, index, folder)), damaged };
  } finally {
    index.forgetName();
    index.close();
    fs.closeSync(fd);
  }
}

async function writeFiles(
  fd: number,
  index: BackupIndex,
  folder: string,
): Promise<Omit<AllMessagesReport, 'damaged'>> {
  const report = { messages: 0, bytes: 0, present: 0 };
  const files = new DurableFiles(folder);
  try {
    for (const { guid } of messages(index)) {
      const file = path.join(folder, `${guid}.eml`);
      if (isThere(file)) {
        report.present++;
        continue;
      }
      report.bytes += files.write(`${file}.part`, file, readMessage(fd, index, index.findMessage(guid)!));
      report.messages++;
      await files.settle();
    }
  } catch (error) {
    await files.abandon();
    throw error;
  }
  await files.finish();
  return report;
}

function openData(dataPath: string): number {
  try {
    return fs.openSync(dataPath, 'r');
  } catch (error) {
    throw ioError(error, 'open', dataPath);
  }
}
