import { saslprep } from './saslprep.ts';

/** Who an authenticated user acts as: itself, or, if it is an admin, anybody. Undefined: not allowed. */
export function authorize(authcid: string, authzid: string, admins: readonly string[]): string | undefined {
  if (authzid === '') return authcid;
  const wanted = saslprep(authzid);
  return wanted === authcid || admins.includes(authcid) ? wanted : undefined;
}
