import { crossEntropy, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import {
  contextOf,
  initialize,
  type MechanismState,
  type ParameterTree,
  splitParameters,
  trainableExcept,
} from '@topk-attention/nn';
import { expect, test } from 'vitest';
import { languageModel, type ModelOptions, mechanismNames } from '../src/model.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const sizes: Omit<ModelOptions, 'mechanism'> = {
  ...{ vocabulary: 7, context: 9, layers: 2, width: 8, heads: 2, k: 3, features: 6, dropout: 0 },
};
const ids = Int32Array.of(1, 5, 2, 6, 0, 3, 3, 4, 1);
const idsOf = (from: Int32Array): Tensor => tensor(backend, from, [1, from.length], 'i32');
const numbersOf = async (of: Tensor): Promise<number[]> => Array.from(await of.data(), Number);

for (const mechanism of mechanismNames) {
  const model = languageModel({ ...sizes, mechanism });

  test(`${mechanism}: token by token it gives what the whole text gives`, async () => {
    const parameters = initialize(backend, model, 3);
    const whole = await numbersOf(model.apply(contextOf(parameters), idsOf(ids)));
    const steps: number[] = [];
    let states: readonly MechanismState[] | undefined;
    for (const [from, to] of [
      [0, 2],
      [2, 3],
      [3, 4],
      [4, 9],
    ] as const) {
      const made = model.step(contextOf(parameters), idsOf(ids.slice(from, to)), states);
      steps.push(...(await numbersOf(made.logits)));
      states = made.states;
    }
    expect(steps).toHaveLength(whole.length);
    for (const [at, one] of steps.entries()) expect(one).toBeCloseTo(whole[at] as number, 8);
  });

  test(`${mechanism}: no token sees a later one`, async () => {
    const parameters = initialize(backend, model, 4);
    const changed = Int32Array.from(ids, (id, at) => (at === 8 ? 6 - id : id));
    const [before, after] = await Promise.all(
      [ids, changed].map((one) => numbersOf(model.apply(contextOf(parameters), idsOf(one)))),
    );
    const first = 8 * sizes.vocabulary;
    for (let at = 0; at < first; at++) expect(after?.[at]).toBeCloseTo(before?.[at] as number, 10);
    expect(after?.slice(first)).not.toEqual(before?.slice(first));
  });

  test(`${mechanism}: gradients agree with finite differences`, async () => {
    const isTrainable = trainableExcept(model);
    const { trainable, frozen } = splitParameters(initialize(backend, model, 5), isTrainable);
    const targets = tensor(backend, Int32Array.of(5, 2, 6, 0, 3, 3, 4, 1, 2), [9], 'i32');
    const loss = (of: ParameterTree): Tensor =>
      crossEntropy(model.apply(contextOf({ ...of, ...frozen }), idsOf(ids)), targets);
    const { gradients } = valueAndGrad(loss)(trainable);
    expect(Object.keys(gradients)).toEqual(Object.keys(trainable));

    // Along one direction per parameter, so that each one's whole gradient takes part.
    for (const [name, parameter] of Object.entries(trainable)) {
      const values = await numbersOf(parameter);
      const direction = values.map((_, at) => Math.sin(1 + 7 * at));
      const moved = async (by: number): Promise<number> => {
        const at = tensor(
          backend,
          Float64Array.from(values, (one, i) => one + by * direction[i]!),
          parameter.shape,
        );
        return (await numbersOf(loss({ ...trainable, [name]: at })))[0] as number;
      };
      const measured = ((await moved(1e-5)) - (await moved(-1e-5))) / 2e-5;
      const gradient = await numbersOf(gradients[name] as Tensor);
      const expected = gradient.reduce((sum, one, at) => sum + one * direction[at]!, 0);
      expect(Math.abs(measured - expected), name).toBeLessThan(1e-6 + 1e-5 * Math.abs(expected));
    }
  });
}

test('attention with k of the context is exact attention', async () => {
  const parameters = initialize(backend, languageModel({ ...sizes, mechanism: 'exact' }), 6);
  const [exact, all, few] = await Promise.all(
    (
      [
        ['exact', 1],
        ['top-k', 9],
        ['top-k', 2],
      ] as const
    ).map(([mechanism, k]) =>
      numbersOf(languageModel({ ...sizes, mechanism, k }).apply(contextOf(parameters), idsOf(ids))),
    ),
  );
  for (const [at, one] of (all as number[]).entries()) expect(one).toBeCloseTo(exact?.[at] as number, 10);
  expect(few).not.toEqual(exact);
});
