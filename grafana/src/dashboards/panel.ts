/** Panels as this project has them, built with Grafana's own library. */

import * as bargauge from '@grafana/grafana-foundation-sdk/bargauge';
import type { Builder } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  BarGaugeDisplayMode,
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizOrientation,
} from '@grafana/grafana-foundation-sdk/common';
import * as dashboard from '@grafana/grafana-foundation-sdk/dashboard';
import * as prometheus from '@grafana/grafana-foundation-sdk/prometheus';
import * as stat from '@grafana/grafana-foundation-sdk/stat';
import * as table from '@grafana/grafana-foundation-sdk/table';
import * as timeseries from '@grafana/grafana-foundation-sdk/timeseries';

/** Units of Grafana that panels may have. */
export type Unit = 'short' | 's' | 'bytes' | 'Bps' | 'ops' | 'reqps' | 'cps' | 'percentunit' | 'none';

export interface Query {
  /** PromQL, with Grafana's variables. */
  expr: string;
  /** Name of its series; `{{label}}` stands for a label's value. */
  legend: string;
}

export interface PanelSpec {
  title: string;
  /** What it shows, and what to do when that is not as it should be. */
  description: string;
  unit: Unit;
  /** From which value on it is yellow, and red. One below the other: low values are bad. */
  yellow?: number;
  red?: number;
  queries: Query[];
  /** Of the 24 columns of a dashboard. */
  width: number;
  height?: number;
  decimals?: number;
  min?: number;
  max?: number;
  /** What stands there without a value. */
  noValue?: string;
  /** Names for values. */
  names?: Record<number, string>;
  /** From which value on a series of its own is red. */
  redSeries?: Record<string, number>;
  /** Fill between the lines, one above the other. */
  isStacked?: boolean;
}

export const DATASOURCE = { type: 'prometheus', uid: '$datasource' };
const GREEN = 'green';

type AnyPanel = timeseries.PanelBuilder | stat.PanelBuilder | bargauge.PanelBuilder | table.PanelBuilder;
export type Panel = Builder<dashboard.Panel>;

export function graph(spec: PanelSpec): Panel {
  const panel = new timeseries.PanelBuilder()
    .legend(
      new common.VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true)
        .calcs([]),
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi))
    .showPoints(VisibilityMode.Never)
    .lineWidth(1)
    .axisSoftMin(0)
    .fillOpacity(spec.isStacked ? 60 : 8);
  if (spec.isStacked) panel.stacking(new common.StackingConfigBuilder().mode(StackingMode.Normal).group('A'));
  if (spec.yellow !== undefined || spec.red !== undefined) {
    panel.thresholdsStyle(
      new common.GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.DashedAndArea),
    );
  }
  return finished(panel, { height: 8, ...spec }, false);
}

/** The values of now, large. */
export function figure(spec: PanelSpec): Panel {
  const panel = new stat.PanelBuilder()
    .graphMode(BigValueGraphMode.None)
    .colorMode(BigValueColorMode.Background)
    .textMode(
      spec.queries.length > 1 || /\{\{/.test(spec.queries[0]!.legend)
        ? BigValueTextMode.ValueAndName
        : BigValueTextMode.Value,
    )
    .reduceOptions(lastValues());
  return finished(panel, { height: 4, ...spec }, true);
}

/** The values of now, as bars beside each other. */
export function bars(spec: PanelSpec): Panel {
  const panel = new bargauge.PanelBuilder()
    .displayMode(BarGaugeDisplayMode.Basic)
    .orientation(VizOrientation.Horizontal)
    .showUnfilled(true)
    .reduceOptions(lastValues());
  return finished(panel, { height: 8, min: 0, ...spec }, true);
}

/** The labels of the series of now. `columns` names those that are shown, in this order. */
export function list(spec: PanelSpec & { columns: Record<string, string> }): Panel {
  const names = Object.keys(spec.columns);
  const panel = new table.PanelBuilder()
    .withTransformation({
      id: 'filterFieldsByName',
      options: { include: { names } },
    })
    .withTransformation({
      id: 'organize',
      options: {
        renameByName: spec.columns,
        indexByName: Object.fromEntries(names.map((name, index) => [name, index])),
      },
    });
  return finished(panel, { height: 6, ...spec }, true);
}

function finished<P extends AnyPanel>(panel: P, spec: PanelSpec & { height: number }, isInstant: boolean): P {
  panel
    .title(spec.title)
    .description(spec.description)
    .datasource(DATASOURCE)
    .unit(spec.unit)
    .thresholds(thresholds(spec))
    .span(spec.width)
    .height(spec.height)
    .noValue(spec.noValue ?? '-');
  if (spec.decimals !== undefined) panel.decimals(spec.decimals);
  if (spec.min !== undefined) panel.min(spec.min);
  if (spec.max !== undefined) panel.max(spec.max);
  for (const [name, red] of Object.entries(spec.redSeries ?? {})) {
    panel.overrideByName(name, [{ id: 'thresholds', value: thresholds({ red }).build() }]);
  }
  if (spec.names !== undefined) panel.mappings([valueNames(spec.names)]);
  const byThresholds = isInstant
    ? dashboard.FieldColorModeId.Thresholds
    : dashboard.FieldColorModeId.PaletteClassic;
  panel.colorScheme(new dashboard.FieldColorBuilder().mode(byThresholds));
  spec.queries.forEach(({ expr, legend }, index) => {
    const query = new prometheus.DataqueryBuilder()
      .datasource(DATASOURCE)
      .expr(expr)
      .legendFormat(legend)
      .refId(String.fromCharCode('A'.charCodeAt(0) + index));
    if (isInstant) query.instant();
    else query.range();
    if (panel instanceof table.PanelBuilder) query.format(prometheus.PromQueryFormat.Table);
    panel.withTarget(query);
  });
  return panel;
}

function thresholds({ yellow, red }: Pick<PanelSpec, 'yellow' | 'red'>): Builder<dashboard.ThresholdsConfig> {
  const limits: dashboard.Threshold[] = [];
  if (yellow !== undefined) limits.push({ color: 'yellow', value: yellow });
  if (red !== undefined) limits.push({ color: 'red', value: red });
  const isLowBad = yellow !== undefined && red !== undefined && red < yellow;
  // Each colour goes from its value up, so where low is bad red is at the bottom.
  const steps: dashboard.Threshold[] = isLowBad
    ? [
        { color: 'red', value: null },
        { color: 'yellow', value: red },
        { color: GREEN, value: yellow },
      ]
    : [{ color: GREEN, value: null }, ...limits];
  return new dashboard.ThresholdsConfigBuilder().mode(dashboard.ThresholdsMode.Absolute).steps(steps);
}

function valueNames(names: Record<number, string>): dashboard.ValueMapping {
  return {
    type: dashboard.MappingType.ValueToText,
    options: Object.fromEntries(
      Object.entries(names).map(([value, text], index) => [value, { text, index }]),
    ),
  };
}

function lastValues(): Builder<common.ReduceDataOptions> {
  return new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false);
}
