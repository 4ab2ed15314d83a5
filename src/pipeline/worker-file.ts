/**
 * Path of a Piscina entry in workers/, for the sources and for dist alike: both keep workers/ beside src/, and
 * a module's own extension says which of the two is running.
 */
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export function workerFile(name: string): string {
  const extension = path.extname(import.meta.url);
  return fileURLToPath(new URL(`../../workers/${name}${extension}`, import.meta.url));
}
