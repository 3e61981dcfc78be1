import { expect, test } from 'vitest';
import { recordBinary } from '../../src/primitives/elementwise.js';
import { recordMatmul } from '../../src/primitives/matmul.js';
import { recordScatterAddRows } from '../../src/primitives/scatter-add-rows.js';
import { recordSoftmax } from '../../src/primitives/softmax.js';
import { recordTopK } from '../../src/primitives/top-k.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { kernelsOf, PLAIN } from '../support/recording.js';

/** What devices with the default limits run, at the width of a head; the last one launched. */
const shipped: Readonly<Record<string, ReadonlyMap<string, Kernel>>> = {
  add: kernelsOf(PLAIN, (stream, view) => {
    recordBinary(stream, 'add', view([512, 64]), view([64]), view([512, 64]));
  }),
  softmax: kernelsOf(PLAIN, (stream, view) => recordSoftmax(stream, view([64, 512]), view([64, 512]))),
  'top-k': kernelsOf(PLAIN, (stream, view) => {
    recordTopK(stream, view([64, 4096]), 64, view([64, 64]), view([64, 64], 'i32'));
  }),
  'matmul-narrow-f16': kernelsOf(PLAIN, (stream, view) => {
    recordMatmul(
      stream,
      view([1, 512], 'f16'),
      view([512, 32_768], 'f16'),
      view([1, 32_768], 'f16'),
      false,
      false,
    );
  }),
  'segment-sums': kernelsOf(PLAIN, (stream, view) => {
    recordScatterAddRows(stream, view([1, 4096], 'i32'), view([1, 4096, 64]), view([1, 4096, 64]));
  }),
};

test.each(Object.entries(shipped))('shader text of primitives: %s', async (name, kernels) => {
  const text = Array.from(kernels.values()).at(-1)?.source();
  await expect(text).toMatchFileSnapshot(`./__snapshots__/${name}.wgsl`);
});
