import { mul, scope, sub, sum, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import {
  adamW,
  attentionLayer,
  contextOf,
  dataLoader,
  disposeParameters,
  folderStore,
  initialize,
  type ParameterTree,
  performer,
  redraw,
  type TrainOptions,
  train,
  trainableExcept,
} from '../../src/index.js';
import { errorOf, temporaryFolder } from '../support/files.js';
import { valuesOf } from '../support/tensors.js';

const backend = createReferenceBackend();
const layer = attentionLayer({
  ...{ width: 4, heads: 2 },
  mechanism: performer({ features: 3, redrawEvery: 3 }),
});
const SEED = 5;
const NAME = 'mechanism.projection';

type Inputs = { readonly x: Tensor };

function optionsOf(parameters: ParameterTree, own: Partial<TrainOptions<number, Inputs>> = {}) {
  const options: TrainOptions<number, Inputs> = {
    parameters,
    trainable: trainableExcept(layer),
    redraw: layer,
    data: dataLoader([0, 1, 2, 3], { batchSize: 1, collate: ([one = 0]) => one }),
    tensorsOf: (one) => ({
      x: tensor(
        backend,
        Float32Array.from({ length: 12 }, (_, at) => Math.sin(at + one)),
        [1, 3, 4],
      ),
    }),
    loss: (of, { x }) =>
      scope(() => {
        const error = sub(layer.apply(contextOf(of), x), x);
        return sum(mul(error, error));
      }),
    optimizer: adamW({ learningRate: 0.05 }),
    maxSteps: 8,
    seed: SEED,
    ...own,
  };
  return options;
}

async function resultOf(own: Partial<TrainOptions<number, Inputs>> = {}) {
  const parameters = initialize(backend, layer, 1);
  const result = await train(optionsOf(parameters, own));
  const values = [await valuesOf(result.parameters), await valuesOf(result.state.tensors)];
  disposeParameters(result.parameters);
  disposeParameters(result.state.tensors);
  disposeParameters(parameters);
  return values;
}

/** What `redraw` draws after some steps. */
async function drawnAfter(step: number): Promise<unknown> {
  const parameters = initialize(backend, layer, 1);
  const fresh = redraw(layer, parameters, step, SEED).parameters[NAME] as Tensor;
  const values = Array.from(await fresh.data());
  disposeParameters(parameters);
  if (step > 0) fresh.dispose();
  return values;
}

test('features are drawn anew after every third step, recorded or not, and nothing is left over', async () => {
  const before = backend.memory().live;
  const [parameters] = await resultOf();
  // Steps 6 and 7 are made with them.
  expect(Array.from((parameters as { [name: string]: ArrayLike<number> })[NAME] ?? [])).toEqual(
    await drawnAfter(6),
  );
  expect(await resultOf({ recorded: true })).toEqual(await resultOf());
  expect(backend.memory().live).toBe(before);
});

test('without it they stay', async () => {
  const { redraw: _, ...still } = optionsOf(initialize(backend, layer, 1));
  const { parameters } = await train(still);
  expect(Array.from(await (parameters[NAME] as Tensor).data())).toEqual(await drawnAfter(0));
});

test.each([2, 3, 4, 6])('stopped after step %d and resumed, it ends with the same bits', async (stop) => {
  const checkpoints = folderStore(await temporaryFolder());
  const own = { checkpoints, saveSteps: 1, recorded: true };
  await resultOf({ ...own, maxSteps: stop });
  expect(await resultOf({ ...own, resume: true })).toEqual(await resultOf());
});

test('features of the layer that is drawn anew are not trained, unless asked for in words', async () => {
  const parameters = initialize(backend, layer, 1);
  const { trainable: _, ...own } = optionsOf(parameters);
  const result = await train(own);
  const [given] = await resultOf();
  expect(await valuesOf(result.parameters)).toEqual(given);
  const error = await errorOf(train({ ...own, trainable: () => true }));
  expect(error).toMatchObject({ code: 'INVALID_OPTION', got: `one that takes ${NAME}` });
  expect(error.fix).toMatch(/trainableExcept/);
  for (const tree of [result.parameters, result.state.tensors, parameters]) disposeParameters(tree);
});
