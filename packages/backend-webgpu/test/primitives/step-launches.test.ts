import {
  crossEntropy,
  dropout,
  pullback,
  scope,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { adamW, clipScale, type ParameterTree } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import type { WebGpuBackend } from '../../src/backend.js';
import { openTestBackend } from '../support/software-gpu.js';
import { wave } from '../support/training.js';

const software = softwareGpuAvailability();

async function launchesOf(backend: WebGpuBackend, work: () => void): Promise<number> {
  await backend.stream.finish();
  const before = backend.stream.counts.launches;
  work();
  await backend.stream.finish();
  return backend.stream.counts.launches - before;
}

describe('launches of the parts of a training step', () => {
  optional('a loss with its gradient: two, or three for many logits', software, async () => {
    const backend = await openTestBackend();
    const counts: number[] = [];
    for (const [rows, classes] of [
      [32, 10],
      [100, 300],
    ] as const) {
      const logits = tensor(backend, wave(rows * classes, 1), [rows, classes]);
      const targets = tensor(
        backend,
        Int32Array.from({ length: rows }, (_, row) => row % classes),
        [rows],
      );
      const both = valueAndGrad((x: Tensor) => crossEntropy(x, targets, { labelSmoothing: 0.1 }));
      // The first call also makes the constant that the gradient begins with.
      scope(() => void both(logits));
      counts.push(await launchesOf(backend, () => scope(() => void both(logits))));
    }
    expect(counts).toEqual([2, 3]);
  });

  optional('dropout with its gradient: two', software, async () => {
    const backend = await openTestBackend();
    const [x, g] = [tensor(backend, wave(300, 1)), tensor(backend, wave(300, 2))];
    const both = (): void =>
      scope(() => {
        const pulled = pullback((one: Tensor) => dropout(one, { rate: 0.1, seed: 7 }), x);
        pulled.backward(g);
        pulled.dispose();
      });
    expect(await launchesOf(backend, both)).toBe(2);
  });

  optional('clipping and the update of twenty parameters', software, async () => {
    const backend = await openTestBackend();
    const treeOf = (phase: number): ParameterTree =>
      Object.fromEntries(
        Array.from({ length: 20 }, (_, at) => [
          `p${at}`,
          tensor(backend, wave(50 + at, phase + at), [50 + at]),
        ]),
      );
    const gradients = treeOf(5);
    const optimizer = adamW();
    let [parameters, state] = [treeOf(0), optimizer.init(treeOf(0))];
    const counts: number[] = [];
    for (let step = 0; step < 2; step++) {
      counts.push(
        await launchesOf(backend, () => {
          const { scale } = clipScale(gradients, 1);
          ({ parameters, state } = optimizer.step(parameters, gradients, state, { gradientScale: scale }));
        }),
      );
    }
    const { storageBuffers } = backend.facts;
    const norm = Math.ceil(20 / Math.min(16, storageBuffers - 2)) + 1;
    const update = Math.ceil(20 / Math.min(16, storageBuffers - 3));
    // Three for the scale, two that put it behind the numbers of the step.
    expect(counts[1]).toBe(norm + 3 + 2 + update);
    expect(counts[1]).toBeLessThan(counts[0] as number);
  });
});
