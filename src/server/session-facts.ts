/** What an administrator is told about a session. */
export interface SessionFacts {
  id: number;
  /** Address of the client. */
  client: string;
  /** Who has logged in; null before. */
  login: string | null;
  /** One of SESSION_STATES, or `held`: its command waits for a freeze or flush to end. */
  state: string;
  /** The command being carried out; null between commands. */
  command: string | null;
  /** Userids whose backups it has open, at most MAX_OPEN_BACKUPS. */
  users: string[];
  /** Since it connected. */
  seconds: number;
  /** Since bytes last moved or a command ended. */
  quietSeconds: number;
  commands: number;
  messages: number;
  messageBytes: number;
  bytesIn: number;
  bytesOut: number;
  tls: boolean;
  compressed: boolean;
}
