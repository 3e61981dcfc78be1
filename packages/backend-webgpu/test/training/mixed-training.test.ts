import {
  cast,
  crossEntropy,
  gelu,
  layerNorm,
  matmul,
  scope,
  type Tensor,
  tensor,
} from '@topk-attention/core';
import {
  adamW,
  dataLoader,
  disposeParameters,
  lossScale,
  type ParameterTree,
  train,
} from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { openTestBackend } from '../support/software-gpu.js';
import { type Batch, type Inputs, inputsOf, wave } from '../support/training.js';

optional(
  'mixed precision skips steps on the device, recorded with the bits of called ones',
  softwareGpuAvailability(),
  async () => {
    const backend = await openTestBackend();
    const parameters: ParameterTree = {
      hidden: tensor(backend, wave(24, 1), [3, 8]),
      norm: tensor(backend, new Float32Array(8).fill(1), [8]),
      out: tensor(backend, wave(16, 3), [8, 2]),
    };
    const before = backend.memory().live;
    const resultOf = async (recorded: boolean) => {
      const losses: number[] = [];
      const result = await train<Batch, Inputs>({
        parameters,
        loss: (p, { x, targets }) =>
          scope(() => {
            const hidden = p.hidden as Tensor;
            const made = gelu(layerNorm(matmul(cast(x, hidden.dtype), hidden), p.norm as Tensor));
            return crossEntropy(matmul(made, p.out as Tensor), targets);
          }),
        tensorsOf: (indices) => inputsOf(backend, indices),
        data: dataLoader<number, Batch>([0, 1, 2, 3], { batchSize: 4, collate: (indices) => indices }),
        optimizer: adamW({ learningRate: 0.05 }),
        maxGradNorm: 0.5,
        averageDecay: 0.75,
        maxSteps: 16,
        loggingSteps: 1,
        onLog: ({ loss }) => losses.push(loss as number),
        precision: 'mixed',
        lossScale: lossScale({ initScale: 2 ** 22, growthInterval: 4 }),
        recorded,
      });
      const trees = [result.parameters, result.state.tensors, result.average ?? {}];
      const tensors = trees.flatMap((tree) => Object.values(tree));
      const bits = await Promise.all(tensors.map(async (one) => [...(await one.data())]));
      for (const tree of trees) disposeParameters(tree);
      expect(backend.memory().live).toBe(before);
      return { losses, bits, lossScale: result.lossScale, steps: result.state.steps };
    };
    const called = await resultOf(false);
    expect(called.lossScale?.skippedSteps).toBeGreaterThan(3);
    expect(called.losses.at(-1)).toBeLessThan(called.losses[0] as number);
    expect(await resultOf(true)).toEqual(called);
  },
  300_000,
);
