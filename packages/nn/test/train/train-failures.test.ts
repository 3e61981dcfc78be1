// What a training says, and what it leaves behind, when its data, its files or its device are not as they should be.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Tensor, TopKError, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  adamW,
  type CheckpointStore,
  type DataLoader,
  dataLoader,
  encodeSafetensors,
  folderStore,
  type ParameterTree,
  saveCheckpoint,
  sgd,
  type TrainOptions,
  train,
} from '../../src/index.js';
import { errorOf, temporaryFolder } from '../support/files.js';
import { losableBackend } from '../support/losable-backend.js';
import { valuesOf } from '../support/tensors.js';
// @ts-expect-error plain JavaScript, as a child process runs it too
import { points, toyRun } from '../support/toy-run.mjs';

/** Of a checkpoint, as they are written. */
const files = ['model.safetensors', 'optimizer.safetensors', 'trainer_state.json'];

type Batch = { readonly x: readonly number[]; readonly targets: readonly number[] };

const { backend, parameters, collate, loss } = toyRun();
const batches = (change: (batch: Batch) => unknown = (batch) => batch) =>
  dataLoader<unknown, Batch>(points, {
    batchSize: 8,
    collate: (examples) => change(collate(examples)) as Batch,
  });
const run = (options: Partial<TrainOptions<Batch>> = {}) =>
  train<Batch>({
    parameters,
    loss,
    data: batches(),
    optimizer: adamW({ learningRate: 0.05 }),
    maxSteps: 23,
    saveSteps: 5,
    ...options,
  });
const replaced = (values: readonly number[], at: number, value: number): readonly number[] =>
  values.map((one, i) => (i === at ? value : one));

/** Its error; nothing of the run that failed stays on the device. */
async function failureOf(options: Partial<TrainOptions<Batch>>): Promise<TopKError> {
  const before = backend.memory().live;
  const error = await errorOf(run(options));
  expect(backend.memory().live).toBe(before);
  return error;
}

describe('data', () => {
  test('a target outside the classes: step, batch and what it may be', async () => {
    const wrong = (batch: Batch) => ({ ...batch, targets: replaced(batch.targets, 3, 2) });
    const error = await failureOf({ data: batches(wrong) });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).toMatch(/step 0 .*epoch 0, batch 0.*target outside the classes/);
  });

  const withNaN = (batch: Batch): readonly number[] => replaced(batch.x, 5, Number.NaN);
  test.each<[string, (batch: Batch) => unknown, RegExp]>([
    ['a number', (batch) => ({ ...batch, x: withNaN(batch) }), /NaN in the batch, at batch\.x\[5\]/],
    ['a typed array', (batch) => ({ ...batch, x: Float32Array.from(withNaN(batch)) }), /at batch\.x\[5\]/],
  ])('NaN as %s is named with its place', async (_, change, message) => {
    const inFourth: DataLoader<Batch> = {
      ...batches(),
      async *batches(from) {
        for await (const one of batches().batches(from)) {
          yield one.state.batch === 4 ? { ...one, batch: change(one.batch) as Batch } : one;
        }
        throw new Error('batches end');
      },
    };
    const error = await failureOf({ data: inFourth });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).toMatch(/step 3 /);
    expect(error.message).toMatch(message);
  });

  test('NaN in a tensor of a micro-batch is named with its place', async () => {
    const bad = tensor(backend, [1, Number.NaN], [2]);
    onTestFinished(() => bad.dispose());
    const wrong = (batch: Batch) => ({ bad: [bad], ...batch, x: withNaN(batch) });
    const error = await failureOf({ data: batches(wrong), gradientAccumulationSteps: 2 });
    expect(error.message).toContain('at batch[0].bad[0][1]');
  });

  test('a batch that is fine is not blamed', async () => {
    const error = await failureOf({ optimizer: sgd({ learningRate: 1e30 }) });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).not.toContain('NaN in the batch');
  });

  test('a parameter that is not finite from the beginning is named', async () => {
    const bad = tensor(backend, [0, Number.POSITIVE_INFINITY], [2]);
    onTestFinished(() => bad.dispose());
    const error = await failureOf({ parameters: { ...parameters, 'out.bias': bad } });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).toContain('the parameter out.bias is not finite from the beginning');
  });

  test('shapes that do not fit are those of the op, at the first step', async () => {
    const short = (batch: Batch) => ({ ...batch, targets: batch.targets.slice(1) });
    expect(await failureOf({ data: batches(short) })).toMatchObject({
      code: expect.stringMatching(/SHAPE|OPTION/),
    });
  });

  test.each<[string, unknown, string]>([
    ['no number', (p: ParameterTree) => p['out.weight'], 'NOT_DIFFERENTIABLE'],
    ['nothing', () => undefined, 'INVALID_OPTION'],
    ['a promise', async (p: ParameterTree) => p['out.weight'], 'INVALID_OPTION'],
  ])('a loss that gives %s: refused', async (_, wrong, code) => {
    expect(await failureOf({ loss: wrong as TrainOptions<Batch>['loss'] })).toMatchObject({ code });
  });

  test('a loss that asks for a name that is not there: refused', async () => {
    const { 'out.bias': _, ...rest } = parameters as { [name: string]: Tensor };
    expect(await failureOf({ parameters: rest })).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await failureOf({ parameters: {} })).toMatchObject({ code: 'INVALID_OPTION' });
  });
});

