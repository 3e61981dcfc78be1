import { sum, valueAndGrad, zeros } from '@topk-attention/core';
import {
  attentionLayer,
  contextOf,
  initialize,
  type ParameterTree,
  performer,
  splitParameters,
  trainableExcept,
} from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { createWebGpuBackend } from '../../src/index.js';
import { countingDevice } from '../support/counting-device.js';

// Features of queries and keys, their gradients, and what sums of features take.
test.each([
  ['softmax', 4.2, 6.1, 73],
  ['relu', 4.1, 5.9, 54],
] as const)('of %s features a step keeps little besides them', async (kind, forward, both, launches) => {
  const { device, counts } = countingDevice();
  const backend = await createWebGpuBackend({ device });
  const [batch, length, features, heads] = [32, 1024, 256, 2];
  const layer = attentionLayer({ width: 64, heads, mechanism: performer({ features, kind }) });
  const parameters = initialize(backend, layer, 1);
  const x = zeros(backend, [batch, length, 64]);
  /** Peak of a call, in tensors of features. */
  const peakOf = async (call: () => void): Promise<number> => {
    const { live } = backend.memory();
    backend.resetPeak();
    call();
    await backend.stream.finish();
    const bytes = backend.statistics().peakUsedBytes - live;
    return bytes / (4 * batch * heads * length * features);
  };
  expect(await peakOf(() => layer.apply(contextOf(parameters), x).dispose())).toBeLessThan(forward);
  // As in training: directions are drawn, not learned.
  const { trainable, frozen } = splitParameters(parameters, trainableExcept(layer));
  const loss = valueAndGrad((tree: ParameterTree) => sum(layer.apply(contextOf({ ...frozen, ...tree }), x)));
  const before = counts.launches;
  const peak = await peakOf(() => {
    const { value, gradients } = loss(trainable);
    for (const one of [value, ...Object.values(gradients)]) one.dispose();
  });
  expect(peak).toBeLessThan(both);
  expect(counts.launches - before).toBe(launches);
  await backend.dispose();
});
