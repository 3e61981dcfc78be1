import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mul, type Tensor, tensor } from '@topk-attention/core';
import { thoroughAvailability } from '@topk-attention/vitest-preset';
import { afterAll, describe, expect, test, vi } from 'vitest';
import {
  adafactor,
  adamW,
  dataLoader,
  disposeParameters,
  folderStore,
  type LogEntry,
  type ParameterTree,
  reduceOnPlateau,
  saveCheckpoint,
  sgd,
  type TrainOptions,
  train,
} from '../../src/index.js';
import { valuesOf } from '../support/tensors.js';
// @ts-expect-error plain JavaScript, as a child process runs it too
import { points, toyRun } from '../support/toy-run.mjs';

type Batch = { readonly x: readonly number[]; readonly targets: readonly number[] };

const { backend, parameters, collate, loss, plainLoss, logitsOf } = toyRun();
const made: string[] = [];
const folder = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'train-'));
  made.push(path);
  return path;
};
afterAll(() => {
  for (const path of made) rmSync(path, { recursive: true, force: true });
});

const loader = (batchSize = 8) =>
  dataLoader<unknown, Batch>(points, { batchSize, collate, shuffle: true, seed: 1 });
const run = (options: Partial<TrainOptions<Batch>> = {}) =>
  train<Batch>({
    parameters,
    loss,
    data: loader(),
    optimizer: adamW({ learningRate: 0.05 }),
    maxSteps: 30,
    ...options,
  });
const failure = async (running: Promise<unknown>): Promise<{ code?: string; message?: string }> =>
  running.then(
    () => ({ message: 'nothing' }),
    (error) => error,
  );

async function accuracy(p: ParameterTree): Promise<number> {
  const { x, targets } = collate(points) as Batch;
  const logits = [...(await (logitsOf(p, x, targets.length) as Tensor).data())];
  const right = targets.filter(
    (target, i) => (logits[2 * i + 1] as number) > (logits[2 * i] as number) === (target === 1),
  );
  return right.length / targets.length;
}

test('the time of a step is without that of evaluations and checkpoints', async () => {
  let clock = 0;
  const now = vi.spyOn(performance, 'now').mockImplementation(() => clock);
  const times: number[] = [];
  try {
    await run({
      maxSteps: 4,
      loggingSteps: 2,
      // Half a millisecond for a step, a second for all else.
      loss: (p, batch, context) => {
        clock += 0.5;
        return loss(p, batch, context);
      },
      evaluate: async () => {
        clock += 1000;
        return { loss: 1 };
      },
      checkpoints: {
        ...folderStore(folder()),
        list: async () => [],
        write: async () => {
          clock += 1000;
        },
      },
      evalSteps: 1,
      saveSteps: 1,
      onLog: ({ step_ms: time }) => time !== undefined && times.push(time),
    });
  } finally {
    now.mockRestore();
  }
  expect(times).toEqual([0.5, 0.5]);
});

test('learns, and logs what it does', async () => {
  const entries: LogEntry[] = [];
  const progress: number[] = [];
  const result = await run({
    maxSteps: 120,
    evaluate: async (p) => ({ loss: 1 - (await accuracy(p)), accuracy: await accuracy(p) }),
    evalSteps: 60,
    onLog: (entry) => entries.push(entry),
    onProgress: (done) => progress.push(done),
  });
  expect(await accuracy(parameters)).toBeLessThan(0.75);
  expect(await accuracy(result.parameters)).toBeGreaterThan(0.9);
  expect(progress).toEqual(Array.from({ length: 120 }, (_, i) => i + 1));
  const losses = entries.flatMap(({ loss: one }) => one ?? []);
  expect(losses).toHaveLength(12);
  expect(losses.at(-1)).toBeLessThan(0.6 * (losses[0] as number));
  expect(entries.filter((entry) => 'eval_accuracy' in entry).map(({ step }) => step)).toEqual([60, 120]);
  expect(entries.find(({ step }) => step === 10)).toMatchObject({
    epoch: 10 / 12,
    rate_factor: 1,
    grad_norm: expect.any(Number),
    live_bytes: expect.any(Number),
  });
  expect(result).toMatchObject({ steps: 120, bestStep: expect.any(Number) });
});

