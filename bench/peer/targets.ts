import { type DeflateEngine, loadDeflateEngine } from '../../src/platform/deflate.ts';
import { type Measured, QUICK, type Sizes } from './scenarios.ts';

/** Figures of one server by scenario; scenarios that have not run are absent. */
export type Figures = Record<string, Measured['figures']>;

/** One line of the table. */
export interface Row {
  name: string;
  unit: string;
  ours: number | undefined;
  peer: number | undefined;
  /** How many times better ours is, where both were measured. */
  ratio: number | undefined;
  /** As the promise says it; empty for a line that is only told. */
  target: string;
  /** How many times worse than the target; at most 1: met. Undefined without a target, or a figure it needs. */
  shortBy: number | undefined;
}

type Better = 'more' | 'less';
interface Target {
  text: string;
  shortBy(ours: number, peer: number | undefined, ratio: number | undefined): number | undefined;
}

const MAX_PEAK_MEGABYTES = 300;
const MAX_ROLLING_PEAK_MEGABYTES = 400;
const MAX_ROLLING_ACK_MS = 100;
const MAX_UPDATE_MS = 4;
/** CPU seconds for a GB of first push, by what compresses. */
const MAX_PUSH_CPU: Record<DeflateEngine['name'], number> = { isal: 9, zlib: 25 };
/** Times better for users in turn, by connections. */
const TURNS_TIMES: Record<number, number> = { 1: 5, 8: 8 };
const MAX_UPDATE_GROWTH = 1.3;
/** 20 kB chunks of 4 kB messages against 20 MB chunks of the same. */
const MAX_CHUNKS_GROWTH = 1.5;

