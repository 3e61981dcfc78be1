import {
  type Backend,
  dryBackend,
  mul,
  planStep,
  recordedStep,
  type Shape,
  type Step,
  scope,
  sub,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import { sparsefinder } from '@topk-attention/mechanisms';
import { contextOf, type MechanismCall, type Run, seedsFrom, withLosses } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { wave } from './wave.js';

const software = softwareGpuAvailability();
let backend: WebGpuBackend;

beforeAll(async () => {
  if (software.available) backend = await createWebGpuBackend({ onWarning: () => {} });
});
afterAll(() => backend?.dispose());

const sizeOf = (shape: Shape): number => shape.reduce((all, extent) => all * extent, 1);

const [batch, heads, width] = [2, 2, 4];
type State = { readonly projection: Tensor };

const projection = (): Tensor => tensor(backend, wave(heads * 3 * width, 1.1), [heads, 3, width]);

/** Queries, keys and values whose rows of entmax are sparse. */
function inputsOf(queries: number, keys: number) {
  const of = (speed: number, tokens: number): Tensor =>
    tensor(backend, wave(batch * heads * tokens * width, speed), [batch, heads, tokens, width]);
  return { query: of(0.7, queries), key: of(1.7, keys), value: of(2.3, keys) };
}

/** The loss of the predictor. Its margin has every query count. */
function lossOf(
  of: State,
  inputs: ReturnType<typeof inputsOf>,
  run: Omit<Run, 'training'>,
  options: MechanismCall['options'] = {},
): Tensor {
  const { loss } = withLosses(contextOf(of, { ...run, training: true }), (context) =>
    sparsefinder({ margin: 100 }).attend({ ...inputs, context, path: '', options }),
  );
  return loss as Tensor;
}

const entriesOf = () =>
  vi.spyOn(backend.fused?.drawnEntries as NonNullable<typeof backend.fused.drawnEntries>, 'prepare');

/** The drawn keys, as they are gathered. */
async function drawn(...given: Parameters<typeof lossOf>): Promise<number[][]> {
  const reads: Promise<ArrayLike<number>>[] = [];
  const gather = backend.gatherRows.bind(backend);
  const spy = vi.spyOn(backend, 'gatherRows').mockImplementation((x, indices) => {
    reads.push(backend.read(indices));
    return gather(x, indices);
  });
  lossOf(...given).dispose();
  spy.mockRestore();
  expect(reads).toHaveLength(2);
  return (await Promise.all(reads)).map((one) => Array.from(one));
}

const calls: Readonly<
  Record<string, { causal?: boolean; lengths?: boolean; mask?: (keys: number) => Shape }>
> = {
  'all keys': {},
  causal: { causal: true },
  'causal, some keys': { causal: true, lengths: true },
  'masks of pairs': { mask: (keys) => [batch, heads, 5, keys] },
  'masks of queries': { mask: () => [1, 1, 5, 1] },
  'masks of heads': { mask: (keys) => [1, heads, 1, keys] },
};

for (const keys of [1, 2, 31, 33, 1000, 4096, 9001]) {
  optional(`draws of one launch are those composed of ops: ${keys} keys`, software, async () => {
    const inputs = inputsOf(5, keys);
    for (const [name, { causal, lengths, mask }] of Object.entries(calls)) {
      const shape = mask?.(keys);
      const options = {
        ...(causal && { causal, queryStart: keys >> 1 }),
        ...(lengths && { keyLengths: tensor(backend, Int32Array.of(keys, 0), [batch]) }),
        ...(shape && {
          mask: tensor(
            backend,
            wave(sizeOf(shape), 2.1).map((one) => one > 0),
            shape,
          ),
        }),
      };
      // All queries at once, and two at a time.
      for (const budgetBytes of [undefined, 8 * 4 * 2 * batch * heads * keys]) {
        const run = { seeds: seedsFrom(4), ...(budgetBytes !== undefined && { budgetBytes }) };
        const prepare = entriesOf();
        const made = await drawn({ projection: projection() }, inputs, run, options);
        expect(prepare.mock.results.map(({ value }) => 'refusals' in value)).toEqual(
          new Array(budgetBytes === undefined ? 1 : 3).fill(false),
        );
        prepare.mockReturnValue({ refusals: ['it is compared with what is composed'] });
        const wanted = await drawn({ projection: projection() }, inputs, run, options);
        prepare.mockRestore();
        expect(made, `${name}, budget ${budgetBytes}`).toEqual(wanted);
        if (keys > 2 && name === 'all keys') expect(made.flat().every((one) => one >= 0)).toBe(true);
      }
    }
  });
}

/** A step down the predictor's slope. */
const step: Step<State, ReturnType<typeof inputsOf>, { readonly loss: Tensor }> = (state, inputs, seeds) =>
  scope(() => {
    const { value, gradients } = valueAndGrad((of: State) => lossOf(of, inputs, { seeds }, { causal: true }))(
      state,
    );
    return {
      state: { projection: sub(state.projection, mul(gradients.projection, 0.01)) },
      outputs: { loss: value },
    };
  });

optional('recorded steps draw by the seeds of each call', software, async () => {
  const inputs = inputsOf(40, 40);
  const trained = async (mostRecordings: number) => {
    const own = recordedStep(step, { mostRecordings });
    let state: State = { projection: projection() };
    const losses: number[] = [];
    for (let call = 0; call < 7; call++) {
      // Seeds in no order, one of them twice.
      const seeds = seedsFrom([5, 3, 11, 5, 2 ** 31, 0, 7][call] as number);
      const made = own(state, inputs, { seeds });
      state = made.state;
      losses.push(Number((await made.outputs.loss.data())[0]));
      made.outputs.loss.dispose();
    }
    const numbers = Array.from(await state.projection.data());
    state.projection.dispose();
    const { counts, refusal } = own;
    own.dispose();
    return { losses, numbers, counts: { ...counts }, refusal };
  };
  const called = await trained(0);
  expect(called.counts).toMatchObject({ called: 7, replayed: 0 });
  const prepare = entriesOf();
  const recorded = await trained(4);
  expect(prepare.mock.results.map(({ value }) => 'refusals' in value)).toContain(false);
  prepare.mockRestore();
  expect(recorded.refusal).toBe(undefined);
  expect(recorded.counts).toEqual({ called: 1, recorded: 1, replayed: 5 });
  expect([recorded.losses, recorded.numbers]).toEqual([called.losses, called.numbers]);
  expect(new Set(called.losses).size).toBe(7);
});

optional('planned bytes are those that the pool hands out', software, async () => {
  for (const fused of [true, false]) {
    const own = await createWebGpuBackend({ onWarning: () => {}, fused });
    const zerosOn = (on: Backend) => {
      const of = (...shape: readonly number[]): Tensor => zeros(on, shape);
      const [query, key, value] = [of(2, 2, 200, 4), of(2, 2, 200, 4), of(2, 2, 200, 4)];
      return { state: { projection: of(2, 3, 4) }, inputs: { query, key, value } };
    };
    const dry = zerosOn(dryBackend(own));
    const planned = planStep(own, step, dry.state, dry.inputs, { recorded: false, seeds: seedsFrom(1) });
    const { state, inputs } = zerosOn(own);
    own.resetPeak();
    const { outputs } = recordedStep(step, { mostRecordings: 0 })(state, inputs, { seeds: seedsFrom(1) });
    await outputs.loss.data();
    const measured = own.statistics().peakUsedBytes;
    const what = `fused ${fused}: ${planned.peak} of ${measured}`;
    expect(planned.peak / measured, what).toBeGreaterThanOrEqual(1);
    expect(planned.peak / measured, what).toBeLessThanOrEqual(1.05);
    await own.dispose();
  }
});
