export type { Cluster, Clusters } from './clusters.js';
export type { Inspection, InspectionPair, LayerInspection, SubUpdate, ValueVector } from './inspection.js';
export { createInspector, type Inspector } from './inspector.js';
export type { Intervention } from './interventions.js';
export type { ClusterOptions, InspectOptions, InspectorOptions, ValueIndexOptions } from './options.js';
export type { ValueHit, ValueIndex } from './value-index.js';
export { formatValueName, parseValueName, type ValueName } from './value-name.js';
export type { TokenLogit, TokenPrediction } from './vocabulary.js';
