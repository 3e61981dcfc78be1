export { addLoss, type Context, contextOf, parameterOf, within } from './context.js';
export {
  type DataLoader,
  type DataLoaderOptions,
  type Dataset,
  dataLoader,
  type LoadedBatch,
  type LoaderState,
} from './data/data-loader.js';
export * from './declared/index.js';
export { type ByteSource, bytesSource } from './files/byte-source.js';
export type { FileSource } from './files/file-source.js';
export { openFile } from './files/node-files.js';
export { toFileSource } from './files/open-source.js';
export { openNeeded, openOptional, readOptionalText, readText } from './files/read-files.js';
export { withheld } from './files/withheld.js';
export { KeyValueCache, type KeyValueCacheOptions } from './key-value-cache.js';
export { type AttentionChoice, type AttentionFunction, keptKeys } from './layers/attend-heads.js';
export {
  type AttendOptions,
  type AttentionLayer,
  type AttentionWeights,
  attend,
  explainAttention,
  type HeadAttention,
  type KeysAndValues,
  keysAndValuesOf,
  queriesOf,
} from './layers/attention.js';
export { dropout } from './layers/dropout.js';
export { embedding } from './layers/embedding.js';
export {
  explainFeedForwardLayer,
  type FeedForwardChoice,
  type FeedForwardLayer,
  feedForward,
} from './layers/feed-forward.js';
export { mergeHeads, splitHeads } from './layers/heads.js';
export { linear } from './layers/linear.js';
export { recomputed } from './layers/recomputed.js';
export { beforeFeedForward, residual } from './layers/residual.js';
export * from './losses/index.js';
export * from './mechanisms/index.js';
export * from './networks/index.js';
export {
  disposeParameters,
  type LoadParametersOptions,
  loadParameters,
  type ParameterSpec,
  type ParameterTree,
} from './parameters.js';
export { inference, type Run, type Seeds } from './run.js';
export type { StoredTensor, TensorDescription } from './safetensors/header.js';
export {
  openSafetensors,
  openShards,
  type SafetensorsFile,
  type TensorReader,
} from './safetensors/read.js';
export type { StoredData, StoredDType } from './safetensors/stored-dtype.js';
export { toFloat32 } from './safetensors/widen.js';
export { encodeSafetensors, saveSafetensors, type TensorToWrite } from './safetensors/write.js';
export { seedsFrom } from './seeds.js';
export { aSignal } from './signal.js';
export { takeRows } from './take-rows.js';
export { openTorchFile } from './torch/read.js';
export { type ActivationOverride, type KeptKeys, type KeptUnits, type Trace, traceKinds } from './trace.js';
export * from './train/index.js';
