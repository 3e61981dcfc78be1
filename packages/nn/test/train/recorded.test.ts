// Training by recorded steps. The reference backend calls them each time; replays are tested where a backend makes them.
import { crossEntropy, mul, sub, sum, type Tensor, tensor } from '@topk-attention/core';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  adamW,
  dataLoader,
  disposeParameters,
  dropout,
  folderStore,
  type LossContext,
  type Optimizer,
  type ParameterTree,
  sgd,
  type TrainOptions,
  train,
} from '../../src/index.js';
import { temporaryFolder } from '../support/files.js';
import { valuesOf } from '../support/tensors.js';
// @ts-expect-error plain JavaScript, as a child process runs it too
import { points, toyRun } from '../support/toy-run.mjs';

type Batch = { readonly x: readonly number[]; readonly targets: readonly number[] };
type Inputs = { readonly x: Tensor; readonly targets: Tensor };
type Options = TrainOptions<Batch, Inputs>;

const { backend, parameters, collate, network } = toyRun();

const tensorsOf = ({ x, targets }: Batch): Inputs => ({
  x: tensor(backend, x, [targets.length, 2]),
  targets: tensor(backend, Int32Array.from(targets), [targets.length], 'i32'),
});
const plainLoss = (p: ParameterTree, { x, targets }: Inputs): Tensor => crossEntropy(network(p, x), targets);
/** With dropout of the points. */
const loss = (p: ParameterTree, batch: Inputs, { seeds }: LossContext): Tensor =>
  plainLoss(p, { ...batch, x: dropout({ training: true, seeds }, 'points', batch.x, 0.1) });

const options = (own: Partial<Options> = {}): Options => ({
  parameters,
  loss,
  tensorsOf,
  // The last batch of an epoch is a smaller one.
  data: dataLoader<unknown, Batch>(points, { batchSize: 10, collate, shuffle: true, seed: 1 }),
  optimizer: adamW({ learningRate: 0.05 }),
  maxSteps: 12,
  ...own,
});
async function resultOf(own: Partial<Options>) {
  const losses: unknown[] = [];
  const result = await train(options({ ...own, loggingSteps: 1, onLog: (one) => losses.push(one.loss) }));
  const values = [await valuesOf(result.parameters), await valuesOf(result.state.tensors)];
  if (result.average !== undefined) values.push(await valuesOf(result.average));
  for (const tree of [result.parameters, result.state.tensors, result.average ?? {}]) disposeParameters(tree);
  return { losses, values, steps: result.state.steps };
}
const broken = (): never => {
  throw new Error('broken');
};
/** Its error; nothing of the run that failed stays on the device. */
async function failureOf(own: Partial<Options>) {
  const before = backend.memory().live;
  const error: Error = await train(options({ recorded: true, ...own })).then(
    () => expect.fail('expected an error'),
    (reason) => reason,
  );
  expect(backend.memory().live).toBe(before);
  return error;
}

test.each<[string, Partial<Options>]>([
  ['one batch a step', {}],
  ['three micro-batches of different sizes, clipped', { gradientAccumulationSteps: 3, maxGradNorm: 0.1 }],
  ['frozen parameters', { trainable: (name) => name !== 'hidden.weight' }],
  ['an average', { averageDecay: 0.9, trainable: (name) => name !== 'hidden.weight' }],
  ['another optimiser', { optimizer: sgd({ momentum: 0.9 }) }],
])('has the bits of called steps, and leaves nothing over: %s', async (_, own) => {
  const before = backend.memory().live;
  const recorded = await resultOf({ ...own, recorded: true });
  expect(recorded).toEqual(await resultOf(own));
  expect(backend.memory().live).toBe(before);
});

test.each<[string, (base: Optimizer) => Optimizer['update']]>([
  [
    'without the scale',
    (base) => (parameters, gradients, tensors, plan, numbers) =>
      base.update(parameters, gradients, tensors, plan, numbers),
  ],
  [
    'of all that it is given',
    (base) =>
      (...args) =>
        base.update(...args),
  ],
])('an optimiser that spreads another, with an update %s, clips as well', async (_, updateOf) => {
  const base = adamW({ learningRate: 0.05 });
  const optimizer = { ...base, update: updateOf(base) };
  expect(await resultOf({ optimizer, maxGradNorm: 0.1 })).toEqual(await resultOf({ maxGradNorm: 0.1 }));
});

