import { expect, test } from 'vitest';
import { addCounters } from '../../../src/attention/tensor/add-counters.js';
import { combine } from '../../../src/attention/tensor/combine.js';
import { filter } from '../../../src/attention/tensor/filter.js';
import { centreKeys, largestKeys, packKeys, prepareQueries } from '../../../src/attention/tensor/prepare.js';
import { type SelectVariant, selectSubgroup } from '../../../src/attention/tensor/select-subgroup.js';
import { selectWorkgroup } from '../../../src/attention/tensor/select-workgroup.js';
import { acquireDevice } from '../../../src/runtime/acquire.js';
import type { Kernel } from '../../../src/runtime/kernel.js';
import { Pipelines } from '../../../src/runtime/pipelines.js';

const usual: SelectVariant = {
  headDim: 64,
  half: false,
  relative: false,
  keyLengths: false,
  causal: true,
  capacity: 256,
};
const everything: SelectVariant = {
  ...usual,
  headDim: 48,
  half: true,
  relative: true,
  keyLengths: true,
};

const kernels: readonly Kernel[] = [
  ...[usual, everything, { ...usual, capacity: 1024 }].flatMap((variant) => [
    selectSubgroup(variant),
    selectWorkgroup(variant, 'list', 64),
    selectWorkgroup(variant, 'all', 256),
  ]),
  ...[true, false].flatMap((subgroup) =>
    [64, 20, 256].map((valueDim) =>
      combine({
        valueDim,
        half: valueDim === 20,
        capacity: 256,
        dropout: valueDim === 20,
        saves: true,
        subgroup,
      }),
    ),
  ),
  addCounters,
  ...[32, 64, 128].flatMap((headDim) =>
    [false, true].flatMap((half) => [
      centreKeys({ headDim, half }),
      largestKeys({ headDim, half }),
      packKeys({ headDim, half }),
      prepareQueries({ headDim, half }),
      filter({
        headDim,
        causal: !half,
        keyLengths: half,
        capacity: half ? 384 : 256,
        subgroups: 4,
      }),
    ]),
  ),
];

test('shaders of every feature are accepted without a word, on a device that runs nothing', async () => {
  // Dawn's null backend offers every feature and validates shaders and pipelines on any machine.
  const { device } = await acquireDevice({
    dawnOptions: [
      'backend=null',
      'enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia,use_vulkan_memory_model',
    ],
  });
  const pipelines = new Pipelines(device);
  for (const kernel of kernels) {
    const info = await device.createShaderModule({ code: kernel.source() }).getCompilationInfo();
    expect(
      info.messages.map(({ message, lineNum }) => `${lineNum}: ${message}`),
      kernel.key,
    ).toEqual([]);
    await pipelines.get(kernel);
  }
  device.destroy();
});

test('keys of kernels differ where their texts do', () => {
  const texts = new Map<string, string>();
  for (const { key, source } of kernels) {
    const text = source();
    expect(texts.get(key) ?? text, key).toBe(text);
    texts.set(key, text);
  }
  expect(new Set(texts.values()).size).toBe(texts.size);
});