test('logs the learning rate, from the schedule and the step', async () => {
  const ratesOf = async (own: Partial<TrainOptions<Batch>>) => {
    const entries: LogEntry[] = [];
    const evaluate = async () => ({ loss: 1 });
    await run({ maxSteps: 3, loggingSteps: 1, evaluate, ...own, onLog: (one) => entries.push(one) });
    expect(entries.filter((one) => 'eval_loss' in one)).toEqual([{ step: 3, epoch: 3 / 12, eval_loss: 1 }]);
    return entries.filter((one) => 'loss' in one).map((one) => one.learning_rate);
  };
  const schedule = (step: number) => ({ rateFactor: 2 ** -step });
  expect(await ratesOf({ schedule })).toEqual([0.05, 0.025, 0.0125]);
  const warmup = await ratesOf({ optimizer: adafactor({ warmupInit: true }) });
  expect(warmup).toEqual([1e-6, 2e-6, 3e-6].map((rate) => expect.closeTo(rate, 12)));
  const checkpoints = folderStore(folder());
  await run({ checkpoints, maxSteps: 1, schedule });
  expect(await ratesOf({ checkpoints, resume: true, schedule })).toEqual([0.025, 0.0125]);
});

test('an optimiser that does not say its rate is logged without one', async () => {
  const { learningRate: _, ...own } = sgd({ learningRate: 0.1 });
  const entries: LogEntry[] = [];
  await run({ maxSteps: 2, loggingSteps: 1, optimizer: own, onLog: (one) => entries.push(one) });
  expect(entries.map((one) => one.rate_factor)).toEqual([1, 1]);
  for (const one of entries) expect(one).not.toHaveProperty('learning_rate');
});

test('nothing is left over on the backend', async () => {
  const before = backend.memory().live;
  const { parameters: after, state } = await run({ maxGradNorm: 1, gradientAccumulationSteps: 2 });
  disposeParameters(after);
  disposeParameters(state.tensors);
  expect(backend.memory().live).toBe(before);
});

test('four batches of 8 make the step of one of 32', async () => {
  const plain = { loss: plainLoss, maxSteps: 3, optimizer: sgd({ learningRate: 0.1 }) };
  const small = await run({ ...plain, gradientAccumulationSteps: 4 });
  const large = await run({ ...plain, data: loader(32) });
  const [a, b] = [await valuesOf(small.parameters), await valuesOf(large.parameters)];
  for (const [name, values] of Object.entries(a)) {
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(b[name]?.[i] as number, 6);
  }
});

test('micro-batches count by their weight', async () => {
  // All weight on the first two examples of a batch, as where the other targets are left out.
  const weightOf = ({ targets }: Batch): number => targets.length;
  const uneven = dataLoader<unknown, Batch>(points.slice(0, 12), { batchSize: 8, collate });
  const whole = dataLoader<unknown, Batch>(points.slice(0, 12), { batchSize: 12, collate });
  const plain = { loss: plainLoss, maxSteps: 1, optimizer: sgd({ learningRate: 0.1 }) };
  const parts = await run({ ...plain, data: uneven, gradientAccumulationSteps: 2, weightOf });
  const once = await run({ ...plain, data: whole });
  const [a, b] = [await valuesOf(parts.parameters), await valuesOf(once.parameters)];
  for (const [name, values] of Object.entries(a)) {
    for (const [i, value] of values.entries()) expect(value).toBeCloseTo(b[name]?.[i] as number, 6);
  }
});

test('frozen parameters stay as they are', async () => {
  const { parameters: after } = await run({ trainable: (name) => name.startsWith('out.') });
  const [was, is] = [await valuesOf(parameters), await valuesOf(after)];
  expect(is['hidden.weight']).toEqual(was['hidden.weight']);
  expect(is['out.weight']).not.toEqual(was['out.weight']);
});

test('keeps an average of the parameters, evaluates it, and returns it with frozen ones', async () => {
  const before = backend.memory().live;
  const trainable = (name: string): boolean => name !== 'hidden.bias';
  const seen = async (own: Partial<TrainOptions<Batch>>) => {
    const steps: { [name: string]: readonly number[] }[] = [];
    const evaluate = async (p: ParameterTree) => ({ loss: steps.push(await valuesOf(p)) });
    const result = await run({ trainable, maxSteps: 6, evaluate, evalSteps: 1, ...own });
    const last = result.average && (await valuesOf(result.average));
    for (const tree of [result.parameters, result.state.tensors, result.average ?? {}])
      disposeParameters(tree);
    return { steps, last };
  };
  const plain = await seen({});
  const { steps, last } = await seen({ averageDecay: 0.75 });
  expect(plain.last).toBeUndefined();
  expect(steps[0]).toEqual(plain.steps[0]);
  expect(last).toEqual(steps.at(-1));
  for (const name of Object.keys(parameters)) {
    let wanted = [...(plain.steps[0]?.[name] ?? [])];
    for (const [at, step] of plain.steps.entries()) {
      if (at > 0) wanted = wanted.map((one, i) => 0.75 * one + 0.25 * (step[name]?.[i] as number));
      for (const [i, one] of wanted.entries()) expect(steps[at]?.[name]?.[i]).toBeCloseTo(one, 6);
    }
  }
  expect(last?.['out.weight']).not.toEqual(plain.steps.at(-1)?.['out.weight']);
  expect(last?.['hidden.bias']).toEqual((await valuesOf(parameters))['hidden.bias']);
  expect(backend.memory().live).toBe(before);
  expect(await failure(run({ averageDecay: 1 }))).toMatchObject({ code: 'INVALID_OPTION' });
});

