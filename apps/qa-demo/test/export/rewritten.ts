import type { FilesByPath } from '@topk-attention/onnxruntime/export';
import { type RewriteOptions, rewriteModel } from '@topk-attention/onnxruntime/rewrite';

/** Exported files with each model rewritten. */
export function rewritten(files: FilesByPath, options: RewriteOptions): FilesByPath {
  return Object.fromEntries(
    Object.entries(files).map(([file, bytes]) => [
      file,
      file.endsWith('.onnx') ? rewriteModel(bytes, options).model : bytes,
    ]),
  );
}
