/** Connections to IMAP and ManageSieve servers. */
import { ClientConnection, type Endpoint } from '../platform/client-connection.ts';
import { ImapSplitter, type SplitterLimits } from './splitter.ts';

export interface ImapEndpoint extends Endpoint {
  limits?: SplitterLimits;
}

export type ImapConnection = ClientConnection<ImapSplitter>;

const MAX_LINE_BYTES = 64 * 1024;

/** Connects; the greeting has not been read yet. @throws BackupError UNAVAILABLE */
export async function openImapConnection({ limits, ...endpoint }: ImapEndpoint): Promise<ImapConnection> {
  return await ClientConnection.open(endpoint, new ImapSplitter({ maxLineBytes: MAX_LINE_BYTES, ...limits }));
}
