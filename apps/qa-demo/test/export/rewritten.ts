import { type RewriteOptions, rewriteModel } from '@topk-attention/onnxruntime/rewrite';

type Files = { readonly [path: string]: Uint8Array };

/** Exported files with each model rewritten. */
export function rewritten(files: Files, options: RewriteOptions): Files {
  return Object.fromEntries(
    Object.entries(files).map(([file, bytes]) => [
      file,
      file.endsWith('.onnx') ? rewriteModel(bytes, options).model : bytes,
    ]),
  );
}
