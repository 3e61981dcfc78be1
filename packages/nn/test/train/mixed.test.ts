import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  cast,
  crossEntropy,
  gelu,
  layerNorm,
  matmul,
  mul,
  scope,
  sub,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  adamW,
  contextOf,
  dataLoader,
  disposeParameters,
  encoderStack,
  folderStore,
  initialize,
  type LogEntry,
  type LossScaleNumbers,
  linearSchedule,
  lossScale,
  type ParameterTree,
  sgd,
  type TrainOptions,
  train,
} from '../../src/index.js';

type Batch = readonly number[];
type Inputs = { readonly x: Tensor; readonly targets: Tensor };

const wave = (length: number, phase: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i + phase));

const numbers = async (x: Tensor): Promise<number[]> => Array.from(await x.data(), Number);

function parametersOf(backend: ReturnType<typeof createReferenceBackend>): ParameterTree {
  return {
    hidden: tensor(backend, wave(32, 1), [4, 8]),
    norm: tensor(backend, new Float32Array(8).fill(1), [8]),
    out: tensor(backend, wave(16, 3), [8, 2]),
  };
}

function optionsFor(backend: ReturnType<typeof createReferenceBackend>): TrainOptions<Batch, Inputs> {
  return {
    parameters: parametersOf(backend),
    loss: (p, { x, targets }) =>
      scope(() => {
        const hidden = p.hidden as Tensor;
        const made = gelu(layerNorm(matmul(cast(x, hidden.dtype), hidden), p.norm as Tensor));
        return crossEntropy(matmul(made, p.out as Tensor), targets);
      }),
    tensorsOf: (indices) => ({
      x: tensor(backend, Float32Array.from(indices.flatMap((i) => [...wave(4, i)])), [indices.length, 4]),
      targets: tensor(
        backend,
        Int32Array.from(indices, (i) => i % 2),
        [indices.length],
        'i32',
      ),
    }),
    data: dataLoader<number, Batch>(
      Array.from({ length: 12 }, (_, i) => i),
      { batchSize: 4, collate: (indices) => indices, shuffle: true },
    ),
    optimizer: adamW({ learningRate: 0.02 }),
    schedule: linearSchedule({ totalSteps: 40, warmupSteps: 4 }),
    maxGradNorm: 0.5,
    maxSteps: 30,
    loggingSteps: 1,
    precision: 'mixed',
  };
}

async function run(own: Partial<TrainOptions<Batch, Inputs>> = {}) {
  const backend = createReferenceBackend();
  const options = optionsFor(backend);
  const log: LogEntry[] = [];
  const before = backend.memory().live;
  const result = await train<Batch, Inputs>({ ...options, onLog: (one) => log.push(one), ...own });
  const parameters = await Promise.all(Object.values(result.parameters).map(numbers));
  const state = await Promise.all(Object.values(result.state.tensors).map(numbers));
  const average = await Promise.all(Object.values(result.average ?? {}).map(numbers));
  for (const tree of [result.parameters, result.state.tensors, result.average ?? {}]) disposeParameters(tree);
  expect(backend.memory().live).toBe(before);
  return { result, parameters, state, average, log, losses: log.map(({ loss }) => loss as number) };
}

