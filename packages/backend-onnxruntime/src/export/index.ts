export { type ExportedFiles, type ExportOptions, exportOnnx } from './export-onnx.js';
export { type ExportedFile, type FilesByPath, readExported } from './exported-file.js';
export type {
  ExportableT5,
  ExportedAttention,
  ExportedFeedForward,
  ExportedLayer,
  T5Settings,
} from './t5/exportable.js';
export { type WriteExportedOptions, writeExported } from './write-exported.js';
