import type { RestorePlan } from '../plan.ts';
import type { RestoreReport } from '../report.ts';

/** Says what of the settings that were asked for has no place in files of this kind. */
export function remarkSettings(
  { withSettings, source }: RestorePlan,
  report: RestoreReport,
  kept: readonly 'subscriptions'[] = [],
): void {
  if (!withSettings) return;
  const here = {
    subscriptions: source.subscriptions().length,
    'Sieve scripts': source.scripts().length,
    'seen states': source.seen().length,
    quotas: source.quotas().length,
  };
  const lost = Object.entries(here).filter(
    ([what, count]) => count > 0 && !(kept as readonly string[]).includes(what),
  );
  if (lost.length === 0) return;
  const names = lost.map(([what]) => what).join(', ');
  report.remark(`files of this kind have no place for: ${names}; --to json:FILE has everything`);
}
