import type { ExportedFiles } from '@topk-attention/onnxruntime/export';
import { type RewriteOptions, rewriteModel } from '@topk-attention/onnxruntime/rewrite';

/** Exported files with each model rewritten. */
export function rewritten(files: ExportedFiles, options: RewriteOptions): ExportedFiles {
  return Object.fromEntries(
    Object.entries(files).map(([file, bytes]) => [
      file,
      file.endsWith('.onnx') ? rewriteModel(bytes, options).model : bytes,
    ]),
  );
}
