import {
  cast,
  dropout,
  dryBackend,
  planStep,
  recordedStep,
  type Step,
  scope,
  sum,
  type Tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import type { DropoutRequest } from '@topk-attention/core/backend';
import { seedsFrom } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { elementDropout } from '../../src/primitives/dropout.js';
import { Storage, WebGpuTensor } from '../../src/tensor.js';
import { kernelsOf, PLAIN } from '../support/recording.js';
import { openTestBackend } from '../support/software-gpu.js';

/** Kernels of a call, or the reasons against it. */
function asked(changes: Partial<DropoutRequest>, facts = PLAIN): readonly string[] {
  const request: DropoutRequest = { shape: [3, 5, 8], dtype: 'f32', rate: 0.1, seed: 7, ...changes };
  let refusals: readonly string[] = [];
  const kernels = kernelsOf(facts, (stream, view) => {
    const tensor: Parameters<typeof elementDropout>[2] = (shape, dtype) => {
      const { span } = view(shape, dtype);
      return new WebGpuTensor(new Storage(span, span.size), shape, dtype);
    };
    const prepared = elementDropout(stream, facts, tensor).prepare(request, limitsOf(facts));
    if ('refusals' in prepared) refusals = prepared.refusals;
    else prepared.run({ x: tensor(request.shape, request.dtype) }, 1);
  });
  return refusals.length > 0 ? refusals : [...kernels.keys()];
}

test('one launch, in fours where the elements are whole fours', () => {
  expect(asked({})).toEqual(['dropout {"isHalf":false,"isVec":true,"isPlaced":false}']);
  expect(asked({ shape: [3, 5], dtype: 'f16' })).toEqual([
    'dropout {"isHalf":true,"isVec":false,"isPlaced":false}',
  ]);
  expect(asked({ shape: [2, 3, 5, 8], offset: [0, 0, 5, 4] })).toEqual([
    'dropout {"isHalf":false,"isVec":true,"isPlaced":true}',
  ]);
  // More workgroups than fit in one dimension.
  expect(asked({ shape: [2 ** 25] })).toHaveLength(1);
});

test('what runs composed', () => {
  expect(asked({}, { ...PLAIN, bindingBytes: 400 })).toEqual(['a tensor exceeds a binding of 400 bytes']);
  for (const [width, first] of [
    [7, 0],
    [8, 2],
  ] as const) {
    expect(asked({ shape: [2, 3, 5, width], offset: [0, 0, 0, first] })).toEqual([
      'rows of a part that begin or end inside of four random words',
    ]);
  }
});

type State = { readonly x: Tensor };
type Outputs = { readonly loss: Tensor };

/** Dropout and its gradient; the gradient is the next state. */
const step: Step<State, Record<string, Tensor>, Outputs> = ({ x }, _, seeds) =>
  scope(() => {
    const { value, gradients } = valueAndGrad((p: State) =>
      scope(() => sum(cast(dropout(p.x, { rate: 0.25, seed: seeds('x') }), 'f32'))),
    )({ x });
    return { state: { x: gradients.x }, outputs: { loss: value } };
  });

optional('planned bytes are those that the pool hands out', softwareGpuAvailability(), async () => {
  for (const [fused, dtype] of [
    [true, 'f32'],
    [true, 'f16'],
    [false, 'f32'],
  ] as const) {
    const backend = await openTestBackend({ fused });
    const seeds = seedsFrom(1);
    const dry = { x: zeros(dryBackend(backend), [301, 409], dtype) };
    const planned = planStep(backend, step, dry, {}, { recorded: false, seeds });
    const state = { x: zeros(backend, [301, 409], dtype) };
    backend.resetPeak();
    const { state: next, outputs } = recordedStep(step, { mostRecordings: 0 })(state, {}, { seeds });
    expect((await outputs.loss.data())[0]).toBe(0);
    const measured = backend.statistics().peakUsedBytes;
    const what = `${dtype}, fused ${fused}: ${planned.peak} of ${measured}`;
    expect(planned.peak / measured, what).toBeGreaterThanOrEqual(1);
    expect(planned.peak / measured, what).toBeLessThanOrEqual(1.05);
    next.x.dispose();
    outputs.loss.dispose();
  }
});