describe('a run that stops and resumes', () => {
  const options = { maxSteps: 23, maxGradNorm: 1, saveSteps: 5 };

  test('ends with the bits of one that did not', async () => {
    const whole = await run(options);
    const checkpoints = folderStore(folder());
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === 13) controller.abort();
    };
    const error = await failure(run({ ...options, checkpoints, signal: controller.signal, onProgress }));
    expect(error).toMatchObject({ code: 'ABORTED', message: expect.stringContaining('resume: true') });
    expect(await checkpoints.list()).toEqual([5, 10, 13]);
    const resumed = await run({ ...options, checkpoints, resume: true });
    expect(await valuesOf(resumed.parameters)).toEqual(await valuesOf(whole.parameters));
    expect(await valuesOf(resumed.state.tensors)).toEqual(await valuesOf(whole.state.tensors));
    expect(resumed.state.steps).toEqual(whole.state.steps);
  });

  test('hears a timer, on a backend that never waits for a device', async () => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), 40);
    const error = await failure(run({ maxSteps: 20_000, signal: controller.signal }));
    clearTimeout(timer);
    expect(error).toMatchObject({ code: 'ABORTED' });
  });

  test.each([4, 5, 7, 11])('with a plateau, stopped after step %i', async (at) => {
    const scores: { readonly [step: number]: number } = { 2: 3, 4: 4, 6: 4, 8: 2, 10: 5, 12: 5 };
    const resultOf = async (own: Partial<TrainOptions<Batch>>, from = 0) => {
      let evaluations = from;
      const rates: unknown[] = [];
      const result = await run({
        ...{ maxSteps: 12, evalSteps: 2, loggingSteps: 1, saveSteps: 100, greaterIsBetter: false },
        schedule: () => ({ rateFactor: 0.5 }),
        plateau: reduceOnPlateau({ factor: 0.5, patience: 1 }),
        evaluate: async () => ({ loss: scores[2 * ++evaluations] as number }),
        onLog: ({ rate_factor: rate }) => rate !== undefined && rates.push(rate),
        ...own,
      });
      return { rates, values: await valuesOf(result.parameters) };
    };
    const whole = await resultOf({});
    expect(whole.rates).toEqual([...Array(6).fill(0.5), ...Array(6).fill(0.25)]);
    const checkpoints = folderStore(folder());
    const controller = new AbortController();
    const onProgress = (done: number): void => {
      if (done === at) controller.abort();
    };
    await failure(resultOf({ checkpoints, signal: controller.signal, onProgress }));
    const resumed = await resultOf({ checkpoints, resume: true }, Math.floor(at / 2));
    expect(resumed).toEqual({ rates: whole.rates.slice(at), values: whole.values });
    expect(await failure(run({ checkpoints, resume: true }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await failure(run({ plateau: reduceOnPlateau() }))).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('makes no step more where it had stopped early', async () => {
    const checkpoints = folderStore(folder());
    const worse = { evaluate: async () => ({ loss: 1 }), evalSteps: 2, earlyStopping: { patience: 1 } };
    const stopped = await run({ ...options, ...worse, checkpoints });
    expect(stopped.steps).toBe(4);
    const resumed = await run({ ...options, ...worse, checkpoints, resume: true });
    expect(resumed).toMatchObject({ steps: 4, bestStep: 2, bestMetric: 1 });
    expect(await valuesOf(resumed.parameters)).toEqual(await valuesOf(stopped.parameters));
  });

  test('needs parameters of f32', async () => {
    const table = tensor(backend, Int32Array.of(1), [1], 'i32');
    const checkpoints = folderStore(folder());
    const error = await failure(run({ ...options, checkpoints, parameters: { ...parameters, table } }));
    expect(error).toMatchObject({ code: 'DTYPE_MISMATCH', message: expect.stringContaining('table') });
  });

  test('is not begun again by accident', async () => {
    const checkpoints = folderStore(folder());
    await run({ ...options, checkpoints });
    expect(await failure(run({ ...options, checkpoints }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await failure(run({ ...options, checkpoints, resume: true, seed: 7 }))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('seed 42'),
    });
    expect(await failure(run({ ...options, checkpoints, resume: true, averageDecay: 0.9 }))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('expected averageDecay 0.9, got no averageDecay'),
    });
    const other = { ...parameters, extra: tensor(backend, [1]) };
    expect(await failure(run({ ...options, checkpoints, resume: true, parameters: other }))).toMatchObject({
      code: 'MISSING_WEIGHT',
    });
  });

  test('keeps the newest checkpoints and the best', async () => {
    const checkpoints = folderStore(folder());
    const scores = [3, 1, 2, 2, 2];
    const evaluate = async () => ({ loss: scores.shift() as number });
    const result = await run({ ...options, checkpoints, saveTotalLimit: 1, evaluate, evalSteps: 5 });
    expect(result).toMatchObject({ bestStep: 10, bestMetric: 1 });
    expect(await checkpoints.list()).toEqual([10, 23]);
  });

  test.each([
    ['trainer_state.json', 'FILE_CORRUPT'],
    ['model.safetensors', 'FILE_TRUNCATED'],
    ['optimizer.safetensors', 'FILE_TRUNCATED'],
  ])('says which file is cut off: %s', async (name, code) => {
    const path = folder();
    const checkpoints = folderStore(path);
    await run({ ...options, maxSteps: 5, checkpoints });
    const file = join(path, 'checkpoint-5', name);
    truncateSync(file, Math.floor(readFileSync(file).length * 0.7));
    const before = backend.memory().live;
    const error = await failure(run({ ...options, checkpoints, resume: true }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(name) });
    expect(backend.memory().live).toBe(before);
  });

  test('leaves alone what a process left that died while it wrote', async () => {
    const path = folder();
    const checkpoints = folderStore(path);
    await run({ ...options, maxSteps: 5, checkpoints });
    writeFileSync(join(path, 'notes.txt'), 'mine');
    // A checkpoint that never was: it has no name of one.
    const half = join(path, 'checkpoint-9.abc.tmp');
    writeFileSync(half, 'half');
    expect(await checkpoints.list()).toEqual([5]);
    await run({ ...options, maxSteps: 7, checkpoints, resume: true });
    expect(readdirSync(path).sort()).toEqual(['checkpoint-5', 'checkpoint-7', 'notes.txt']);
  });
});

test('tensors that cannot be read are one error, however many', async () => {
  const gone = Object.fromEntries(['a', 'b', 'c'].map((name) => [name, tensor(backend, [1])]));
  disposeParameters(gone);
  const trainer = {
    global_step: 1,
    seed: 0,
    loader: { epoch: 0, batch: 1 },
    evaluations_since_best: 0,
    optimizer_steps: {},
  };
  const store = folderStore(folder());
  const saving = saveCheckpoint(store, { parameters: gone, optimizer: { steps: {}, tensors: {} }, trainer });
  expect(await failure(saving)).toMatchObject({ code: 'DISPOSED' });
  expect(await store.list()).toEqual([]);
});

/** Walks through eleven places, nearly twice; in the fast lane through four of them. */
const kills = thoroughAvailability().available ? 20 : 4;

test(`a run that is killed ${kills} times ends with the bits of one that was not`, async () => {
  const child = fileURLToPath(new URL('../support/toy-child.mjs', import.meta.url));
  const startIn = (path: string) =>
    spawn(process.execPath, [child, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = (one: ReturnType<typeof startIn>): Promise<number | null> =>
    new Promise((resolve) => one.on('close', (code) => resolve(code)));
  const undisturbed = folder();
  expect(await ended(startIn(undisturbed))).toBe(0);
  const path = folder();
  for (let kill = 0; kill < kills; kill++) {
    const one = startIn(path);
    // After a number of steps of its own that walks through all places between two checkpoints.
    let left = 1 + ((kill * 7) % 11);
    one.stdout.on('data', (text: Buffer) => {
      left -= text.toString().split('\n').length - 1;
      if (left <= 0) one.kill('SIGKILL');
    });
    await ended(one);
  }
  expect(await ended(startIn(path))).toBe(0);
  const files = ['model.safetensors', 'optimizer.safetensors', 'average.safetensors', 'trainer_state.json'];
  for (const name of files) {
    const [a, b] = [undisturbed, path].map((one) => readFileSync(join(one, 'checkpoint-60', name)));
    expect(a?.equals(b as Buffer), name).toBe(true);
  }
});

describe('stops', () => {
  test('at a loss that is not finite, with step, place and parameter, before it is saved', async () => {
    const checkpoints = folderStore(folder());
    const bad: TrainOptions<Batch>['loss'] = (p, batch, context) =>
      context.step === 7 ? mul(loss(p, batch, context), Number.NaN) : loss(p, batch, context);
    const before = backend.memory().live;
    const error = await failure(run({ loss: bad, checkpoints, saveSteps: 5 }));
    expect(error).toMatchObject({
      code: 'NAN_FOUND',
      message: expect.stringMatching(/step 7 .*hidden\.weight.*epoch 0, batch 7/),
    });
    expect(await checkpoints.list()).toEqual([5]);
    expect(backend.memory().live).toBe(before);
  });

  test('early, when nothing gets better', async () => {
    const scores = [1, 2, 3, 0, 5, 5, 5, 5];
    const evaluate = async () => ({ accuracy: scores.shift() as number });
    const result = await run({
      maxSteps: 100,
      evaluate,
      evalSteps: 3,
      metricForBest: 'accuracy',
      greaterIsBetter: true,
      earlyStopping: { patience: 2 },
    });
    // 5 at step 15 is the best; 18 and 21 are not better.
    expect(result).toMatchObject({ steps: 21, bestStep: 15, bestMetric: 5 });
  });

  test('at a metric that is no number', async () => {
    const nan = { evaluate: async () => ({ loss: Number.NaN }), evalSteps: 2 };
    expect(await failure(run(nan))).toMatchObject({ code: 'NAN_FOUND' });
    const endless = { evaluate: async () => ({ loss: Number.POSITIVE_INFINITY }), evalSteps: 2 };
    expect(await failure(run(endless))).toMatchObject({ code: 'NAN_FOUND' });
    const other = { evaluate: async () => ({ accuracy: 1 }), evalSteps: 2 };
    expect(await failure(run(other))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining('accuracy'),
    });
  });

  test('at a batch without targets', async () => {
    expect(await failure(run({ weightOf: () => 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
  });

  test('at a weight that is none', async () => {
    const weights = [4, -1];
    const weightOf = () => weights.shift() as number;
    const error = await failure(run({ gradientAccumulationSteps: 2, weightOf }));
    expect(error).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringContaining('weightOf') });
  });

  test.each(['init', 'plan', 'update'] as const)(
    'at an optimiser whose %s fails, and frees all',
    async (name) => {
      const optimizer = {
        ...sgd({ momentum: 0.9 }),
        [name]: () => {
          throw new Error('broken');
        },
      };
      const before = backend.memory().live;
      expect(await failure(run({ optimizer, maxGradNorm: 1 }))).toMatchObject({ message: 'broken' });
      expect(backend.memory().live).toBe(before);
    },
  );

  test('with its data closed, at the end and at an error', async () => {
    let closed = 0;
    const inner = loader();
    const data: typeof inner = {
      ...inner,
      async *batches(from) {
        try {
          return yield* inner.batches(from);
        } finally {
          closed++;
        }
      },
    };
    await run({ data, maxSteps: 2 });
    expect(closed).toBe(1);
    await failure(run({ data, evaluate: () => Promise.reject(new Error('broken')), evalSteps: 1 }));
    expect(closed).toBe(2);
  });

  test('at data that cannot be read, with its error', async () => {
    const dataset = { length: 9, get: () => Promise.reject(new Error('unreadable')) };
    const data = dataLoader<unknown, Batch>(dataset, { batchSize: 3, collate });
    expect(await failure(run({ data }))).toMatchObject({ message: 'unreadable' });
  });

  test.each<[string, Partial<TrainOptions<Batch>>]>([
    ['half a step', { maxSteps: 1.5 }],
    ['no steps between entries', { loggingSteps: 0 }],
    ['early stopping without evaluation', { earlyStopping: { patience: 1 } }],
    ['nothing to train', { trainable: () => false }],
    ['a norm of 0', { maxGradNorm: 0 }],
    ['more micro-batches than seeds', { gradientAccumulationSteps: 1025 }],
    ['a negative threshold', { earlyStopping: { patience: 1, threshold: -1 }, evaluate: async () => ({}) }],
    ['to resume from nowhere', { resume: true }],
    ['a parameter that is none', { parameters: { x: 1 } as never }],
    ['a misspelt option', { max_steps: 1 } as never],
    ['examples in place of a loader', { data: [1, 2] as never }],
    ['an optimiser that was not made', { optimizer: adamW as never }],
    ['a folder in place of a store', { checkpoints: 'runs' as never }],
    ['parameters in place of a layer', { redraw: {} as never }],
  ])('%s: refused', async (_, options) => {
    expect(await failure(run(options))).toMatchObject({ code: 'INVALID_OPTION' });
  });
});