describe('a checkpoint that does not fit is refused by name', () => {
  const other = (change: { [name: string]: Tensor | undefined }): ParameterTree => {
    for (const one of Object.values(change)) onTestFinished(() => one?.dispose());
    const tree = { ...parameters, ...change };
    return Object.fromEntries(Object.entries(tree).filter(([, one]) => one !== undefined)) as ParameterTree;
  };
  test.each<[string, () => Partial<TrainOptions<Batch>>, string, RegExp]>([
    [
      'a parameter more',
      () => ({ parameters: other({ extra: tensor(backend, [1]) }) }),
      'MISSING_WEIGHT',
      /expected extra/,
    ],
    [
      'a parameter less',
      () => ({ parameters: other({ 'out.bias': undefined }) }),
      'EXTRA_WEIGHT',
      /got out\.bias/,
    ],
    [
      'another shape',
      () => ({ parameters: other({ 'out.bias': tensor(backend, [1, 2, 3]) }) }),
      'SHAPE_MISMATCH',
      /out\.bias \[3\], got \[2\]/,
    ],
    ['another optimiser', () => ({ optimizer: sgd() }), 'EXTRA_WEIGHT', /another optimiser.*exp_avg/],
    [
      'an optimiser that keeps more',
      () => ({ optimizer: adamW({ amsgrad: true }) }),
      'MISSING_WEIGHT',
      /max_exp_avg_sq/,
    ],
  ])('%s', async (_, options, code, message) => {
    const checkpoints = folderStore(await temporaryFolder());
    await run({ maxSteps: 5, checkpoints });
    const error = await failureOf({ checkpoints, resume: true, ...options() });
    expect(error).toMatchObject({ code });
    expect(error.message).toMatch(message);
    expect(await checkpoints.list()).toEqual([5]);
  });
});

