import { expect, test } from 'vitest';
import { combineKernel } from '../src/attention/stored/combine-kernel.js';
import { scoresKernel } from '../src/attention/shared/scores/scores-kernel.js';
import { scoresPlainKernel } from '../src/attention/shared/scores/scores-plain-kernel.js';
import { selectKernel } from '../src/attention/stored/select-kernel.js';
import { collectKernel } from '../src/attention/sweeps/collect-kernel.js';
import { flagKernel } from '../src/attention/sweeps/flag-kernel.js';
import { keepKernel } from '../src/attention/sweeps/keep-kernel.js';
import { sampleKernel } from '../src/attention/sweeps/sample-kernel.js';
import { slowKernel } from '../src/attention/sweeps/slow-kernel.js';
import { thresholdKernel } from '../src/attention/sweeps/threshold-kernel.js';
import type { Kernel } from '../src/runtime/kernel.js';

const sweep = {
  headDim: 64,
  dtype: 'f32',
  causal: true,
  keyLengths: false,
  relativeBias: false,
  rows: 128,
} as const;
const options = { ...sweep, dtype: 'f16', keyLengths: true, relativeBias: true, rows: 64 } as const;
const threshold = { ...sweep, groups: 512 };
const keep = { capacity: 64, k: 16, valueDim: 64, dtype: 'f32', dropout: false, saves: true } as const;

/** A handful of parameter sets: what changes in a shader shows in review. */
const kernels: Readonly<Record<string, Kernel>> = {
  sample: sampleKernel(sweep),
  'sample-options': sampleKernel(options),
  threshold: thresholdKernel({ ...threshold, subgroups: true }),
  'threshold-no-subgroups': thresholdKernel({ ...threshold, subgroups: false }),
  collect: collectKernel(sweep),
  'collect-options': collectKernel(options),
  flag: flagKernel,
  slow: slowKernel({ ...sweep, rows: 2 }),
  keep: keepKernel({ ...keep, subgroups: true }),
  'keep-f16-dropout-no-subgroups': keepKernel({ ...keep, dtype: 'f16', dropout: true, subgroups: false }),
  'stored-scores': scoresKernel({ ...options, mask: true, bias: true }),
  'stored-scores-plain': scoresPlainKernel({ ...sweep, mask: false, bias: false }),
  'stored-select': selectKernel(sweep),
  'stored-combine': combineKernel({ valueDim: 7, dtype: 'f32', dropout: false }),
};

for (const [name, kernel] of Object.entries(kernels)) {
  test(`shader text of ${name}`, async () => {
    await expect(kernel.source()).toMatchFileSnapshot(`./__snapshots__/attention/${name}.wgsl`);
  });
}

test('no key names a sequence length', () => {
  for (const { key } of Object.values(kernels)) expect(key).not.toMatch(/length"?:\s*\d/i);
});
