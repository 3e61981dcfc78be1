// Computes something on the backend; realm-child.mjs looks at what it exports.
import { exactAttention, tensor, topKAttention } from '@topk-attention/core';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';

const backend = await createOnnxRuntimeBackend({ executionProviders: ['cpu'], threads: 1 });
const x = tensor(backend, [1, 2, 3, 4], [1, 1, 4, 1]);
const { output, indices } = topKAttention(x, x, x, { k: 1, queryChunk: 2, returnIndices: true });
const causal = exactAttention(x, x, x, { causal: true, scale: 100 });
export const read = [];
for (const one of [output, indices, causal]) {
  const data = await one.data();
  read.push([data instanceof Float32Array, [...data].join()]);
}
export const isNarrow = !Object.hasOwn(Float32Array, Symbol.hasInstance);
await backend.dispose();
