/** doctor: files that the server cannot use, since they belong to somebody else: root has put them back from a copy. */
import fs from 'node:fs';
import path from 'node:path';
import type { Config } from '../config/config.ts';
import { hasErrno } from '../platform/errors.ts';
import { STAGING_FOLDER } from '../store/data-file.ts';
import { isHashFolder } from '../store/partition-folders.ts';
import { type DoctorCheck, error } from './doctor-check.ts';

/** Of our own in the configuration directory; there may be much else of Cyrus's. */
const OURS = /^(?:backups\.db|csync-backup\.)/;

/** @param owner uid of the server, to whom the configuration directory belongs */
export function* examineOwners(config: Config, owner: number): Generator<DoctorCheck, void> {
  const { configDirectory, backupDbPath, passwdFile, backupStagingPath, partitions } = config;
  const state = names(configDirectory).filter((name) => OURS.test(name));
  const single = [...state.map((name) => path.join(configDirectory, name)), backupDbPath, passwdFile];
  yield* strangers([...new Set([...single, backupStagingPath])], owner, 'of the state');
  for (const { name, path: partition } of partitions)
    yield* strangers(filesOn(partition), owner, `on partition ${name}`);
}

function* strangers(files: Iterable<string>, owner: number, where: string): Generator<DoctorCheck, void> {
  let count = 0;
  let first = '';
  for (const file of files) {
    const uid = uidOf(file);
    if (uid === undefined || uid === owner) continue;
    if (count++ === 0) first = `${file} to uid ${uid}`;
  }
  if (count === 0) return;
  const text = `${count} files ${where} do not belong to uid ${owner}, who owns configdirectory: ${first} for one`;
  yield error(
    'files',
    'owner',
    text,
    'Give them to the user of the server (chown), who cannot use them else',
  );
}

/** Undefined where there is none, or where whoever asks may not look, which other checks say. */
function uidOf(file: string): number | undefined {
  try {
    return fs.statSync(file).uid;
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].some((code) => hasErrno(cause, code))) return undefined;
    throw cause;
  }
}

/** Our folders with what lies in them. `lost+found` is root's, and to be. */
function* filesOn(partition: string): Generator<string, void> {
  for (const folder of names(partition)) {
    if (folder !== STAGING_FOLDER && !isHashFolder(folder)) continue;
    const place = path.join(partition, folder);
    yield place;
    for (const name of names(place)) yield path.join(place, name);
  }
}

function names(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch (cause) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].some((code) => hasErrno(cause, code))) return [];
    throw cause;
  }
}
