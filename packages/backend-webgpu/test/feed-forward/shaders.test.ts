import type { ChosenFeedForward } from '@topk-attention/core/backend';
import { expect, test } from 'vitest';
import { recordBackward } from '../../src/feed-forward/backward.js';
import { firstProductKind } from '../../src/feed-forward/first-product.js';
import { recordForward } from '../../src/feed-forward/forward.js';
import { acquireDevice } from '../../src/runtime/acquire.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { Pipelines } from '../../src/runtime/pipelines.js';
import { requestOf } from '../support/feed-forward.js';
import { kernelsOf, PLAIN, SUBGROUPS } from '../support/recording.js';

/** The kernels of a layer of width 64, forward and backward. */
function layerKernels(facts: DeviceFacts, parts: Partial<ChosenFeedForward>): ReadonlyMap<string, Kernel> {
  const request = requestOf({ inputDim: 64, hidden: 256, outputDim: 64, k: 32, saves: true, ...parts });
  const { tokens, inputDim, hidden, outputDim, dtype, k, biasIn, biasOut, gated } = request;
  return kernelsOf(facts, (stream, view) => {
    const inputs = {
      x: view([tokens, inputDim], dtype),
      wIn: view([inputDim, hidden], dtype),
      ...(biasIn && { bIn: view([hidden], dtype) }),
      ...(gated && { wGate: view([inputDim, hidden], dtype) }),
      wOut: view([hidden, outputDim], dtype),
      ...(biasOut && { bOut: view([outputDim], dtype) }),
    };
    const lists =
      k === 'all' ? {} : { indices: view([tokens, k], 'i32'), preactivations: view([tokens, k], 'f32') };
    const output = view([tokens, outputDim], dtype);
    recordForward(stream, request, { ...inputs, output, ...lists }, tokens, firstProductKind(request, facts));
    recordBackward(stream, request, { ...inputs, ...lists, dOutput: output, gradients: inputs }, tokens);
  });
}

/** What a T5 layer runs on any device when it decodes, and what a gated one runs in f16 on one that has matrix units. */
const decoding = layerKernels(PLAIN, { tokens: 32 });
const gated = layerKernels(SUBGROUPS, {
  tokens: 600,
  dtype: 'f16',
  gated: true,
  activation: 'gelu_tanh',
  second: 'dense',
});

const shipped: Readonly<
  Record<string, { readonly of: ReadonlyMap<string, Kernel>; readonly starts: string }>
> = {
  product: { of: decoding, starts: 'feed-forward product {"transposeA":false,"transposeB":false' },
  select: { of: decoding, starts: 'feed-forward select' },
  gather: { of: decoding, starts: 'feed-forward gather' },
  'select-gated-dense': { of: gated, starts: 'feed-forward select' },
  'split-of-columns': { of: gated, starts: 'feed-forward split of columns' },
  'split-product': { of: gated, starts: 'feed-forward split product' },
};

test.each(Object.entries(shipped))('feed-forward shader text: %s', async (name, { of, starts }) => {
  const key = Array.from(of.keys()).find((each) => each.startsWith(starts)) ?? '';
  await expect(of.get(key)?.source()).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
});

test('shaders of every kind of layer are accepted without a word, on a device that runs nothing', async () => {
  // Dawn's null backend offers every feature and validates shaders and pipelines on any machine.
  const { device } = await acquireDevice({
    dawnOptions: [
      'backend=null',
      'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model',
    ],
  });
  const pipelines = new Pipelines(device);
  const kinds: readonly Partial<ChosenFeedForward>[] = [
    { biasIn: true, biasOut: true },
    { gated: true, activation: 'silu', inputDim: 33, hidden: 70, outputDim: 31, k: 3 },
    { dtype: 'f16', gated: true, select: 'contribution', activation: 'gelu', biasIn: true },
  ];
  const kernels = new Map<string, Kernel>();
  for (const kind of kinds) {
    for (const second of ['gather', 'dense'] as const) {
      for (const facts of [PLAIN, SUBGROUPS]) {
        for (const [key, kernel] of layerKernels(facts, { ...kind, tokens: 600, second })) {
          kernels.set(key, kernel);
        }
      }
    }
  }
  for (const [key, kernel] of kernels) {
    const info = await device.createShaderModule({ code: kernel.source() }).getCompilationInfo();
    expect(
      info.messages.map(({ message, lineNum }) => `${lineNum}: ${message}`),
      key,
    ).toEqual([]);
    await pipelines.get(kernel);
  }
  expect(kernels.size).toBeGreaterThan(40);
  device.destroy();
});
