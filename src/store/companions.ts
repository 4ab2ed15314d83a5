/** The files that lie beside a data file and belong to it: its index, and what recovery and maintenance have put aside. */
import fs from 'node:fs';
import path from 'node:path';
import { hasErrno } from '../platform/errors.ts';

/** None of them ends like a data file, so that no userid can make another backup look like one of these. */
const SUFFIX =
  /^\.(?:\d+|(?:torn|damaged)\.\d+|new(?:-journal)?|index(?:\.corrupt\.\d+|\.\d+|(?:\.(?:rebuild|old|new(?:-before|-window)?))?(?:-journal)?))$/;
/** Kept for people; everything else is made anew or half done. */
const KEPT = /^\.(?:\d+|(?:torn|damaged)\.\d+|index\.corrupt\.\d+|index\.\d+)$/;

export type Companion = 'index' | 'kept' | 'unfinished';

/** What the name of a file says that it is to a data file named `dataName`; undefined if nothing. */
export function companionKind(dataName: string, name: string): Companion | undefined {
  if (!name.startsWith(dataName)) return undefined;
  const suffix = name.slice(dataName.length);
  if (!SUFFIX.test(suffix)) return undefined;
  if (suffix === '.index') return 'index';
  return KEPT.test(suffix) ? 'kept' : 'unfinished';
}

/** Splits `anne_x1Y2z3.torn.1700000000` into the data file's name and the suffix; undefined for other names. */
export function splitCompanion(name: string): { dataName: string; suffix: string } | undefined {
  const match = /^(.+_[A-Za-z0-9]{6})(\..+)$/s.exec(name);
  return match !== null && SUFFIX.test(match[2]!) ? { dataName: match[1]!, suffix: match[2]! } : undefined;
}

/** Paths of the companions of a data file that exist; the data file itself need not. */
export function companions(dataPath: string): { path: string; kind: Companion }[] {
  const [folder, dataName] = [path.dirname(dataPath), path.basename(dataPath)];
  const found: { path: string; kind: Companion }[] = [];
  let names: string[];
  try {
    names = fs.readdirSync(folder);
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return found;
    throw error;
  }
  for (const name of names) {
    const kind = companionKind(dataName, name);
    if (kind !== undefined) found.push({ path: path.join(folder, name), kind });
  }
  return found;
}

/** Removes them all. */
export function removeCompanions(dataPath: string): void {
  for (const companion of companions(dataPath)) fs.rmSync(companion.path, { force: true });
}