describe('lossScale', () => {
  test('falls at once, rises after many good steps; on a device as with numbers', async () => {
    const backend = createReferenceBackend();
    const scaling = lossScale({ initScale: 8, growthInterval: 3 });
    let known: LossScaleNumbers = scaling.start;
    let state = scaling.stateOf(backend);
    const seen: number[] = [];
    for (const norm of [1, 2, Number.NaN, 1, 1, 1, Number.POSITIVE_INFINITY, 1, 1, 1, 1]) {
      const isFinite = scaling.isFinite(tensor(backend, [norm], []));
      state = scaling.next(state, isFinite);
      known = scaling.numbersAfter(known, Number.isFinite(norm));
      const read = { ...known };
      for (const name of Object.keys(known) as (keyof LossScaleNumbers)[]) {
        expect(await numbers(state[name] as Tensor)).toEqual([read[name]]);
      }
      seen.push(known.scale);
    }
    expect(seen).toEqual([8, 8, 4, 4, 4, 8, 4, 4, 4, 8, 8]);
    expect(known).toEqual({ scale: 8, goodSteps: 1, skippedSteps: 2 });
    const resumed = scaling.stateOf(backend, known);
    expect(await numbers(resumed.goodSteps)).toEqual([1]);
  });

  test('in a step written by hand, keeps a gradient that f16 would lose, and skips one that overflows', async () => {
    const backend = createReferenceBackend();
    const scaling = lossScale();
    let state = scaling.stateOf(backend);
    // d loss / d x = 1e-9, below the least f16 number; then 1e9.
    for (const [factor, isGood] of [
      [1e-9, true],
      [1e9, false],
    ] as const) {
      const x = tensor(backend, [1, 2]);
      const gradientOf = (f: (loss: Tensor) => Tensor) =>
        valueAndGrad((p: ParameterTree) =>
          scope(() => f(mul(cast(sum(cast(p.x as Tensor, 'f16')), 'f32'), factor))),
        )({ x }).gradients;
      if (isGood) expect(await numbers(gradientOf((loss) => loss).x as Tensor)).toEqual([0, 0]);
      const scaled = gradientOf((loss) => scaling.scaled(loss, state));
      const own = scaling.unscaled(scaled, state);
      const isFinite = scaling.isFinite(sum(mul(own.x as Tensor, own.x as Tensor)));
      const next = scaling.choose(isFinite, { x: sub(x, own.x as Tensor) }, { x });
      if (isGood) expect(((await numbers(own.x as Tensor))[0] as number) / 1e-9).toBeCloseTo(1, 2);
      else expect(await numbers(next.x as Tensor)).toEqual([1, 2]);
      state = scaling.next(state, isFinite);
    }
    expect(await numbers(state.scale)).toEqual([32_768]);
  });

  test('refuses what is no scale', () => {
    const bad = [{ initScale: 0 }, { growthInterval: 0.5 }, { growth: 2 } as object];
    for (const one of bad)
      expect(() => lossScale(one)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
});

describe("train with precision: 'mixed'", () => {
  test('gives the loss f16 parameters, and losses near those in f32', async () => {
    const seen = new Set<string>();
    const backend = createReferenceBackend();
    const { loss } = optionsFor(backend);
    const mixed = await run({
      loss: (p, batch, context) => {
        for (const [name, one] of Object.entries(p)) seen.add(`${name} ${one.dtype}`);
        return loss(p, batch, context);
      },
    });
    const plain = await run({ precision: 'f32' });
    expect([...seen]).toEqual(['hidden f16', 'norm f16', 'out f16']);
    expect(mixed.losses.at(-1)).toBeLessThan(0.8 * (mixed.losses[0] as number));
    for (const [at, one] of mixed.losses.entries()) {
      expect(Math.abs(one - (plain.losses[at] as number))).toBeLessThan(5e-3);
    }
    expect(mixed.losses).not.toEqual(plain.losses);
    expect(mixed.result.lossScale).toEqual({ scale: 65_536, goodSteps: 30, skippedSteps: 0 });
    expect(plain.result.lossScale).toBeUndefined();
  });

  test.each([[false], [true]])(
    'a run whose first steps overflow is one that starts later: recorded %s',
    async (recorded) => {
      // The same batch in every step, so that skipped steps change nothing else.
      const data = () =>
        dataLoader<number, Batch>([1, 2, 3, 4], {
          batchSize: 4,
          collate: (indices) => indices,
          shuffle: false,
        });
      const good = await run({
        data: data(),
        maxSteps: 12,
        recorded,
        lossScale: lossScale({ initScale: 1024 }),
      });
      const late = await run({
        data: data(),
        maxSteps: 12 + 30,
        recorded,
        lossScale: lossScale({ initScale: 2 ** 40 }),
        // Skipped ones end with the step in which the scale fits.
      });
      const skipped = late.result.lossScale?.skippedSteps as number;
      expect(skipped).toBeGreaterThan(10);
      expect(skipped).toBeLessThan(30);
      expect(Object.values(late.result.state.steps)).toEqual([42 - skipped, 42 - skipped, 42 - skipped]);
      const entries = late.log.slice(0, skipped);
      expect(entries.map((one) => one.skipped_steps)).toEqual(entries.map((_, at) => at + 1));
      expect(new Set(late.losses.slice(0, skipped)).size).toBe(1);
      // From then on it is the run without skipped steps: losses, rates and norms.
      const rest = late.log.slice(skipped, skipped + 12);
      expect(rest.map((one) => one.rate_factor)).toEqual(good.log.map((one) => one.rate_factor));
      for (const [at, { loss }] of rest.entries()) expect(loss).toBeCloseTo(good.losses[at] as number, 3);
    },
  );

  test('the numbers of a skipped step do not count, to the bit', async () => {
    // Powers of two scale without rounding: a run that skips twice ends like one that never does.
    const data = () =>
      dataLoader<number, Batch>([1, 2, 3, 4], {
        batchSize: 4,
        collate: (indices) => indices,
        shuffle: false,
      });
    const optimizer = sgd({ learningRate: 0.1, momentum: 0.9 });
    const options = { data: data(), optimizer, averageDecay: 0.75 };
    const first = await run({ ...options, maxSteps: 40, lossScale: lossScale({ initScale: 2 ** 24 }) });
    const { scale, skippedSteps } = first.result.lossScale as LossScaleNumbers;
    expect(skippedSteps).toBeGreaterThan(2);
    const same = await run({
      ...options,
      maxSteps: 40 - skippedSteps,
      lossScale: lossScale({ initScale: scale }),
    });
    expect(same.result.lossScale?.skippedSteps).toBe(0);
    expect(first.parameters).toEqual(same.parameters);
    expect(first.state).toEqual(same.state);
    expect(first.result.state.steps).toEqual(same.result.state.steps);
    expect(first.average).toHaveLength(3);
    expect(first.average).not.toEqual(first.parameters);
    expect(first.average).toEqual(same.average);
  });

  test.each([
    [false, 6],
    [true, 7],
  ])('resumes to the same bits, with the scale: recorded %s', async (recorded, at) => {
    const folder = mkdtempSync(join(tmpdir(), 'mixed-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const checkpoints = folderStore(folder);
    const own = { recorded, lossScale: lossScale({ initScale: 2 ** 22, growthInterval: 4 }), saveSteps: 100 };
    const whole = await run(own);
    expect(whole.result.lossScale?.skippedSteps).toBeGreaterThan(1);
    await run({ ...own, checkpoints, maxSteps: at });
    const resumed = await run({ ...own, checkpoints, resume: true });
    expect(resumed.parameters).toEqual(whole.parameters);
    expect(resumed.state).toEqual(whole.state);
    expect(resumed.result.lossScale).toEqual(whole.result.lossScale);
    expect(resumed.result.state.steps).toEqual(whole.result.state.steps);
    await expect(run({ ...own, checkpoints, resume: true, precision: 'f32' })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
    });
  });

  test('accumulates, freezes and clips', async () => {
    const { result, losses } = await run({
      gradientAccumulationSteps: 3,
      trainable: (name) => name !== 'norm',
      lossScale: lossScale({ initScale: 2 ** 22 }),
    });
    expect(result.lossScale?.skippedSteps).toBeGreaterThan(0);
    const done = 30 - (result.lossScale?.skippedSteps as number);
    expect(result.state.steps).toEqual({ hidden: done, norm: 0, out: done });
    expect(losses.at(-1)).toBeLessThan(losses[0] as number);
  });

  test('an optimiser that spreads another, with an update without the scale, gets unscaled gradients', async () => {
    const base = adamW({ learningRate: 0.02 });
    const update: typeof base.update = (parameters, gradients, tensors, plan, numbers) =>
      base.update(parameters, gradients, tensors, plan, numbers);
    const [plain, spread] = [
      await run({ maxSteps: 4 }),
      await run({ maxSteps: 4, optimizer: { ...base, update } }),
    ];
    expect(spread.parameters).toEqual(plain.parameters);
    expect(spread.state).toEqual(plain.state);
  });

  test('a skipped step is logged with its rate, which the next one has again', async () => {
    const { log } = await run({ lossScale: lossScale({ initScale: 2 ** 20, growthInterval: 4 }) });
    const schedule = linearSchedule({ totalSteps: 40, warmupSteps: 4 });
    let skipped = 0;
    for (const [at, one] of log.entries()) {
      const rate = schedule(at - skipped).rateFactor as number;
      expect(one).toMatchObject({ rate_factor: rate, learning_rate: 0.02 * rate });
      skipped = one.skipped_steps as number;
    }
    expect(log[3]?.skipped_steps).toBeLessThan(skipped);
  });

  test('recomputes stacks, of halves that are gone by then, with the same bits', async () => {
    const of = (recompute: boolean) => {
      const stack = encoderStack({
        layers: 2,
        width: 4,
        heads: 2,
        hidden: 8,
        dropout: 0.1,
        normFirst: true,
        recompute,
      });
      const backend = createReferenceBackend();
      return run({
        parameters: initialize(backend, stack, 5),
        tensorsOf: (indices) => ({
          x: tensor(backend, Float32Array.from(indices.flatMap((i) => [...wave(12, i)])), [
            indices.length,
            3,
            4,
          ]),
          targets: tensor(
            backend,
            Int32Array.from(indices, (i) => i % 4),
            [indices.length],
            'i32',
          ),
        }),
        loss: (p, { x, targets }, { seeds }) =>
          scope(() => {
            const y = stack.apply(contextOf(p, { training: true, seeds }), cast(x, 'f16'));
            return crossEntropy(sum(cast(y, 'f32'), { axes: [1] }), targets);
          }),
        trainable: (name) => !name.includes('linear2'),
        recorded: recompute,
        maxSteps: 4,
      });
    };
    const [kept, again] = [await of(false), await of(true)];
    expect(again.parameters).toEqual(kept.parameters);
    expect(again.losses).toEqual(kept.losses);
  });

  test('gradients that are never finite end the run, as does a loss that is not', async () => {
    const broken = (value: number) =>
      run({
        loss: (p) => scope(() => sum(mul(cast(p.out as Tensor, 'f32'), value))),
        optimizer: sgd({ learningRate: 0 }),
      });
    await expect(broken(1e30)).rejects.toMatchObject({ code: 'NAN_FOUND' });
    await expect(broken(Number.NaN)).rejects.toMatchObject({ code: 'NAN_FOUND' });
  });

  test('is refused where there is no f16', async () => {
    const backend = createReferenceBackend();
    const { capabilities } = backend;
    const limited = {
      ...backend,
      name: 'limited',
      capabilities: { ...capabilities, dtypes: ['f32', 'i32', 'bool'] as const },
    };
    const options = optionsFor(limited as typeof backend);
    await expect(train<Batch, Inputs>(options)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(
      run({ parameters: { x: tensor(backend, Uint16Array.of(0), [1], 'f16') } }),
    ).rejects.toMatchObject({
      code: 'DTYPE_MISMATCH',
    });
  });
});

describe('train with budgetBytes', () => {
  test.each([
    ['f32', false],
    ['mixed', true],
  ] as const)(
    'refuses the first step that does not fit, before it is made: %s',
    async (precision, recorded) => {
      const backend = createReferenceBackend();
      const options = { ...optionsFor(backend), precision, recorded, maxSteps: 3 };
      const run = async (budgetBytes?: number) => {
        backend.resetPeak();
        const result = await train<Batch, Inputs>({ ...options, ...(budgetBytes && { budgetBytes }) });
        disposeParameters(result.parameters);
        disposeParameters(result.state.tensors);
        return backend.memory().peak as number;
      };
      const { live } = backend.memory();
      const most = await run();
      // The plan is not above what the run holds, together with the caller's parameters and a few results.
      await run(most);
      await expect(run(most / 4)).rejects.toMatchObject({ code: 'DOES_NOT_FIT' });
      expect(backend.memory().live).toBe(live);
    },
  );

  test('refuses a later batch of other shapes, made of tensors by its loader', async () => {
    const backend = createReferenceBackend();
    const { loss, optimizer } = optionsFor(backend);
    const rows = [2, 64];
    const run = (maxSteps: number, budgetBytes: number) =>
      train<Inputs>({
        parameters: parametersOf(backend),
        loss,
        optimizer,
        data: dataLoader<number, Inputs>(rows, {
          batchSize: 1,
          shuffle: false,
          collate: ([count]) => ({
            x: tensor(backend, wave((count as number) * 4, 1), [count as number, 4]),
            targets: tensor(backend, new Int32Array(count as number), [count as number], 'i32'),
          }),
        }),
        recorded: true,
        budgetBytes,
        maxSteps,
      });
    const budget = 8192;
    await run(1, budget);
    await expect(run(2, budget)).rejects.toMatchObject({
      code: 'DOES_NOT_FIT',
      message: expect.stringContaining('step 1 '),
    });
  });
});
