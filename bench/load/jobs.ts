import type { LatencySummary } from './latency.ts';
import type { Target } from './player.ts';

/** Work for the load process; each is one request with one answer. */
export type Job =
  /** First push of users from a number on (0), divided over connections, RESTART after each user; pre-generated. */
  | {
      kind: 'first-push';
      target: Target;
      connections: number;
      users: number;
      messages: number;
      from?: number;
    }
  /** A user whose folders get a part of their mail at a time, in turn. */
  | { kind: 'rounds'; target: Target; userid: string; messages: number; rounds: number }
  /** Adds about this many bytes of mixed mail, or of texts of a size, to one user's inbox, pushing as it generates. */
  | { kind: 'grow'; target: Target; userid: string; bytes: number; messageBytes?: number }
  /** From connect to the OK of RESTART, one new 4 kB message each, one after the other. */
  | { kind: 'small-updates'; target: Target; userid: string; count: number }
  /** First push of many small users over one connection. */
  | { kind: 'small-users'; target: Target; users: number }
  /** One small update and RESTART for each of the small users, divided over connections. */
  | { kind: 'turns'; target: Target; users: number; connections: number }
  /** First push of small users number `from` to `to`; only every `keepEvery`th is remembered for later updates. */
  | {
      kind: 'fill-users';
      target: Target;
      from: number;
      to: number;
      connections: number;
      keepEvery: number;
    }
  /** `count` updates, each of one of the remembered users by chance, one after the other: from connect to RESTART. */
  | { kind: 'random-updates'; target: Target; count: number }
  /**
   * What rolling sync_clients do: as many connections that stay, one small user each, an update of each every
   * `intervalMs`, spread evenly over it, `cycles` times. An update that is late does not make the next one late.
   */
  | { kind: 'rolling'; target: Target; connections: number; intervalMs: number; cycles: number }
  /** As many connections at once, each pushing one new user. */
  | { kind: 'crowd'; target: Target; connections: number; bytesPerUser: number };

export interface JobResult {
  elapsedMs: number;
  /** Sent by the client, protocol included. */
  bytes: number;
  messages: number;
  latencies: Record<string, LatencySummary>;
  /** Of the load process itself while it played; absent where it also makes mail meanwhile. */
  cpuSeconds?: number;
  /** Of all replies but those of logging in. */
  acks: LatencySummary;
  /** rolling only: how long after it was due an update was begun. */
  late?: LatencySummary;
  /** small-updates and random-updates: milliseconds of each. */
  samplesMs?: number[];
}

export interface JobRequest {
  id: number;
  job: Job;
}

export type JobResponse = { id: number; result: JobResult } | { id: number; error: string };
