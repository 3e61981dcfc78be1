import {
  elementwiseProgram,
  mapElementsOfAll,
  mul,
  recordedStep,
  type Tensor,
  tensor,
  terms,
} from '@topk-attention/core';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import { toGpuBuffer } from '../../src/index.js';
import { openTestBackend } from '../support/software-gpu.js';

const software = softwareGpuAvailability();
const sums = elementwiseProgram({ inputs: ['x', 'given'] }, ({ x, given }) => ({ x: terms.add(x, given) }));
const numbersOf = async (x: Tensor): Promise<number[]> => Array.from(await x.data());

describe('recorded work', () => {
  optional('a state is exported as a copy, which may be destroyed', software, async () => {
    const backend = await openTestBackend();
    const step = recordedStep(({ x }: { x: Tensor }, _: Record<string, never>) => ({
      state: { x: mul(x, 2) },
      outputs: {},
    }));
    let state = { x: tensor(backend, [1, 3]) };
    for (let call = 1; call <= 6; call++) {
      ({ state } = step(state, {}));
      expect(await numbersOf(state.x)).toEqual([2 ** call, 3 * 2 ** call]);
      const { buffer } = await toGpuBuffer(state.x);
      // The first state is a tensor like any other, and its buffer the caller's.
      if (call > 1) buffer.destroy();
    }
    expect(step.counts.replayed).toBe(4);
    step.dispose();
    state.x.dispose();
  });

  optional('inputs stay where they are beside a state that shared their buffer', software, async () => {
    const backend = await openTestBackend();
    const uploaded = (x: number): Tensor => tensor(backend, [x, 10 * x]);
    const zero = uploaded(0);
    // Windows of one buffer, which the first three alone fill too once the pool has rounded it up.
    const windows = () => {
      const given = [1, 2, 3, 4].map((x) => ({ x: uploaded(x), given: zero }));
      const made = mapElementsOfAll(sums, given).map(({ x }) => x);
      const [a, b, c, frozen] = made as [Tensor, Tensor, Tensor, Tensor];
      return { state: { a, b, c }, inputs: { frozen } };
    };
    type Made = ReturnType<typeof windows>;
    const step = recordedStep(({ a, b, c }: Made['state'], { frozen }: Made['inputs']) => {
      const given = [a, b, c].map((x) => ({ x, given: frozen }));
      const made = mapElementsOfAll(sums, given).map(({ x }) => x);
      const [first, second, third] = made as [Tensor, Tensor, Tensor];
      return { state: { a: first, b: second, c: third }, outputs: {} };
    });
    // The second call is recorded: with a state that shares its buffer with the input.
    const warmUp = windows();
    step(warmUp.state, warmUp.inputs);
    const { inputs, ...start } = windows();
    let { state } = start;
    for (let call = 1; call <= 4; call++) {
      ({ state } = step(state, inputs));
      const found = await Promise.all([state.a, state.b, state.c].map(numbersOf));
      expect(found, `call ${call}`).toEqual([1, 2, 3].map((x) => [x + 4 * call, 10 * (x + 4 * call)]));
    }
    expect(step.counts.replayed).toBe(3);
    step.dispose();
    for (const one of Object.values(state)) one.dispose();
  });
});
