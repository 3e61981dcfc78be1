import type { LinearAttentionInputs, LinearAttentionRequest } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { fusedLinearAttention } from '../../src/linear-attention/fused-linear-attention.js';
import { fusedLinearBackward } from '../../src/linear-attention/fused-linear-backward.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import type { Stream } from '../../src/runtime/stream.js';
import { storageBytes, type View } from '../../src/runtime/view.js';
import { recordedKernels } from '../support/recorded-kernels.js';
import { kernelsOf as launchedKernels, PLAIN } from '../support/recording.js';

const usual: LinearAttentionRequest = {
  ...{ batch: 1, queryHeads: 2, keyHeads: 2, queryLength: 300, keyLength: 300, features: 64, valueDim: 64 },
  ...{ dtype: 'f32', causal: true, normalise: true, epsilon: 0, leastDenominator: Number.NEGATIVE_INFINITY },
  ...{ keyLengths: true, keyLogScale: false, continues: false, returnsState: true, saves: true },
};

/** A call and its gradients. */
function record(stream: Stream, special: Partial<LinearAttentionRequest>): void {
  const request = { ...usual, ...special };
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, dtype } = request;
  const view = (shape: View['shape'], type: View['dtype'] = 'f32'): View => ({
    ...{ shape, dtype: type },
    span: stream.scratch(storageBytes(shape, type)),
  });
  const inputs: LinearAttentionInputs<View> = {
    queryFeatures: view([batch, queryHeads, queryLength, features], dtype),
    keyFeatures: view([batch, keyHeads, keyLength, features], dtype),
    value: view([batch, keyHeads, keyLength, valueDim], dtype),
    ...(request.keyLengths && { keyLengths: view([batch], 'i32') }),
    ...(request.keyMask && { keyMask: view(request.keyMask, 'bool') }),
    ...(request.keyLogScale && { keyLogScale: view([batch, keyHeads, keyLength]) }),
    ...(request.continues && {
      sumsBefore: view([batch, keyHeads, features, valueDim]),
      totalBefore: view([batch, keyHeads, features]),
      ...(request.keyLogScale && { logScaleBefore: view([batch, keyHeads]) }),
    }),
  };
  const limits = limitsOf(stream.facts);
  const tokens = Math.max(queryLength, keyLength);
  const forward = fusedLinearAttention(stream, stream.facts, view).prepare(request, limits);
  if ('refusals' in forward) throw new Error(forward.refusals.join('; '));
  const { output, denominators } = forward.run(inputs, tokens);
  const backward = fusedLinearBackward(stream, stream.facts, view).prepare(request, limits);
  if ('refusals' in backward) throw new Error(backward.refusals.join('; '));
  backward.run({ ...inputs, dOutput: output, ...(denominators && { denominators }) }, tokens);
}

/** The kernels of a call and of its gradients. */
const kernelsOf = (special: Partial<LinearAttentionRequest>): Promise<readonly Kernel[]> =>
  recordedKernels(PLAIN, (stream) => record(stream, special));

const shown = {
  plain: usual,
  'log-scales': { keyLogScale: true },
  'all-keys': { causal: false, valueDim: 32 },
};
const others: readonly Partial<LinearAttentionRequest>[] = [
  { continues: true, keyLogScale: true, keyMask: [1, 300], features: 17, valueDim: 33 },
  { causal: false, normalise: false, valueDim: 130 },
  { keyLengths: false, keyLength: 75, epsilon: 0.5 },
  { causal: false, features: 17, keyMask: [1, 300], continues: true },
];

for (const [name, special] of Object.entries(shown)) {
  test(`shader text of linear attention: ${name}`, async () => {
    const own = (await kernelsOf(special)).filter(({ key }) =>
      /^linear-attention (total rows|rows|chunk sums)/.test(key),
    );
    const text = own.map(({ key, source }) => `// ${key}\n${source().trim()}\n`).join('\n');
    expect(own.length).toBeGreaterThan(1);
    await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
  });
}

test('every shader compiles, different keys name different ones, and no key a sequence length', async () => {
  const texts = new Map<string, string>();
  for (const special of [...Object.values(shown), ...others]) {
    for (const { key, source } of await kernelsOf(special)) {
      expect(texts.get(key) ?? source(), key).toBe(source());
      texts.set(key, source());
      expect(key).not.toMatch(/length"?:\s*\d/i);
    }
  }
  expect(new Set(texts.values()).size).toBe(texts.size);
});

/** Sizes beyond what one launch does; without a binding of their own, on a device that binds 4 GiB. */
const large: Readonly<Record<string, Partial<LinearAttentionRequest> & { readonly bindingBytes?: number }>> =
  {
    'queries that see all keys': { causal: false, queryLength: 5_000_000 },
    'keys that all queries see': { causal: false, keyLength: 5_000_000 },
    'causal pairs': { queryLength: 3_000_000, keyLength: 3_000_000 },
    'queries before the first key': { queryLength: 3_000_000, keyLength: 100 },
    chunks: { queryLength: 9_000_000, keyLength: 9_000_000, keyLogScale: true },
    heads: { batch: 32_767 },
    sums: {
      ...{ queryHeads: 1, keyHeads: 1, queryLength: 60_000, keyLength: 60_000 },
      ...{ features: 512, valueDim: 511, bindingBytes: 2 ** 27 },
    },
  };

for (const [name, { bindingBytes = 2 ** 32 - 4, ...special }] of Object.entries(large)) {
  test(`no launch is larger than the device takes: many ${name}`, () => {
    // A launch beyond the grid of every device, or a binding beyond this one's, throws.
    const kernels = launchedKernels({ ...PLAIN, bindingBytes }, (stream) =>
      record(stream, { features: 4, valueDim: 3, ...special }),
    );
    expect(kernels.size).toBeGreaterThan(5);
  });
}
