// `pnpm sizes`: what a page downloads, as a table in Markdown: examples bundled for browsers by Vite from packed packages.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { bundle, consumer } from '../checks/consumer.mjs';
import { markdownTable } from './bench-helpers.mjs';
import { root } from './run.mjs';

const attend = (/** @type {string} */ backend) => `
  import { tensor, topKAttention } from '@topk-attention/core';
  ${backend}
  const x = tensor(backend, new Float32Array(1536), [1, 2, 96, 8]);
  console.log(await topKAttention(x, x, x, { k: 8, causal: true }).data());
`;

/** @type {[what: string, code: string][]} */
const pages = [
  ['`topKAttention` of core, without a backend', `export { topKAttention } from '@topk-attention/core';`],
  ['all of core', `export * from '@topk-attention/core';`],
  [
    'the example on WebGPU',
    attend(`import { createWebGpuBackend } from '@topk-attention/webgpu';
      const backend = await createWebGpuBackend();`),
  ],
  [
    'the example on ONNX Runtime, without the engine',
    attend(`import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
      import * as ort from 'onnxruntime-web/wasm';
      const backend = await createOnnxRuntimeBackend({ ort });`),
  ],
  [
    'the example on TensorFlow.js, without the engine',
    attend(`import { createTfjsBackend } from '@topk-attention/tfjs';
      import * as tf from '@tensorflow/tfjs';
      const backend = await createTfjsBackend({ tf });`),
  ],
  [
    '`topKAttention` on `tf.Tensor`s, without the engine',
    `export { topKAttention } from '@topk-attention/tfjs/layers';`,
  ],
  ['`doctor` of WebGPU alone', `export { doctor } from '@topk-attention/webgpu';`],
  ['T5 without a backend', `export { loadT5 } from '@topk-attention/models';`],
];

const ort = join(root, 'packages', 'backend-onnxruntime', 'node_modules', 'onnxruntime-web', 'dist');

/** What the user's own engine adds. @type {[what: string, file: string][]} */
const engines = [
  ['`onnxruntime-web/wasm`, its JavaScript', join(ort, 'ort.wasm.bundle.min.mjs')],
  ['`onnxruntime-web/wasm`, its WebAssembly', join(ort, 'ort-wasm-simd-threaded.wasm')],
];

/** @param {string} what @param {Buffer} bytes */
const line = (what, bytes) => [
  what,
  kilobytes(bytes.length),
  kilobytes(gzipSync(bytes, { level: 9 }).length),
];
const kilobytes = (/** @type {number} */ bytes) => (bytes / 1000).toFixed(1);
const folder = consumer('sizes');
const lines = [['Imported', 'minified, kB', 'gzip, kB']];
for (const [i, [what, source]] of pages.entries()) {
  const { code } = await bundle(folder, `size-${i}`, source);
  lines.push(line(what, Buffer.from(code)));
}
for (const [what, file] of engines) lines.push(line(what, readFileSync(file)));
console.log(markdownTable(lines));
