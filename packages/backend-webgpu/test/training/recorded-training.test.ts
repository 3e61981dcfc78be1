import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crossEntropy, linear, matmul, scope, type Tensor, tensor } from '@topk-attention/core';
import {
  adamW,
  dataLoader,
  disposeParameters,
  dropout,
  folderStore,
  type LossContext,
  oneCycleSchedule,
  type ParameterTree,
  type TrainOptions,
  train,
} from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect, onTestFinished } from 'vitest';
import { openTestBackend } from '../support/software-gpu.js';
import { type Batch, type Inputs, inputsOf, wave } from '../support/training.js';

const software = softwareGpuAvailability();

optional(
  'train replays recorded steps with the bits of called ones',
  software,
  async () => {
    const backend = await openTestBackend();
    const parameters: ParameterTree = {
      hidden: tensor(backend, wave(24, 1), [3, 8]),
      bias: tensor(backend, wave(8, 2), [8]),
      out: tensor(backend, wave(16, 3), [8, 2]),
    };
    let losses = 0;
    const loss = (p: ParameterTree, { x, targets }: Inputs, { seeds }: LossContext): Tensor =>
      scope(() => {
        losses++;
        const hidden = linear(x, p.hidden as Tensor, p.bias as Tensor, { activation: 'silu' });
        const kept = dropout({ training: true, seeds }, 'hidden', hidden, 0.2);
        return crossEntropy(matmul(kept, p.out as Tensor), targets);
      });
    const options: TrainOptions<Batch, Inputs> = {
      parameters,
      loss,
      tensorsOf: (indices) => inputsOf(backend, indices),
      // Batches of 4, 4 and 2: micro-batches in three combinations of shapes.
      data: dataLoader<number, Batch>(
        Array.from({ length: 10 }, (_, i) => i),
        { batchSize: 4, collate: (indices) => indices, shuffle: true },
      ),
      gradientAccumulationSteps: 2,
      optimizer: adamW({ learningRate: 0.05 }),
      schedule: oneCycleSchedule({ totalSteps: 12 }),
      trainable: (name) => name !== 'bias',
      maxGradNorm: 0.5,
      averageDecay: 0.75,
      maxSteps: 12,
    };
    const resultOf = async (own: Partial<TrainOptions<Batch, Inputs>>) => {
      losses = 0;
      const log: unknown[] = [];
      const result = await train<Batch, Inputs>({
        ...options,
        ...own,
        loggingSteps: 1,
        onLog: ({ loss: one, grad_norm }) => log.push([one, grad_norm]),
      });
      const trees = [result.parameters, result.state.tensors, result.average ?? {}];
      const named = trees.flatMap((tree, at) =>
        Object.entries(tree).map(([name, one]) => [`${at} ${name}`, one] as const),
      );
      const bits = await Promise.all(named.map(async ([name, one]) => [name, [...(await one.data())]]));
      for (const tree of trees) disposeParameters(tree);
      return { log, bits: Object.fromEntries(bits), losses };
    };

    const before = backend.memory().live;
    const called = await resultOf({});
    expect(called.losses).toBe(24);
    const recorded = await resultOf({ recorded: true });
    expect({ ...recorded, losses: 24 }).toEqual(called);
    // Two steps of each combination.
    expect(recorded.losses).toBe(12);
    // Those that are dropped are recorded anew.
    const narrow = await resultOf({ recorded: true, mostRecordings: 1 });
    expect(narrow.bits).toEqual(called.bits);
    expect(narrow.losses).toBeGreaterThan(12);
    expect(backend.memory().live).toBe(before);

    const folder = mkdtempSync(join(tmpdir(), 'recorded-training-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const checkpoints = folderStore(folder);
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 9) controller.abort();
    };
    const cut = resultOf({ recorded: true, checkpoints, signal: controller.signal, onProgress });
    await expect(cut).rejects.toMatchObject({ code: 'ABORTED' });
    const { bits } = await resultOf({ recorded: true, checkpoints, resume: true });
    expect(bits).toEqual(called.bits);

    // NaN comes from a replay.
    const bad = {
      ...options,
      maxSteps: 40,
      schedule: (step: number) => ({ rateFactor: step < 20 ? 1 : 1e38 }),
    };
    await expect(train({ ...bad, recorded: true })).rejects.toMatchObject({
      code: 'NAN_FOUND',
      message: expect.stringMatching(/step 2\d .*(hidden|out)/),
    });
    expect(backend.memory().live).toBe(before);
  },
  120_000,
);