test('every step and micro-batch has seeds of its own', async () => {
  const drawn: number[] = [];
  const drawing: Options['loss'] = (p, batch, { seeds }) => {
    drawn.push(seeds('points'));
    return plainLoss(p, batch);
  };
  await resultOf({ loss: drawing, gradientAccumulationSteps: 2, maxSteps: 5, recorded: true });
  expect(new Set(drawn).size).toBe(10);
});

test('goes on from a checkpoint to the same bits', async () => {
  const whole = await resultOf({ recorded: true });
  const checkpoints = folderStore(await temporaryFolder());
  const controller = new AbortController();
  const onProgress = (done: number): void => {
    if (done === 7) controller.abort();
  };
  const error = await failureOf({ checkpoints, signal: controller.signal, onProgress });
  expect(error).toMatchObject({ code: 'ABORTED' });
  expect(await checkpoints.list()).toEqual([7]);
  const { values, steps } = await resultOf({ checkpoints, resume: true, recorded: true });
  expect({ values, steps }).toEqual({ values: whole.values, steps: whole.steps });
});

test('batches of tensors stay the caller’s', async () => {
  const targets = [tensor(backend, [1]), tensor(backend, [3])];
  onTestFinished(() => {
    for (const one of targets) one.dispose();
  });
  const x = tensor(backend, [0]);
  onTestFinished(() => x.dispose());
  const before = backend.memory().live;
  const result = await train<Tensor>({
    parameters: { x },
    loss: (p, target) => sum(mul(sub(p.x as Tensor, target), sub(p.x as Tensor, target))),
    data: dataLoader(targets, { batchSize: 1, collate: ([one]) => one as Tensor }),
    optimizer: sgd({ learningRate: 0.25 }),
    maxSteps: 2,
    recorded: true,
  });
  // To 0.5, half of the way to 1, and to 1.75, half of the way to 3.
  expect([...(await (result.parameters.x as Tensor).data())]).toEqual([1.75]);
  disposeParameters(result.parameters);
  disposeParameters(result.state.tensors);
  expect(backend.memory().live).toBe(before);
});

describe('an error', () => {
  test.each<['step' | 'seed', RegExp]>([
    ['step', /reads context\.step .*Leave it out/],
    ['seed', /reads context\.seed .*context\.seeds\(path\)/],
  ])('that says what to do, where the loss reads context.%s', async (name, message) => {
    const reading: Options['loss'] = (p, batch, context) => mul(plainLoss(p, batch), context[name]);
    const error = await failureOf({ loss: reading });
    expect(error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringMatching(message) });
  });

  test('that names what is no tensor in a batch', async () => {
    const half = ({ x, targets }: Batch) => ({ ...tensorsOf({ x, targets }), x: x as never });
    const error = await failureOf({ tensorsOf: half });
    expect(error).toMatchObject({ code: 'INVALID_OPTION' });
    expect(error.message).toMatch(/batch\.x\[0\] .*tensorsOf/);
  });

  test('where tensorsOf is forgotten', async () => {
    const { tensorsOf: _, ...rest } = options({ recorded: true });
    // @ts-expect-error the loss takes no such batches
    const running = train(rest);
    await expect(running).rejects.toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('that names parameter and place, where a batch holds NaN', async () => {
    const data = dataLoader<unknown, Batch>(points, {
      batchSize: 8,
      collate: (examples) => {
        const batch: Batch = collate(examples);
        return examples.includes(points[17])
          ? { ...batch, x: batch.x.map((one, i) => (i === 2 ? Number.NaN : one)) }
          : batch;
      },
    });
    const error = await failureOf({ data, loss: plainLoss });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).toMatch(/step 2 .*hidden\.weight.*epoch 0, batch 2.*batch\.x\[2\]/);
  });

  test.each<[string, Partial<Options>]>([
    ['of the loss', { loss: broken }],
    ['of the optimiser', { optimizer: { ...sgd(), update: broken } }],
    ['of tensorsOf', { tensorsOf: broken }],
  ])('%s leaves nothing over', async (_, own) => {
    expect(await failureOf(own)).toMatchObject({ message: 'broken' });
  });

  test('for no recordings at all', async () => {
    expect(await failureOf({ mostRecordings: 0 })).toMatchObject({ code: 'INVALID_OPTION' });
  });
});
