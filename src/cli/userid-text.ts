/** Userids are bytes, one character each (latin1) inside the program; people write and read them as UTF-8. */
import { isUtf8 } from 'node:buffer';

/** An argument of the command line as the program keeps userids. */
export function useridOf(argument: string): string {
  return Buffer.from(argument, 'utf8').toString('latin1');
}

/** A userid for people; bytes that are not UTF-8 stay one character each. */
export function printUserid(userid: string): string {
  const bytes = Buffer.from(userid, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : userid;
}