/** Lays the figures of both servers beside one another and judges ours. */
export function compare(sizes: Sizes, ours: Figures | undefined, peer: Figures | undefined): Row[] {
  const row = (
    name: string,
    unit: string,
    scenario: string,
    figure: string,
    better: Better,
    target?: Target,
  ): Row => {
    const a = ours?.[scenario]?.[figure];
    const b = peer?.[scenario]?.[figure];
    const ratio = a === undefined || b === undefined ? undefined : better === 'more' ? a / b : b / a;
    const shortBy = a === undefined ? undefined : target?.shortBy(a, b, ratio);
    return { name, unit, ours: a, peer: b, ratio, target: target?.text ?? '', shortBy };
  };
  const memory = (scenario: string, name: string): Row =>
    row(`peak memory, ${name}`, 'MB', scenario, 'peakMegabytes', 'less', atMost(MAX_PEAK_MEGABYTES, 'MB'));

  /** On a machine that does other things too, as where the quick sizes are used, time itself says nothing. */
  const idle = (target: Target): Target | undefined => (sizes === QUICK ? undefined : target);
  const pushCpu = MAX_PUSH_CPU[loadDeflateEngine('auto').name];
  const smallest = sizes.update.sizes[0]! / 1e6;
  const largest = sizes.update.sizes.at(-1)! / 1e6;
  const { users, connections } = sizes.turns;
  const rolling = `${sizes.rolling.connections} rolling connections`;
  return [
    row('first push, 1 connection', 'MB/s', 'push-1', 'megabytesPerSecond', 'more', timesBetter(10)),
    row('first push, 4 connections', 'MB/s', 'push-4', 'megabytesPerSecond', 'more', timesBetter(6)),
    row('CPU, first push', 's/GB', 'push-1', 'cpuSecondsPerGigabyte', 'less', idle(atMost(pushCpu, 's/GB'))),
    row('CPU, first push, 4 connections', 's/GB', 'push-4', 'cpuSecondsPerGigabyte', 'less'),
    row(
      'TLS and COMPRESS, 1 connection',
      'MB/s',
      'tls-compress-1',
      'megabytesPerSecond',
      'more',
      timesBetter(5),
    ),
    row(
      'TLS and COMPRESS, 4 connections',
      'MB/s',
      'tls-compress-4',
      'megabytesPerSecond',
      'more',
      timesBetter(5),
    ),
    row('CPU, TLS and COMPRESS', 's/GB', 'tls-compress-1', 'cpuSecondsPerGigabyte', 'less'),
    ...sizes.update.sizes.map((bytes) => {
      const size = bytes / 1e6;
      const fast = idle(atMost(MAX_UPDATE_MS, 'ms'));
      const target = size === largest ? both(fast, growthTarget(smallest, ours?.update)) : fast;
      return row(`small update at ${size} MB`, 'ms', 'update', `updateAt${size}MegabytesMs`, 'less', target);
    }),
    row(`new users, 1 connection`, 'users/s', 'turns', 'newUsersPerSecond', 'more'),
    ...connections.flatMap((count) => [
      row(
        `${users} users in turn, ${count} connection${count > 1 ? 's' : ''}`,
        'updates/s',
        'turns',
        `updatesPerSecondOn${count}`,
        'more',
        count in TURNS_TIMES ? timesBetter(TURNS_TIMES[count]!) : undefined,
      ),
    ]),
    row('CPU, users in turn', 'ms/update', 'turns', 'cpuMsPerUpdateOn1', 'less'),
    row(`${sizes.crowd.connections} connections at once`, 'MB/s', 'crowd', 'megabytesPerSecond', 'more'),
    row(`${rolling}, updates`, 'updates/s', 'rolling', 'updatesPerSecond', 'more'),
    row(`${rolling}, median of an ack`, 'ms', 'rolling', 'ackMedianMs', 'less'),
    row(
      `${rolling}, p99 of an ack`,
      'ms',
      'rolling',
      'ackP99Ms',
      'less',
      idle(atMost(MAX_ROLLING_ACK_MS, 'ms')),
    ),
    row(`CPU, ${rolling}`, 'ms/update', 'rolling', 'cpuMsPerUpdate', 'less'),
    row(`list of ${sizes.listing.users} users`, 'ms', 'listing', 'listMs', 'less', timesBetter(1)),
    row(`stat of ${sizes.listing.users} users`, 'ms', 'listing', 'statMs', 'less', timesBetter(1)),
    memory('push-1', 'first push, 1 connection'),
    memory('push-4', 'first push, 4 connections'),
    memory('update', `small updates up to ${largest} MB`),
    memory('turns', `${users} users in turn`),
    memory('crowd', `${sizes.crowd.connections} connections at once`),
    row(
      `peak memory, ${rolling}`,
      'MB',
      'rolling',
      'peakMegabytes',
      'less',
      atMost(MAX_ROLLING_PEAK_MEGABYTES, 'MB'),
    ),
    memory('tls-compress-4', 'TLS and COMPRESS, 4 connections'),
    memory('listing', `list and stat of ${sizes.listing.users} users`),
    row('verify', 'MB/s', 'verify', 'megabytesPerSecond', 'more', timesBetter(12)),
    row('CPU, verify', 's/GB', 'verify', 'cpuSecondsPerGigabyte', 'less'),
    memory('verify', 'verify'),
    row('reindex', 'MB/s', 'reindex', 'megabytesPerSecond', 'more', timesBetter(8)),
    row('CPU, reindex', 's/GB', 'reindex', 'cpuSecondsPerGigabyte', 'less'),
    memory('reindex', 'reindex'),
    row('compact', 'MB/s', 'compact', 'megabytesPerSecond', 'more', timesBetter(6)),
    row('CPU, compact', 's/GB', 'compact', 'cpuSecondsPerGigabyte', 'less'),
    memory('compact', 'compact'),
    row('stored, compacted', 'MB', 'compact', 'megabytesAfter', 'less', {
      text: '<= 0.95 of it',
      shortBy: (ours, peer) => (peer === undefined ? undefined : ours / (0.95 * peer)),
    }),
    row(
      'restore into Cyrus',
      'messages/s',
      'restore',
      'messagesPerSecond',
      'more',
      restoreTarget(ours?.restore),
    ),
    row('what that Cyrus takes', 'messages/s', 'restore', 'limitMessagesPerSecond', 'more'),
    row('what it takes on 4 connections', 'messages/s', 'restore', 'limitOn4MessagesPerSecond', 'more'),
    row('CPU, restore', 'ms/message', 'restore', 'cpuMsPerMessage', 'less'),
    row('CPU of that Cyrus', 'ms/message', 'restore', 'targetCpuMsPerMessage', 'less'),
    memory('restore', 'restore'),
    ...sizes.chunks.counts.map((count, i) =>
      row(
        `verify, ${count} chunks`,
        'ms/MB',
        'verify-chunks',
        `msPerMegabyteAt${count}Chunks`,
        'less',
        i === 0 ? undefined : chunksTarget(sizes.chunks.counts[0]!, ours?.['verify-chunks']),
      ),
    ),
    stored('stored, first push', 'push-1', ours, peer),
    stored(`stored, ${users} small users`, 'turns', ours, peer),
    row('of it data, first push', 'MB', 'push-1', 'dataMegabytes', 'less'),
    row(`of it data, ${users} small users`, 'MB', 'turns', 'dataMegabytes', 'less'),
  ];
}