describe('a checkpoint that is not whole', () => {
  test.each(files)('without %s: an error that says where to go on', async (name) => {
    const path = await temporaryFolder();
    const checkpoints = folderStore(path);
    await run({ maxSteps: 10, checkpoints });
    rmSync(join(path, 'checkpoint-10', name));
    const error = await failureOf({ checkpoints, resume: true });
    expect(error).toMatchObject({ code: 'FILE_NOT_FOUND' });
    expect(error.message).toContain('Remove the checkpoint of step 10 to continue from step 5');
    await checkpoints.remove(10);
    const whole = await run();
    const resumed = await run({ checkpoints, resume: true });
    expect(await valuesOf(resumed.parameters)).toEqual(await valuesOf(whole.parameters));
  });

  test('with a half-written average: nothing stays on the device', async () => {
    const path = await temporaryFolder();
    const checkpoints = folderStore(path);
    await run({ maxSteps: 5, checkpoints, averageDecay: 0.9 });
    const file = join(path, 'checkpoint-5', 'average.safetensors');
    writeFileSync(file, readFileSync(file).subarray(0, 300));
    const error = await failureOf({ checkpoints, resume: true, averageDecay: 0.9 });
    expect(error).toMatchObject({ code: 'FILE_TRUNCATED' });
    expect(error.message).toContain('average.safetensors');
  });

  test('with NaN in the weights, which no run writes', async () => {
    const path = await temporaryFolder();
    const checkpoints = folderStore(path);
    await run({ maxSteps: 5, checkpoints });
    const file = join(path, 'checkpoint-5', 'model.safetensors');
    const bytes = readFileSync(file);
    writeFileSync(file, bytes.fill(0xff, bytes.length - 4));
    const error = await failureOf({ checkpoints, resume: true });
    expect(error).toMatchObject({ code: 'FILE_CORRUPT' });
    expect(error.message).toMatch(/model\.safetensors of step 5: .* holds NaN/);
  });

  test('in a place that is a file', async () => {
    const path = join(await temporaryFolder(), 'file');
    writeFileSync(path, 'mine');
    expect(await failureOf({ checkpoints: folderStore(path) })).toMatchObject({ code: 'FILE_NOT_FOUND' });
    expect(readFileSync(path, 'utf8')).toBe('mine');
  });

  test('with a state that lacks a tensor', async () => {
    const path = await temporaryFolder();
    const checkpoints = folderStore(path);
    await run({ maxSteps: 5, checkpoints });
    writeFileSync(join(path, 'checkpoint-5', 'optimizer.safetensors'), encodeSafetensors({}));
    expect(await failureOf({ checkpoints, resume: true })).toMatchObject({ code: 'MISSING_WEIGHT' });
  });
});

describe('a checkpoint that cannot be written', () => {
  const noSpace = () =>
    Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });

  test('by its store is an error, and the one before stays', async () => {
    const real = folderStore(await temporaryFolder());
    const full: CheckpointStore = {
      ...real,
      write: async (step, files) => {
        if (step > 5) throw noSpace();
        await real.write(step, files);
      },
    };
    const error = await failureOf({ checkpoints: full });
    expect(error).toMatchObject({ code: 'FILE_NOT_WRITTEN', cause: { cause: { code: 'ENOSPC' } } });
    expect(error.message).toMatch(/step 10 .*no space left.*last checkpoint is of step 5/);
    expect(await real.list()).toEqual([5]);
  });

  test.each(['model.safetensors', 'trainer_state.json'])(
    'as the disk fills up half-way through %s leaves nothing of itself, and the one before whole',
    async (name) => {
      const path = await temporaryFolder();
      const checkpoints = folderStore(path);
      const whole = await run();
      await run({ maxSteps: 5, checkpoints });
      const fifth = readFileSync(join(path, 'checkpoint-5', name));
      // Handles of Node share a prototype: what the store writes from here on fills the disk.
      const handle = await open(join(path, 'checkpoint-5', name));
      const prototype: FileHandle = Object.getPrototypeOf(handle);
      await handle.close();
      const real = prototype.writeFile;
      let written = 0;
      const filling = vi.spyOn(prototype, 'writeFile').mockImplementation(async function (
        this: FileHandle,
        data,
      ) {
        if (files.indexOf(name) !== written++) return real.call(this, data);
        await real.call(this, (data as Uint8Array).subarray(0, 100));
        throw noSpace();
      });
      const error = await failureOf({ checkpoints, resume: true }).finally(() => filling.mockRestore());
      expect(error).toMatchObject({ code: 'FILE_NOT_WRITTEN' });
      expect(error.message).toContain('last checkpoint is of step 5');
      expect(readdirSync(path)).toEqual(['checkpoint-5']);
      expect(readFileSync(join(path, 'checkpoint-5', name)).equals(fifth)).toBe(true);
      const resumed = await run({ checkpoints, resume: true });
      expect(await valuesOf(resumed.parameters)).toEqual(await valuesOf(whole.parameters));
    },
  );

  test('as a parameter is NaN, by an update that no loss has seen, is not written', async () => {
    const checkpoints = folderStore(await temporaryFolder());
    const inner = adamW({ learningRate: 0.05 });
    // The update of step 9, just before the checkpoint.
    const optimizer: typeof inner = {
      ...inner,
      plan: (steps, names, options) => {
        const plan = inner.plan(steps, names, options);
        return steps['out.bias'] === 9 ? { ...plan, numbers: plan.numbers.fill(Number.NaN) } : plan;
      },
    };
    const error = await failureOf({ checkpoints, optimizer });
    expect(error).toMatchObject({ code: 'NAN_FOUND' });
    expect(error.message).toMatch(/holds NaN.*last checkpoint is of step 5/);
    expect(await checkpoints.list()).toEqual([5]);
  });

  test('as a schedule ends in a rate that is no number: refused before the step', async () => {
    const checkpoints = folderStore(await temporaryFolder());
    const schedule = (step: number) => ({ rateFactor: 1 / (7 - step) });
    const error = await failureOf({ checkpoints, schedule });
    expect(error).toMatchObject({ code: 'INVALID_OPTION' });
    expect(error.message).toMatch(/rateFactor.*Infinity.*last checkpoint is of step 5/);
  });

  test.each<[string, unknown]>([
    ['a number', 0.5],
    ['nothing', undefined],
    ['another name', { factor: 0.5 }],
  ])('as a schedule returns %s: refused, not ignored', async (_, returned) => {
    const schedule = (() => returned) as unknown as NonNullable<TrainOptions<Batch>['schedule']>;
    expect(await failureOf({ schedule })).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('keeps an error of the project that the store throws', async () => {
    const store: CheckpointStore = {
      ...folderStore(await temporaryFolder()),
      write: () => Promise.reject(new TopKError('UNSUPPORTED', 'no folders here')),
    };
    const trainer = {
      global_step: 1,
      seed: 0,
      loader: { epoch: 0, batch: 1 },
      evaluations_since_best: 0,
      optimizer_steps: {},
    };
    const saving = saveCheckpoint(store, { parameters, optimizer: { steps: {}, tensors: {} }, trainer });
    expect(await errorOf(saving)).toMatchObject({ code: 'UNSUPPORTED' });
  });
});

