import {
  type EncoderBatch,
  type EncoderSizes,
  encoderBatch,
  encoderLoss,
  encoderParameters,
  encoderTraining,
} from '@topk-attention/bench-kit';
import {
  dryBackend,
  planStep,
  recompute,
  recordedStep,
  scope,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { adamW, disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, expect } from 'vitest';
import type { WebGpuBackend } from '../../src/index.js';
import { createTestBackend } from '../support/software-gpu.js';

let opened: Promise<WebGpuBackend> | undefined;
/** One for all tests, which share most kernels. */
const sharedBackend = (): Promise<WebGpuBackend> => {
  opened ??= createTestBackend();
  return opened;
};
/** Bytes in use before a test: a few numbers that the backend itself keeps. */
const keptBytes = (backend: WebGpuBackend): number => {
  backend.resetPeak();
  const { peakUsedBytes } = backend.statistics();
  expect(peakUsedBytes).toBeLessThanOrEqual(1024);
  return peakUsedBytes;
};
afterAll(async () => (await opened)?.dispose());

const sizes = {
  ...{ layers: 2, width: 32, heads: 2, hidden: 64, vocabulary: 16, classes: 3 },
  ...{ tokens: 96, batch: 2 },
};

interface State {
  readonly [tree: string]: ParameterTree;
}

interface Inputs {
  readonly [name: string]: Tensor | ParameterTree;
  readonly batch: ParameterTree;
  readonly numbers: Tensor;
}

optional(
  'planned bytes of training steps are those that the pool hands out',
  softwareGpuAvailability(),
  async () => {
    const backend = await sharedBackend();
    const optimizer = adamW({ learningRate: 1e-3 });
    for (const [k, isRecomputed, recorded] of [
      [16, false, true],
      [16, true, true],
      [undefined, false, false],
      [undefined, true, false],
    ] as const) {
      const start = (of: typeof backend | ReturnType<typeof dryBackend>) => {
        const parameters = encoderParameters(of, sizes);
        const { tensors, steps } = optimizer.init(parameters);
        const { numbers, numbersAt } = optimizer.plan(steps, Object.keys(parameters));
        const batch: ParameterTree = { ...encoderBatch(of, sizes, 1) };
        const inputs: Inputs = { batch, numbers: tensor(of, numbers, [numbers.length]) };
        return { state: { parameters, tensors }, inputs, numbersAt };
      };
      const kept = keptBytes(backend);
      const { numbersAt, ...real } = start(backend);
      const step = (state: State, { batch, numbers }: Inputs) =>
        scope(() => {
          const given = state.parameters as ParameterTree;
          const { value, gradients } = valueAndGrad((p: ParameterTree) => {
            const loss = (): Tensor => encoderLoss(p, batch as unknown as EncoderBatch, sizes, k);
            return isRecomputed ? recompute(loss, {}) : loss();
          })(given);
          const tensors = state.tensors as ParameterTree;
          const next = optimizer.update(given, gradients, tensors, { numbersAt }, numbers);
          return { state: { ...next } as State, outputs: { loss: value } };
        });
      const dry = start(dryBackend(backend));
      const { allocatedBytes } = backend.stream.pool;
      const planned = planStep(backend, step, dry.state as State, dry.inputs, { recorded });
      expect(backend.stream.pool.allocatedBytes).toBe(allocatedBytes);

      backend.resetPeak();
      const run = recordedStep(step, { mostRecordings: recorded ? 1 : 0 });
      let state: State = real.state;
      // Called, recorded, replayed.
      for (let at = 0; at < 3; at++) {
        const made = run(state, real.inputs);
        state = made.state;
        expect(Number.isFinite((await made.outputs.loss.data())[0])).toBe(true);
        made.outputs.loss.dispose();
      }
      expect(run.counts.replayed).toBe(recorded ? 1 : 0);
      const measured = backend.statistics().peakUsedBytes - kept;
      const what = `k ${k}, recomputed ${isRecomputed}, recorded ${recorded}: ${planned.peak} of ${measured}`;
      expect(planned.peak / measured, what).toBeGreaterThanOrEqual(1);
      expect(planned.peak / measured, what).toBeLessThanOrEqual(1.05);
      run.dispose();
      for (const tree of Object.values(state)) disposeParameters(tree);
      disposeParameters(real.inputs.batch);
      real.inputs.numbers.dispose();
    }
  },
);

const ways = { mixed: { isMixed: true }, recomputed: { isRecomputed: true }, called: { isRecorded: false } };

for (const [name, k, change, way] of [
  ['of few tokens', 8, {}, undefined],
  ['of many tokens', 8, { tokens: 320 }, undefined],
  ['of exact attention', undefined, { batch: 6, tokens: 64 }, undefined],
  ['in mixed precision', undefined, { width: 48, heads: 3 }, 'mixed'],
  ['with blocks recomputed', 8, { layers: 2 }, 'recomputed'],
  ['that are called', 8, { tokens: 256 }, 'called'],
] as const) {
  optional(
    `plans bound what steps of the training bench take, ${name}`,
    softwareGpuAvailability(),
    async () => {
      const backend = await sharedBackend();
      const kept = keptBytes(backend);
      const own: EncoderSizes = {
        ...{ layers: 1, width: 32, heads: 2, hidden: 64, vocabulary: 16, classes: 3 },
        ...{ tokens: 128, batch: 2 },
        ...change,
      };
      const run = encoderTraining(backend, own, {
        ...{ k, rate: 1e-3, isRecorded: true },
        ...(way !== undefined && ways[way]),
      });
      const planned = run.planned().peak;
      backend.resetPeak();
      for (let at = 0; at < 3; at++) {
        const loss = run.step(at);
        expect(Number.isFinite((await loss.data())[0])).toBe(true);
        loss.dispose();
      }
      const measured = backend.statistics().peakUsedBytes - kept;
      run.dispose();
      expect(planned / measured, `${planned} of ${measured}`).toBeGreaterThanOrEqual(1);
      expect(planned / measured, `${planned} of ${measured}`).toBeLessThanOrEqual(1.5);
    },
  );
}