function timesBetter(times: number): Target {
  return {
    text: `>= ${times} x`,
    shortBy: (_ours, _peer, ratio) => (ratio === undefined ? undefined : times / ratio),
  };
}

/** Five times, unless the mail server takes no more. */
function restoreTarget(figures: Measured['figures'] | undefined): Target {
  const limit = figures?.limitOn4MessagesPerSecond;
  return {
    text: '>= 5 x, or 0.9 of what it takes',
    shortBy: (ours, _peer, ratio) =>
      ratio === undefined || limit === undefined ? undefined : Math.min(5 / ratio, (0.9 * limit) / ours),
  };
}

function atMost(limit: number, unit: string): Target {
  return { text: `<= ${limit} ${unit}`, shortBy: (ours) => ours / limit };
}

/** Chunks may cost a little, but no more the more of them there are. */
function chunksTarget(fewest: number, figures: Measured['figures'] | undefined): Target {
  const atFewest = figures?.[`msPerMegabyteAt${fewest}Chunks`];
  return {
    text: `<= ${MAX_CHUNKS_GROWTH} x at ${fewest}`,
    shortBy: (ours) => (atFewest === undefined ? undefined : ours / (MAX_CHUNKS_GROWTH * atFewest)),
  };
}

/** At the largest backup hardly slower than at the smallest. */
function growthTarget(smallest: number, figures: Measured['figures'] | undefined): Target {
  const atSmallest = figures?.[`updateAt${smallest}MegabytesMs`];
  return {
    text: `<= ${MAX_UPDATE_GROWTH} x at ${smallest} MB`,
    shortBy: (ours) => (atSmallest === undefined ? undefined : ours / (MAX_UPDATE_GROWTH * atSmallest)),
  };
}

/** What is missed most counts. */
function both(one: Target | undefined, other: Target): Target {
  if (one === undefined) return other;
  return {
    text: `${one.text}, ${other.text}`,
    shortBy: (...figures) => {
      const short = [one.shortBy(...figures), other.shortBy(...figures)].filter((by) => by !== undefined);
      return short.length === 0 ? undefined : Math.max(...short);
    },
  };
}

function stored(name: string, scenario: string, ours: Figures | undefined, peer: Figures | undefined): Row {
  const sum = (figures: Figures | undefined): number | undefined => {
    const of = figures?.[scenario];
    return of === undefined ? undefined : of.dataMegabytes! + of.indexMegabytes!;
  };
  const a = sum(ours);
  const b = sum(peer);
  const ratio = a === undefined || b === undefined ? undefined : b / a;
  return {
    name,
    unit: 'MB',
    ours: a,
    peer: b,
    ratio,
    target: '>= 1 x',
    shortBy: ratio === undefined ? undefined : 1 / ratio,
  };
}