describe('a device that is lost', () => {
  type Lost = { readonly lose: () => void; readonly toy: ReturnType<typeof toyRun> };
  const places: readonly (readonly [string, (lost: Lost) => Partial<TrainOptions<Batch>>])[] = [
    [
      'in the middle of a loss',
      ({ lose, toy }) => ({
        loss: (p, batch, context) => {
          if (context.step === 12) lose();
          return toy.loss(p, batch, context);
        },
      }),
    ],
    [
      'in the step before a checkpoint, after its loss',
      ({ lose }) => {
        const inner = adamW({ learningRate: 0.05 });
        let updates = 0;
        const update: typeof inner.update = (...args) => {
          if (updates++ === 14) lose();
          return inner.update(...args);
        };
        return { optimizer: { ...inner, update } };
      },
    ],
    [
      'between two steps',
      ({ lose }) => ({
        onProgress: (done) => {
          if (done === 12) lose();
        },
      }),
    ],
  ];

  test.each(places)(
    '%s: says which checkpoint is the last, and a new device goes on from it',
    async (_, optionsOf) => {
      const whole = await run();
      const checkpoints = folderStore(await temporaryFolder());
      const { backend: losable, lose } = losableBackend(createReferenceBackend());
      const toy = toyRun(losable);
      const error = await errorOf(
        run({ parameters: toy.parameters, loss: toy.loss, checkpoints, ...optionsOf({ lose, toy }) }),
      );
      expect(error).toMatchObject({ code: 'DEVICE_LOST', cause: { code: 'DEVICE_LOST' } });
      expect(error.message).toContain('The last checkpoint is of step 10');
      expect(await checkpoints.list()).toEqual([5, 10]);
      const resumed = await run({ checkpoints, resume: true });
      expect(await valuesOf(resumed.parameters)).toEqual(await valuesOf(whole.parameters));
    },
  );

  test('before the first checkpoint: says that there is none', async () => {
    const { backend: losable, lose } = losableBackend(createReferenceBackend());
    const toy = toyRun(losable);
    const checkpoints = folderStore(await temporaryFolder());
    const onProgress = (done: number): void => {
      if (done === 2) lose();
    };
    const error = await errorOf(run({ parameters: toy.parameters, loss: toy.loss, checkpoints, onProgress }));
    expect(error).toMatchObject({ code: 'DEVICE_LOST', message: expect.stringContaining('No checkpoint') });
  });
});
