// What a dashboard's JSON may have: Grafana's own types, which are made from its schemas, with the panels' options filled in.

import type * as core from "@grafana/schema/dist/esm/raw/dashboard/x/dashboard_types.gen.d.ts";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen.d.ts";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen.d.ts";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen.d.ts";

/** As JSON has it: an enumeration by the text of its values. */
type Json<T> = T extends string
  ? `${T}`
  : T extends number | boolean | null | undefined
    ? T
    : T extends (infer Item)[]
      ? Json<Item>[]
      : T extends object
        ? { [Key in keyof T]: Json<T[Key]> }
        : T;

type Without<T, Key extends keyof T> = { [Name in keyof T as Name extends Key ? never : Name]: T[Name] };

interface Config<Custom> {
  defaults: Without<core.FieldConfig, "custom"> & { custom?: Custom };
  overrides: core.FieldConfigSource["overrides"];
}

type Of<Type extends string, Options, Custom> = Without<core.Panel, "type" | "options" | "fieldConfig"> & {
  type: Type;
  options: Partial<Options>;
  fieldConfig: Config<Custom>;
};

type Panel =
  | core.RowPanel
  | Of<"stat", stat.Options, never>
  | Of<"table", table.Options, table.FieldConfig>
  | Of<"timeseries", timeseries.Options, timeseries.FieldConfig>;

// The schemas leave these open for what a data source says; here it is Prometheus.
type Annotation = core.AnnotationQuery & { expr: string; step?: string; titleFormat?: string; textFormat?: string };
type Variable = core.VariableModel & { definition?: string };

export type Dashboard = Json<
  Without<core.Dashboard, "panels" | "annotations" | "templating"> & {
    panels: Panel[];
    annotations: { list: Annotation[] };
    templating: { list: Variable[] };
  }
>;
