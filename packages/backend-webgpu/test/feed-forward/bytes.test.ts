import { explainFeedForward } from '@topk-attention/core';
import type { ChosenFeedForward } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { createWebGpuBackend } from '../../src/create.js';
import { recordBackward } from '../../src/feed-forward/backward.js';
import { recordForward } from '../../src/feed-forward/forward.js';
import {
  backwardChunk,
  backwardScratch,
  forwardChunk,
  forwardScratch,
} from '../../src/feed-forward/sizes.js';
import { openHarness, requestOf } from '../support/feed-forward.js';

const kinds: readonly Partial<ChosenFeedForward>[] = [
  {},
  { second: 'dense' },
  { k: 'all' },
  { gated: true, select: 'contribution', biasIn: true },
  { gated: true, second: 'dense' },
  { gated: true, k: 'all' },
  { dtype: 'f16' },
  { dtype: 'f16', second: 'dense', gated: true },
];

optional(
  'feed-forward: planned bytes are 1.0 to 1.5 times those taken',
  softwareGpuAvailability(),
  async () => {
    const { stream, allocate, destroy, facts } = await openHarness();
    const base = { tokens: 640, inputDim: 48, hidden: 700, outputDim: 40, k: 48 };
    for (const kind of kinds) {
      const request = requestOf({ ...base, ...kind, saves: true });
      const { tokens, inputDim, hidden, outputDim, dtype, k } = request;
      const make = (...shape: number[]) => allocate(shape, dtype);
      const inputs = {
        x: make(tokens, inputDim),
        wIn: make(inputDim, hidden),
        ...(request.biasIn && { bIn: make(hidden) }),
        ...(request.gated && { wGate: make(inputDim, hidden) }),
        wOut: make(hidden, outputDim),
      };
      const lists =
        k === 'all'
          ? {}
          : { indices: allocate([tokens, k], 'i32'), preactivations: allocate([tokens, k], 'f32') };
      const [output, dOutput] = [make(tokens, outputDim), make(tokens, outputDim)];
      const gradients = {
        x: make(tokens, inputDim),
        wIn: make(inputDim, hidden),
        ...(request.biasIn && { bIn: make(hidden) }),
        ...(request.gated && { wGate: make(inputDim, hidden) }),
        wOut: make(hidden, outputDim),
      };
      const taken = (record: () => void): number => {
        stream.pool.resetPeak();
        const before = stream.pool.peakUsedBytes;
        record();
        return stream.pool.peakUsedBytes - before;
      };
      for (const chunk of [128, 640]) {
        const what = `${JSON.stringify(kind)}, chunk ${chunk}`;
        const ahead = forwardChunk(request, chunk, facts.bindingBytes);
        const forward = taken(() => recordForward(stream, request, { ...inputs, output, ...lists }, ahead));
        const plannedForward = forwardScratch(request, ahead).total / forward;
        expect(plannedForward, `forward ${what}`).toBeGreaterThanOrEqual(1);
        expect(plannedForward, `forward ${what}`).toBeLessThanOrEqual(1.5);
        const back = backwardChunk(request, chunk, facts.bindingBytes);
        const backward = taken(() =>
          recordBackward(stream, request, { ...inputs, ...lists, dOutput, gradients }, back),
        );
        const plannedBackward = backwardScratch(request, back).total / backward;
        expect(plannedBackward, `backward ${what}`).toBeGreaterThanOrEqual(1);
        expect(plannedBackward, `backward ${what}`).toBeLessThanOrEqual(1.5);
      }
    }
    destroy();
  },
);

optional('feed-forward: large weights do not make chunks small', softwareGpuAvailability(), async () => {
  const backend = await createWebGpuBackend({ onWarning: () => {} });
  const sizes = { tokens: 262_144, inputDim: 768, hidden: 65_536, outputDim: 768, gated: false };
  const options = { k: 512, activation: 'relu', training: true } as const;
  const { backward } = explainFeedForward(backend, { ...sizes, biasIn: false, biasOut: false }, options);
  expect(backward?.plan?.tokenChunk).toBeGreaterThanOrEqual(1024);
  await backend.dispose();
});
