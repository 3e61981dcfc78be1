import { matmul, mul, pullback, rmsNorm, sum, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { KeptKeys, KeptUnits, ParameterTree, Trace } from '@topk-attention/nn';
import { afterAll, describe, expect, test } from 'vitest';
import { createT5, type LayerChoices, t5Encode, t5Forward } from '../../src/index.js';
import { countedBackend } from '../support/counted-backend.js';
import { tinyConfig, tinyInputs, tinyParameters } from '../support/tiny.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const config = tinyConfig({ feed_forward_proj: 'gated-gelu' });
const parameters: ParameterTree = tinyParameters(backend, config);
const choices: LayerChoices = { attention: { k: 2 }, feedForward: { k: 3 } };
const { sources, sourceLengths } = tinyInputs;
const model = createT5(config, parameters, choices);
afterAll(() => {
  model.dispose();
  expect(backend.memory().live).toBe(0);
});

async function numbersOf(x: Tensor): Promise<number[]> {
  const values = Array.from(await x.data(), Number);
  x.dispose();
  return values;
}

const logits = (trace?: Trace): Promise<number[]> =>
  numbersOf(t5Forward(config, parameters, tinyInputs, { choices, ...(trace && { trace }) }));

const encoderPaths = [0, 1].flatMap((block) => [
  `encoder.${block}.attention`,
  `encoder.${block}.feedForward`,
  `encoder.${block}`,
]);
const decoderPaths = [0, 1].flatMap((block) => [
  `decoder.${block}.attention`,
  `decoder.${block}.crossAttention`,
  `decoder.${block}.feedForward`,
  `decoder.${block}`,
]);

/** A trace that keeps all it gets, as plain numbers once `read`. */
function recorder() {
  const paths: string[] = [];
  const kept: { path: string; tensors: { readonly [name: string]: Tensor } }[] = [];
  const add = (path: string, tensors: { readonly [name: string]: Tensor }): void => {
    paths.push(path);
    kept.push({ path, tensors });
  };
  const trace: Trace = {
    onAttention: (path, { indices, scores, weights }: KeptKeys) => add(path, { indices, scores, weights }),
    onFeedForward: (path, { indices, activations }: KeptUnits) => add(path, { indices, activations }),
    onResidual: (path, x) => add(path, { x }),
  };
  async function read(): Promise<{ path: string; shape: readonly number[]; [name: string]: unknown }[]> {
    const all = [];
    for (const { path, tensors } of kept) {
      const values: { [name: string]: number[] } = {};
      let shape: readonly number[] = [];
      for (const [name, one] of Object.entries(tensors)) {
        shape = one.shape;
        values[name] = await numbersOf(one);
      }
      all.push({ path, shape, ...values });
    }
    return all;
  }
  return { trace, paths, read };
}

describe('hooks', () => {
  test('see every layer in order, with their shapes, and change nothing', async () => {
    const plain = await logits();
    const { live } = backend.memory();
    const { trace, paths, read } = recorder();
    expect(await logits(trace)).toEqual(plain);
    expect(paths).toEqual([...encoderPaths, ...decoderPaths]);
    const shapes = Object.fromEntries((await read()).map(({ path, shape }) => [path, shape]));
    expect(shapes['encoder.0.attention']).toEqual([2, 2, 5, 2]);
    expect(shapes['decoder.1.crossAttention']).toEqual([2, 2, 4, 2]);
    expect(shapes['decoder.0.attention']).toEqual([2, 2, 4, 2]);
    expect(shapes['encoder.1.feedForward']).toEqual([2, 5, 3]);
    expect(shapes['decoder.1']).toEqual([2, 4, 6]);
    // Everything that hooks were given is freed.
    expect(backend.memory().live).toBe(live);
  });

  test('the residual stream after the last block makes the logits', async () => {
    let last: Tensor | undefined;
    const trace: Trace = {
      onResidual: (path, x) => {
        if (path === 'decoder.1') last = x;
        else x.dispose();
      },
    };
    const expected = await logits(trace);
    const x = last as unknown as Tensor;
    const normal = rmsNorm(x, parameters['decoder.final_layer_norm.weight'] as Tensor, config.epsilon);
    const scaled = mul(normal, config.dModel ** -0.5);
    const got = matmul(scaled, parameters['shared.weight'] as Tensor, { transposeB: true });
    for (const used of [x, normal, scaled]) used.dispose();
    const values = await numbersOf(got);
    for (const [at, value] of values.entries()) expect(value).toBeCloseTo(expected[at] as number, 10);
  });

  test('keys and weights obey lengths and causality, and weights add up to 1', async () => {
    const { trace, read } = recorder();
    await logits(trace);
    for (const { path, shape, indices, weights } of await read()) {
      if (!/ttention$/.test(path)) continue;
      const [, heads, queries, slots] = shape as readonly [number, number, number, number];
      const [at, w] = [indices as number[], weights as number[]];
      for (let row = 0; row < at.length / slots; row++) {
        const batch = Math.floor(row / (heads * queries));
        const query = row % queries;
        const keys = at.slice(row * slots, (row + 1) * slots).filter((key) => key >= 0);
        const reach =
          path === 'decoder.0.attention' || path === 'decoder.1.attention' ? query + 1 : sourceLengths[batch];
        expect(keys).toHaveLength(Math.min(slots, reach as number));
        for (const key of keys) expect(key).toBeLessThan(reach as number);
        expect(new Set(keys).size).toBe(keys.length);
        const total = w.slice(row * slots, (row + 1) * slots).reduce((sum, one) => sum + one, 0);
        expect(total).toBeCloseTo(1, 6);
      }
    }
  });

  test('without a hook nothing is computed or read for it', () => {
    const { backend: counted, calls } = countedBackend(createReferenceBackend());
    const own = tinyParameters(counted, config);
    const callsOf = (trace: Trace): string[] => {
      calls.length = 0;
      t5Forward(config, own, tinyInputs, { choices, trace }).dispose();
      return [...calls];
    };
    const plain = callsOf({});
    const idle = { overrideActivations: () => undefined, overrideResidual: () => undefined };
    expect(callsOf(idle)).toEqual(plain);
    for (const hook of ['onAttention', 'onFeedForward'] as const) {
      expect(callsOf({ [hook]: () => {} }).length).toBeGreaterThan(plain.length);
    }
    // Hooks are handed tensors; reading them is theirs.
    expect(callsOf(recorder().trace)).not.toContain('read');
  });

  test('decoding from a cache reports what the whole sequence does', async () => {
    const source = sources[0] as number[];
    const steps = recorder();
    const { ids } = await model.generate(source, { maxNewTokens: 3, trace: steps.trace });
    const stepped = await steps.read();
    expect(steps.paths.slice(0, 6)).toEqual(encoderPaths);
    expect(steps.paths.slice(6)).toEqual(ids.flatMap(() => decoderPaths));
    const whole = recorder();
    const fed = [[config.decoderStartId, ...ids.slice(0, -1)]];
    const made = model.logits([source], fed, { trace: whole.trace });
    made.dispose();
    for (const { path, shape, indices } of await whole.read()) {
      if (path !== 'decoder.1.crossAttention') continue;
      const own = stepped.filter((one) => one.path === path).map((one) => one.indices as number[]);
      const [, heads, queries, slots] = shape as readonly [number, number, number, number];
      for (const [step, got] of own.entries()) {
        const expected = Array.from({ length: heads }, (_, head) => {
          const start = (head * queries + step) * slots;
          return (indices as number[]).slice(start, start + slots);
        });
        expect(got).toEqual(expected.flat());
      }
      expect(own).toHaveLength(ids.length);
    }
  });

  test('work in the gradient too, where tensors outlive the recording', async () => {
    const { trace, paths, read } = recorder();
    const pulled = pullback(
      (p: ParameterTree) => t5Encode(config, p, { sources }, { choices, trace }),
      parameters,
    );
    pulled.output.dispose();
    pulled.dispose();
    expect(paths).toEqual(encoderPaths);
    expect(await read()).toHaveLength(encoderPaths.length);
  });
});

describe('overrides', () => {
  const FEED_FORWARD = 'encoder.1.feedForward';
  const only = (path: string, activations: number | Tensor, units: readonly number[]): Trace => ({
    overrideActivations: (own) => (own === path ? { units, activations } : undefined),
  });

  /** Activations of units, 0 where a token did not keep one. */
  async function activationsOf(units: readonly number[]): Promise<number[]> {
    const { trace, read } = recorder();
    await logits(trace);
    const seen = (await read()).find(({ path }) => path === FEED_FORWARD);
    const [indices, activations] = [seen?.indices as number[], seen?.activations as number[]];
    return Array.from({ length: 10 }, (_, token) =>
      units.map((unit) => {
        const slot = indices.slice(token * 3, token * 3 + 3).indexOf(unit);
        return slot === -1 ? 0 : (activations[token * 3 + slot] as number);
      }),
    ).flat();
  }

  test('of a unit by its own value changes nothing', async () => {
    const units = [0, 3, 5];
    const own = tensor(backend, Float64Array.from(await activationsOf(units)), [2, 5, 3]);
    expect(await logits(only(FEED_FORWARD, own, units))).toEqual(await logits());
    own.dispose();
  });

  test('by a function of the layer’s own activations: unchanged, changed, or of another shape', async () => {
    const units = [5, 0];
    const { live } = backend.memory();
    const by = (change: (own: Tensor) => Tensor): Trace => ({
      overrideActivations: (path) => (path === FEED_FORWARD ? { units, activations: change } : undefined),
    });
    const plain = await logits();
    expect(await logits(by((own) => own))).toEqual(plain);
    expect(await logits(by((own) => mul(own, 1)))).toEqual(plain);
    let seen: Promise<number[]> | undefined;
    const removed = by((own) => {
      seen = numbersOf(own.unscopedAlias());
      return mul(own, 0);
    });
    expect(await logits(removed)).toEqual(await logits(only(FEED_FORWARD, 0, units)));
    expect(await seen).toEqual(await activationsOf(units));
    const wrong = by((own) => sum(own));
    expect(() => logits(wrong)).toThrow(expect.objectContaining({ code: 'SHAPE_MISMATCH' }));
    expect(backend.memory().live).toBe(live);
  });

  test('of a unit by 0 removes its row from the residual stream of that block, and from no earlier one', async () => {
    const unit = 3;
    const [activations, rows] = [
      await activationsOf([unit]),
      Array.from(
        await (parameters['encoder.block.1.layer.1.DenseReluDense.wo.weight'] as Tensor).data(),
        Number,
      ),
    ];
    expect(activations.filter((one) => one !== 0).length).toBeGreaterThan(0);
    const residuals = async (trace: Trace): Promise<{ readonly [path: string]: number[] }> => {
      const { trace: hooks, read } = recorder();
      await logits({ ...trace, ...(hooks.onResidual && { onResidual: hooks.onResidual }) });
      return Object.fromEntries((await read()).map(({ path, x }) => [path, x as number[]]));
    };
    const [before, after] = [await residuals({}), await residuals(only(FEED_FORWARD, 0, [unit]))];
    expect(after['encoder.0']).toEqual(before['encoder.0']);
    for (const [at, value] of (after['encoder.1'] ?? []).entries()) {
      const [token, d] = [Math.floor(at / config.dModel), at % config.dModel];
      const removed = (activations[token] as number) * (rows[unit * config.dModel + d] as number);
      expect(value).toBeCloseTo((before['encoder.1']?.[at] as number) - removed, 10);
    }
    expect(after['decoder.0']).not.toEqual(before['decoder.0']);
  });

  test('of the residual stream take its place, and the caller keeps the tensor', async () => {
    const { trace, read } = recorder();
    await logits(trace);
    const seen = (await read()).find(({ path }) => path === 'encoder.0')?.x as number[];
    const own = tensor(backend, Float64Array.from(seen), [2, 5, 6]);
    const replace = (by: Tensor): Trace => ({
      overrideResidual: (path) => (path === 'encoder.0' ? by : undefined),
    });
    const plain = await logits();
    expect(await logits(replace(own))).toEqual(plain);
    expect(own.isDisposed).toBe(false);
    const other = mul(own, -1);
    expect(await logits(replace(other))).not.toEqual(plain);
    const doubled = await logits({ overrideResidual: (_, x) => mul(x, 2) });
    expect(doubled).not.toEqual(plain);
    const wrong = tensor(backend, [1, 2], [2]);
    expect(() => t5Encode(config, parameters, { sources }, { trace: replace(wrong) })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
    for (const used of [own, other, wrong]) used.dispose();
  });

  test('reach generation', async () => {
    const source = sources[0] as number[];
    const plain = await model.generate(source, { maxNewTokens: 1 });
    const trace: Trace = { overrideResidual: (path, x) => (path === 'decoder.1' ? mul(x, -1) : undefined) };
    const other = await model.generate(source, { maxNewTokens: 1, trace });
    expect(other.logits).not.toEqual(plain.logits);
  });
});
