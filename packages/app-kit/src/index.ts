export {
  type BackendChoice,
  type BackendInfo,
  type BackendSettings,
  backendChoices,
  type TfjsEngine,
  tfjsEngines,
} from './backend-settings.js';
export { backendWarning } from './backend-warning.js';
export { describeError, type ErrorReport, ReportedError, reportOf, UsageError } from './errors.js';
export { formatCount, formatDuration, formatMebibytes } from './format.js';
export { isObject, kindOf } from './json-value.js';
export {
  answerCall,
  type Call,
  type CallOptions,
  type Contract,
  type FromEngine,
  type Handlers,
  type ToEngine,
} from './protocol.js';
export { type Bar, type BarGroup, barChart } from './report/bar-chart.js';
export { escapeHtml } from './report/escape-html.js';
export { type HtmlPage, htmlPage } from './report/html-page.js';
export { htmlTable } from './report/html-table.js';
export {
  type Axis,
  LINE_STYLES,
  type LineChart,
  type LinePoint,
  lineChart,
  lineChartFile,
  lineChartStyle,
  type Series,
} from './report/line-chart.js';
export { markdownTable } from './report/markdown-table.js';
export {
  type Span,
  type SpanChart,
  type SpanLane,
  type SpanRow,
  spanChart,
  spanChartFile,
  spanChartStyle,
} from './report/span-chart.js';
export { type Spread, type SpreadChart, spreadChart } from './report/spread-chart.js';
export type { Column, Table } from './report/table.js';
export { textTable } from './report/text-table.js';
export { serveWorker, type WorkerScope } from './serve-worker.js';
export { bootstrapMean, type Interval, meanOfGroups } from './statistics/bootstrap.js';
export { median } from './statistics/median.js';
export { seededRandom } from './statistics/seeded-random.js';
export { WorkerEngine, type WorkerEvent, type WorkerLike } from './worker-engine.js';
