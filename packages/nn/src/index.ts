export {
  type DataLoader,
  type DataLoaderOptions,
  type Dataset,
  dataLoader,
  type LoadedBatch,
  type LoaderState,
} from './data/data-loader.js';
export { embedding } from './embedding.js';
export { type ByteSource, bytesSource } from './files/byte-source.js';
export { openFile } from './files/node-files.js';
export { mergeHeads, splitHeads } from './heads.js';
export { KeyValueCache, type KeyValueCacheOptions } from './key-value-cache.js';
export { linear } from './linear.js';
export {
  disposeParameters,
  type LoadParametersOptions,
  loadParameters,
  type ParameterSpec,
  type ParameterTree,
} from './parameters.js';
export type { StoredTensor } from './safetensors/header.js';
export {
  openSafetensors,
  openShards,
  type SafetensorsFile,
  type TensorReader,
} from './safetensors/read.js';
export type { StoredData, StoredDType } from './safetensors/stored-dtype.js';
export { toFloat32 } from './safetensors/widen.js';
export { encodeSafetensors, saveSafetensors, type TensorToWrite } from './safetensors/write.js';
export * from './train/index.js';
