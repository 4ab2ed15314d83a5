/** What all dashboards have in common: variables, links, the marks of restarts. */
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import { DATASOURCE, type Panel } from './panel.ts';

export interface PageSpec {
  uid: string;
  title: string;
  description: string;
  from: string;
  refresh: string;
  /** Several servers at once, or one. */
  isOfMany: boolean;
  variables?: dashboard.CustomVariableBuilder[];
  rows: { title: string; panels: Panel[] }[];
}

/** What picks the servers of the variable, in a selector. */
export const HERE = 'instance=~"$instance"';
export const TAG = 'csync-backup';

/** The dashboard as Grafana imports it. */
export function page(spec: PageSpec): dashboard.Dashboard {
  const builder = new dashboard.DashboardBuilder(spec.title)
    .uid(spec.uid)
    .description(spec.description)
    .tags([TAG])
    .editable()
    .tooltip(dashboard.DashboardCursorSync.Crosshair)
    .time({ from: spec.from, to: 'now' })
    .refresh(spec.refresh)
    .timezone('browser')
    .withVariable(
      new dashboard.DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'),
    )
    .withVariable(servers(spec.isOfMany))
    .annotation(
      new dashboard.AnnotationQueryBuilder()
        .name('Starts of the server')
        .datasource(DATASOURCE)
        .enable(true)
        .iconColor('blue')
        .expr(`changes(csync_backup_start_time_seconds{${HERE}}[2m]) > 0`),
    )
    .link(
      new dashboard.DashboardLinkBuilder('csync-backup')
        .type(dashboard.DashboardLinkType.Dashboards)
        .tags([TAG])
        .includeVars(true)
        .keepTime(true),
    );
  for (const variable of spec.variables ?? []) builder.withVariable(variable);
  for (const { title, panels } of spec.rows) {
    builder.withRow(new dashboard.RowBuilder(title));
    for (const panel of panels) builder.withPanel(panel);
  }
  const built = builder.build();
  built.panels?.forEach((panel, index) => {
    panel.id = index + 1;
  });
  return built;
}

function servers(isOfMany: boolean): dashboard.QueryVariableBuilder {
  const query = 'label_values(csync_backup_build_info, instance)';
  const variable = new dashboard.QueryVariableBuilder('instance')
    .label('Server')
    .datasource(DATASOURCE)
    .query({ query, refId: 'servers' })
    .definition(query)
    .refresh(dashboard.VariableRefresh.OnTimeRangeChanged)
    .sort(dashboard.VariableSort.AlphabeticalAsc)
    .multi(isOfMany)
    .includeAll(isOfMany);
  if (isOfMany) variable.allValue('.*').current({ selected: true, text: 'All', value: '$__all' });
  return variable;
}
