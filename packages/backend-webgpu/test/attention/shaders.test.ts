import type { AttentionBackwardInputs, AttentionRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { fusedAttentionBackward } from '../../src/attention/backward/fused-attention-backward.js';
import { exactPath } from '../../src/attention/exact/exact-path.js';
import { exactBackward } from '../../src/attention/exact-backward/exact-backward.js';
import { shortPath } from '../../src/attention/short/short-path.js';
import { storedPath } from '../../src/attention/stored/stored-path.js';
import { sweepsPath } from '../../src/attention/sweeps/sweeps-path.js';
import { tensorPath } from '../../src/attention/tensor/tensor-path.js';
import { limitsOf } from '../../src/limits.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import type { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';
import { arraysFor, requestWith, viewsFor } from '../support/attention-harness.js';
import { recordedKernels } from '../support/recorded-kernels.js';
import { PLAIN, SUBGROUPS } from '../support/recording.js';

/** A device with every feature and larger limits. */
const large: DeviceFacts = {
  ...SUBGROUPS,
  ...{ bindingBytes: 2 ** 31 - 4, workgroupBytes: 49_152, workgroupInvocations: 1024 },
};

const usual: Partial<AttentionRequest> = {
  ...{ queryHeads: 2, queryLength: 64, keyLength: 1024, headDim: 64, k: 64, scale: 0.125, causal: true },
};
const options: Partial<AttentionRequest> = {
  keyLengths: true,
  relativeBias: { bidirectional: false, maxDistance: 128, buckets: 32 },
  dropout: { rate: 0.1, seed: 1 },
};

type Operation = 'sweeps' | 'short' | 'stored' | 'tensor' | 'exact' | 'backward' | 'exact-backward';
type Recording = readonly [operation: Operation, facts: DeviceFacts, request: Partial<AttentionRequest>];

/** What runs on most devices, and what runs on the best: what changes in a shader shows in review. */
const shown: Readonly<Record<string, Recording>> = {
  'sweeps-f32': ['sweeps', PLAIN, usual],
  'sweeps-f16-subgroups': ['sweeps', large, { ...usual, dtype: 'f16', saves: false }],
  'stored-f32': ['stored', PLAIN, { ...usual, mask: [1, 1, 64, 1024] }],
  'tensor-f16': ['tensor', large, { ...usual, dtype: 'f16' }],
  'exact-f32': ['exact', PLAIN, { ...usual, k: 'all', saves: false }],
  'exact-sigmoid-f32': ['exact', PLAIN, { ...usual, k: 'all', saves: false, sigmoidShift: -7 }],
  'backward-f32': ['backward', PLAIN, usual],
  'backward-f16-subgroups': ['backward', large, { ...usual, dtype: 'f16' }],
  'exact-backward-f32': ['exact-backward', PLAIN, { ...usual, k: 'all', saves: false }],
};

/** Recorded besides, for the names of kernels. */
const others: readonly Recording[] = [
  ['sweeps', PLAIN, { ...usual, ...options, dtype: 'f16' }],
  ['sweeps', large, { ...usual, ...options }],
  ['short', large, { ...usual, ...options }],
  ['short', large, { ...usual, dtype: 'f16', keyLength: 1500, saves: false }],
  ['stored', PLAIN, { ...usual, ...options, mask: [1, 1, 1, 1024], bias: [1, 1, 64, 1024] }],
  ['stored', { ...PLAIN, isSoftware: true }, { ...usual, headDim: 5, valueDim: 7 }],
  ['tensor', large, { ...usual, ...options }],
  ['exact', large, { ...usual, ...options, k: 'all', saves: false, mask: [1, 1, 1, 1024] }],
  ['exact', large, { ...usual, queryLength: 1, k: 'all', saves: false, dtype: 'f16' }],
  ['exact', large, { ...usual, queryLength: 1, k: 'all', saves: false, sigmoidShift: -7 }],
  ['exact-backward', PLAIN, { ...usual, k: 'all', saves: false, sigmoidShift: -7 }],
  ['backward', PLAIN, { ...usual, ...options, headDim: 5, valueDim: 3, dtype: 'f16' }],
  ['backward', large, { ...usual, ...options, bias: [1, 2, 1, 1024], k: 300 }],
  ['exact-backward', large, { ...usual, ...options, k: 'all', saves: false, bias: [1, 1, 1, 1024] }],
  // Enough heads for products in one launch.
  ...[
    { headDim: 32, valueDim: 32 },
    { dtype: 'f16', queryHeads: 4, keyHeads: 2, valueDim: 128 } as const,
  ].map((special): Recording => {
    const facts = { ...large, storageBuffers: 10 };
    return [
      'exact-backward',
      facts,
      { ...usual, keyLength: 64, batch: 66, k: 'all', saves: false, ...special },
    ];
  }),
  ...[
    [1, 1, 1, 1],
    [1, 2, 1, 1],
    [2, 1, 1, 1],
    [2, 2, 1, 1],
    [2, 1, 64, 1],
  ].map((bias): Recording => {
    return ['exact-backward', PLAIN, { ...usual, batch: 2, k: 'all', saves: false, sigmoidShift: -7, bias }];
  }),
];

function record(stream: Stream, operation: Operation, request: AttentionRequest): void {
  const views = viewsFor(stream, request, arraysFor(request));
  const { queryLength } = request;
  const forward = {
    ...{ sweeps: sweepsPath, short: shortPath, stored: storedPath },
    ...{ tensor: tensorPath(), exact: exactPath },
  };
  if (operation !== 'backward' && operation !== 'exact-backward') {
    forward[operation].record(stream, request, views, queryLength);
    return;
  }
  const allocate = (shape: View['shape'], dtype: View['dtype']): View => ({
    span: stream.scratch(storageBytes(shape, dtype)),
    shape,
    dtype,
  });
  const inputs: AttentionBackwardInputs<View> = { ...views, dOutput: views.output };
  const gradients = operation === 'backward' ? fusedAttentionBackward : exactBackward;
  const prepared = gradients(stream, stream.facts, allocate).prepare(request, limitsOf(stream.facts));
  if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
  prepared.run(inputs, queryLength);
}

/** Kernels of attention alone: products and selections of other operations are shown with those. */
async function kernelsOf([operation, facts, special]: Recording): Promise<readonly Kernel[]> {
  const request = requestWith(special);
  const kernels = await recordedKernels(facts, (stream) => record(stream, operation, request));
  return kernels.filter(({ key }) => /^(attention|exact|tensor)\b/.test(key));
}

for (const [name, recording] of Object.entries(shown)) {
  test(`shader text of ${name}`, async () => {
    const kernels = await kernelsOf(recording);
    expect(kernels.length).toBeGreaterThan(0);
    const text = kernels.map(({ key, source }) => `// ${key}\n${source().trim()}\n`).join('\n');
    await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
  });
}

test('equal keys name equal shaders, different keys different ones, and no key a sequence length', async () => {
  const texts = new Map<string, string>();
  for (const recording of [...Object.values(shown), ...others]) {
    for (const { key, source } of await kernelsOf(recording)) {
      const text = source();
      expect(texts.get(key) ?? text, key).toBe(text);
      texts.set(key, text);
      expect(key).not.toMatch(/length"?:\s*\d/i);
    }
  }
  expect(new Set(texts.values()).size).toBe(texts.size);
});
