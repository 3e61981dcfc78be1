import type { GraphAttentionRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { fusedGraphAttention } from '../../src/graph-attention/fused-graph-attention.js';
import { limitsOf } from '../../src/limits.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { storageBytes, type View } from '../../src/runtime/view.js';
import { recordedKernels } from '../support/recorded-kernels.js';
import { PLAIN, SUBGROUPS } from '../support/recording.js';

const usual: GraphAttentionRequest = {
  ...{ batch: 1, queryHeads: 2, keyHeads: 2, queryLength: 64, keyLength: 256, headDim: 64, valueDim: 64 },
  ...{ dtype: 'f32', entries: 32, graph: [1, 2, 64, 32], scale: 0.125, causal: false },
  ...{ keyLengths: true, saves: true },
};

function kernelsOf(facts: DeviceFacts, special: Partial<GraphAttentionRequest>): Promise<readonly Kernel[]> {
  const request = { ...usual, ...special };
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, bias } = request;
  return recordedKernels(facts, (stream) => {
    const view = (shape: View['shape'], type: View['dtype'] = 'f32'): View => ({
      ...{ shape, dtype: type },
      span: stream.scratch(storageBytes(shape, type)),
    });
    const prepared = fusedGraphAttention(stream, stream.facts, view).prepare(request, limitsOf(stream.facts));
    if ('refusals' in prepared) throw new Error(prepared.refusals.join('; '));
    const inputs = {
      q: view([batch, queryHeads, queryLength, headDim], dtype),
      k: view([batch, keyHeads, keyLength, headDim], dtype),
      v: view([batch, keyHeads, keyLength, valueDim], dtype),
      graph: view(request.graph, 'i32'),
      ...(request.keyLengths && { keyLengths: view([batch], 'i32') }),
      ...(request.keyMask && { keyMask: view(request.keyMask, 'bool') }),
      ...(bias && { bias: view(bias) }),
    };
    prepared.run(inputs, queryLength);
  });
}

type Recording = readonly [facts: DeviceFacts, special: Partial<GraphAttentionRequest>];

const shown: Readonly<Record<string, Recording>> = {
  'rows-f32': [PLAIN, {}],
  'rows-f16': [SUBGROUPS, { dtype: 'f16', causal: true, saves: false, entries: 300, graph: [1, 1, 64, 300] }],
};
const others: readonly Recording[] = [
  [
    { ...PLAIN, storageBuffers: 10 },
    { keyMask: [1, 256], bias: [1, 1, 64, 32] },
  ],
  [PLAIN, { headDim: 5, valueDim: 7, keyLengths: false, saves: false }],
  [PLAIN, { entries: 100, graph: [1, 2, 1, 100], keyLength: 300 }],
];

const ownKernels = async ([facts, special]: Recording): Promise<readonly Kernel[]> =>
  (await kernelsOf(facts, special)).filter(({ key }) => key.startsWith('graph-attention'));

for (const [name, recording] of Object.entries(shown)) {
  test(`shader text of attention over a graph: ${name}`, async () => {
    const [kernel, ...rest] = await ownKernels(recording);
    expect(rest).toEqual([]);
    const text = kernel && `// ${kernel.key}\n${kernel.source().trim()}\n`;
    await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
  });
}

test('every shader compiles, different keys name different ones, and no key a sequence length', async () => {
  const texts = new Map<string, string>();
  for (const recording of [...Object.values(shown), ...others]) {
    for (const { key, source } of await ownKernels(recording)) {
      expect(texts.get(key) ?? source(), key).toBe(source());
      texts.set(key, source());
      expect(key).not.toMatch(/length"?:\s*\d/i);
    }
  }
  expect(texts.size).toBe(Object.keys(shown).length + others.length);
  expect(new Set(texts.values()).size).toBe(texts.size);
});
