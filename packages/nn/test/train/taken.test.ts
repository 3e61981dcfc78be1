import { cast, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { adafactor, adam, adamW, type Optimizer, type ParameterTree, sgd } from '../../src/index.js';

const optimizers: Readonly<Record<string, Optimizer>> = {
  adamW: adamW({ learningRate: 0.1 }),
  'adam, amsgrad': adam({ learningRate: 0.1, amsgrad: true }),
  'sgd, momentum': sgd({ learningRate: 0.1, momentum: 0.9 }),
  adafactor: adafactor({ learningRate: 0.1 }),
};

const bitsOf = async (...trees: readonly ParameterTree[]): Promise<number[][]> =>
  Promise.all(trees.flatMap((tree) => Object.values(tree)).map(async (one) => [...(await one.data())]));

test.each(Object.entries(optimizers))(
  '%s: an update that is not taken leaves everything as it is',
  async (_, optimizer) => {
    const backend = createReferenceBackend();
    const parameters: ParameterTree = {
      a: tensor(backend, [1, -2, 3, 4], [2, 2]),
      b: tensor(backend, [0.5]),
    };
    const fine: ParameterTree = { a: tensor(backend, [1, 2, -3, 0.25], [2, 2]), b: tensor(backend, [-1]) };
    const spoilt: ParameterTree = {
      a: tensor(backend, [Number.NaN, 2, Number.POSITIVE_INFINITY, 1], [2, 2]),
      b: tensor(backend, [Number.NaN]),
    };
    const names = Object.keys(parameters);
    const start = optimizer.init(parameters);
    const plan = optimizer.plan(start.steps, names);
    const numbers = tensor(backend, plan.numbers, [plan.numbers.length]);
    const update = (gradients: ParameterTree, scale?: Tensor, taken?: Tensor) =>
      optimizer.update(parameters, gradients, start.tensors, plan, numbers, scale, taken);
    const [no, yes, half] = [0, 1, 0.5].map((value) => tensor(backend, [value], [])) as [
      Tensor,
      Tensor,
      Tensor,
    ];

    const before = await bitsOf(parameters, start.tensors);
    for (const scale of [undefined, half]) {
      const refrained = update(spoilt, scale, no);
      expect(await bitsOf(refrained.parameters, refrained.tensors)).toEqual(before);
      const [plain, taken] = [update(fine, scale), update(fine, scale, yes)];
      const expected = await bitsOf(plain.parameters, plain.tensors);
      expect(expected).not.toEqual(before);
      expect(await bitsOf(taken.parameters, taken.tensors)).toEqual(expected);
      // f16 holds these gradients exactly.
      const halves = Object.fromEntries(names.map((name) => [name, cast(fine[name] as Tensor, 'f16')]));
      const ofHalves = update(halves, scale, yes);
      expect(await bitsOf(ofHalves.parameters, ofHalves.tensors)).toEqual(expected);
    }
  },
);
