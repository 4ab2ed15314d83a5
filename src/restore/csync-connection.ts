/** Connections to csync servers. */
import { ClientConnection, type Endpoint } from '../platform/client-connection.ts';
import { AnswerSplitter } from './csync-answers.ts';

export type CsyncEndpoint = Omit<Endpoint, 'tried' | 'name' | 'remedy'>;

export type CsyncConnection = ClientConnection<AnswerSplitter>;

/** Connects; the greeting has not been read yet. @throws BackupError UNAVAILABLE */
export async function openCsyncConnection(endpoint: CsyncEndpoint): Promise<CsyncConnection> {
  const { host, port } = endpoint;
  const tried = 'talk to the csync server';
  const remedy = 'Check that it runs and can be reached, then try again';
  return await ClientConnection.open(
    { ...endpoint, tried, name: `${host}:${port}`, remedy },
    new AnswerSplitter(),
  );
}
