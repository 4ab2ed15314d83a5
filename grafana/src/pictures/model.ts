/** Panels as they stand in the JSON of a dashboard, with the data that their queries give. */
import type { Unit } from '../dashboards/panel.ts';

export interface Step {
  value: number | null;
  color: string;
}

interface Thresholds {
  steps: Step[];
}

export interface PanelModel {
  type: 'row' | 'timeseries' | 'stat' | 'bargauge' | 'table';
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: { expr: string; legendFormat: string; instant?: boolean }[];
  transformations?: { id: string; options: { renameByName?: Record<string, string> } }[];
  fieldConfig: {
    defaults: {
      unit?: Unit;
      decimals?: number;
      min?: number;
      max?: number;
      noValue?: string;
      mappings?: { options: Record<string, { text: string }> }[];
      thresholds?: Thresholds;
      custom?: { stacking?: { mode: string } };
    };
    overrides?: { matcher: { options: string }; properties: { id: string; value: Thresholds }[] }[];
  };
}

export interface DashboardModel {
  title: string;
  panels: PanelModel[];
}

/** One line of a panel. */
export interface Line {
  name: string;
  labels: Record<string, string>;
  /** Unix time and value; one for panels that show the present. */
  points: [number, number][];
}

export interface Range {
  from: number;
  to: number;
  step: number;
}

/** Which colour a value has. */
export function colourOf(panel: PanelModel, name: string, value: number): string {
  const { defaults, overrides = [] } = panel.fieldConfig;
  const own = overrides.find(({ matcher }) => matcher.options === name)?.properties[0]?.value;
  const steps = (own ?? defaults.thresholds)?.steps ?? [];
  return steps.filter((step) => step.value === null || value >= step.value).at(-1)?.color ?? 'green';
}
