import type { Declarations } from './doc-examples.ts';

const attention = {
  q: 'const q = tensor(backend, new Float32Array(4096).fill(0.5), [1, 2, 128, 16]);',
  k: 'const k = tensor(backend, new Float32Array(4096).fill(0.25), [1, 2, 128, 16]);',
  v: 'const v = tensor(backend, new Float32Array(4096).fill(1), [1, 2, 128, 16]);',
};

const feedForward = {
  x: 'const x = tensor(backend, new Float32Array(64).fill(0.5), [8, 8]);',
  wIn: 'const wIn = tensor(backend, new Float32Array(1024).fill(0.1), [8, 128]);',
  wOut: 'const wOut = tensor(backend, new Float32Array(1024).fill(0.1), [128, 8]);',
};

const reference = {
  createReferenceBackend: `import { createReferenceBackend } from '@topk-attention/core/reference';`,
  backend: 'const backend = createReferenceBackend();',
};

const ofCore = Object.fromEntries(
  ['crossEntropy', 'mul', 'reshape', 'scope', 'sub', 'sum', 'tensor', 'Tensor', 'valueAndGrad'].map(
    (name) => [name, `import { ${name} } from '@topk-attention/core';`],
  ),
);

const onnxruntime = {
  createOnnxRuntimeBackend: `import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';`,
  backend: 'const backend = await createOnnxRuntimeBackend();',
};

const tfTensors = {
  q: 'const q = tf.ones<core.Rank.R4>([1, 2, 128, 16]);',
  k: 'const k = tf.ones<core.Rank.R4>([1, 2, 128, 16]);',
  v: 'const v = tf.ones<core.Rank.R4>([1, 2, 128, 16]);',
  x: 'const x = tf.ones<core.Rank.R2>([8, 8]);',
  wIn: 'const wIn = tf.ones<core.Rank.R2>([8, 128]);',
  bIn: 'const bIn = tf.ones<core.Rank.R1>([128]);',
  wOut: 'const wOut = tf.ones<core.Rank.R2>([128, 8]);',
  bOut: 'const bOut = tf.ones<core.Rank.R1>([8]);',
};

/**
 * What examples of a package use without declaring it. Every example runs in a folder with the embedded model as `model`, a
 * small BERT as `encoder` and a decoder-only model as `stories`.
 */
export const declarations: Readonly<Record<string, Declarations>> = {
  core: { ...reference, ...attention, ...feedForward, options: 'const options: ReduceOptions = {};' },
  nn: { ...reference, ...ofCore },
  mechanisms: {
    attentionLayer: `import { attentionLayer } from '@topk-attention/nn';`,
    topK: `import { topK } from '@topk-attention/nn';`,
  },
  models: {
    ...onnxruntime,
    ...ofCore,
    ParameterTree: `import type { ParameterTree } from '@topk-attention/nn';`,
  },
  onnxruntime: { ...reference, loadT5: `import { loadT5 } from '@topk-attention/models';` },
  webgpu: {},
  conformance: {
    createMyBackend: `import { createReferenceBackend as createMyBackend } from '@topk-attention/core/reference';`,
  },
  tfjs: {
    tf: [
      `import * as core from '@tensorflow/tfjs-core';`,
      `import * as layersOfTf from '@tensorflow/tfjs-layers';`,
      `import '@tensorflow/tfjs-backend-cpu';`,
      `import '@tensorflow/tfjs-core/dist/public/chained_ops/register_all_chained_ops.js';`,
      'const tf = { ...layersOfTf, ...core };',
    ].join('\n'),
    original: 'const original = tf.sequential({ layers: [tf.layers.dense({ units: 4, inputShape: [4] })] });',
    ...tfTensors,
  },
};
