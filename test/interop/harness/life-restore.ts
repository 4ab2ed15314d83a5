import fs from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import type { CyrusSite } from './cyrus.ts';
import { ADMIN } from './cyrus-conf.ts';
import { type FullView, fullView } from './full-view.ts';
import type { BackupLife } from './life-backup.ts';

/** What all users see, by userid. */
export type AllViews = Map<string, FullView>;

export async function viewsOf(
  cyrus: CyrusSite,
  users: readonly string[],
  instance: 'source' | 'target',
): Promise<AllViews> {
  const views: AllViews = new Map();
  for (const user of [...users].sort()) views.set(user, await fullView(cyrus, user, instance, true));
  return views;
}

export interface Restored {
  cyrus: CyrusSite;
  life: BackupLife;
  views: AllViews;
  /** The state at this time, seconds, or the latest. */
  at?: number;
  /** Other mailboxes may come back, too. */
  maybeMore: boolean;
  /** Of whom what is read in mailboxes of others is not known. */
  maybeRead: ReadonlySet<string>;
}

/** Restores everybody into an empty mail server: nobody can tell the servers apart. */
export async function expectRestored(options: Restored): Promise<void> {
  const { cyrus, life, views, at, maybeMore, maybeRead } = options;
  await emptyTarget(cyrus);
  const to = `csync://${ADMIN.user}@127.0.0.1:${cyrus.ports('target').csync}`;
  const args = ['restore', '--all-users', '--in-place', '--identity', '--to', to];
  if (at !== undefined) args.push('--at', `@${at}`);
  const done = await life.backup.site.cli(args);
  const restored = await viewsOf(cyrus, [...views.keys()], 'target');
  const said = `${done.stdout}${done.stderr}`;
  for (const [user, view] of views) {
    const [is, was] = [withoutThoseGone(restored.get(user)!, views), view]
      .map((one) => (maybeMore ? common(one, view) : one))
      .map((one) => (maybeRead.has(user) ? withoutSeenOfOthers(one) : one));
    expect(is, `${user} at ${at ?? 'the end'}\n${said}`).toEqual(was);
  }
  // Of who has another name now the mail server never said that the old one is gone.
  const others = done.stderr
    .split('\n')
    .filter((line) => line !== '' && !/ the user was renamed,/.test(line));
  const isRenamed = done.stderr.includes(' the user was renamed,');
  // Of who is not on the mail server any more nothing that was damaged comes again.
  const isOfNobody = (line: string): boolean => {
    const user = /^csync-backup: ([^:]+): /.exec(line)?.[1];
    return life.isDamaged && user !== undefined && user !== '%SHARED' && !views.has(user);
  };
  const isHit = others.some((line) => isOfNobody(line) && /: (?:lost|not taken): /.test(line));
  expect(isHit ? [65, 69] : [isRenamed ? 69 : 0], said).toContain(done.status);
  const expected = /nothing to bring back|left out|not yet there/;
  expect(others.filter((line) => !isOfNobody(line) && !expected.test(line))).toEqual([]);
}

/** Of the folders that `other` has, and what does not depend on there being more. */
function common(view: FullView, other: FullView): FullView {
  const of = (all: Record<string, string[]>): Record<string, string[]> =>
    Object.fromEntries(Object.entries(all).filter(([folder]) => other.folders[folder] !== undefined));
  const names = new Set([...Object.keys(other.folders), ...other.subscriptions.map(subscribed)]);
  return {
    ...view,
    folders: of(view.folders),
    messages: of(view.messages),
    // One without a folder shows as soon as something lies below it.
    subscriptions: view.subscriptions
      .filter((line) => names.has(subscribed(line)))
      .map((line) => line.replace(/\([^)]*\)/, ''))
      .sort(),
    quota: view.quota.map((line) => line.replace(/(\w+) \d+ (\d+)/g, '$1 $2')),
  };
}

/**
 * Without the folders of users who are not on the mail server any more. `sync_client -A` and `-u` say nothing of them (imap/sync_support.c, sync_do_user:
 * "just skip this user. XXX - tombstone for user"): only a rolling client does, if there was one since, and the backup was not put back after. So
 * they may come back with all that is theirs, and others read in it what they were allowed to.
 */
function withoutThoseGone(view: FullView, there: AllViews): FullView {
  const isGone = (folder: string): boolean => {
    const owner = /^Other Users\/([^/]+)/.exec(folder)?.[1];
    return owner !== undefined && !there.has(owner);
  };
  const of = (all: Record<string, string[]>): Record<string, string[]> =>
    Object.fromEntries(Object.entries(all).filter(([folder]) => !isGone(folder)));
  return {
    ...view,
    folders: of(view.folders),
    messages: of(view.messages),
    subscriptions: view.subscriptions.filter((line) => !isGone(subscribed(line))),
  };
}

/** Folder that a line of LSUB names. */
function subscribed(line: string): string {
  return /"\/" "?(.*?)"?$/.exec(line)?.[1] ?? '';
}

function withoutSeenOfOthers(view: FullView): FullView {
  const strip = (all: Record<string, string[]>): Record<string, string[]> =>
    Object.fromEntries(
      Object.entries(all).map(([folder, lines]) => [
        folder,
        /^(?:Shared Folders|Other Users)\//.test(folder)
          ? lines.map((line) => line.replace(/ UNSEEN \d+| ?\\Seen/g, ''))
          : lines,
      ]),
    );
  return { ...view, folders: strip(view.folders), messages: strip(view.messages) };
}

async function emptyTarget(cyrus: CyrusSite): Promise<void> {
  await cyrus.stopInstance('target');
  fs.rmSync(path.join(cyrus.dir, 'target'), { recursive: true });
  await cyrus.startInstance('target');
}
