import { type Tensor, tensor, zeros } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { ParameterTree } from '@topk-attention/nn';
import { afterAll, describe, expect, test } from 'vitest';
import { type CausalLM, createCausalLM, createT5, type T5 } from '../../src/index.js';
import {
  createInspector,
  type Inspection,
  type InspectOptions,
  type LayerInspection,
  type SubUpdate,
} from '../../src/inspect/index.js';
import { tinyConfig, tinyParameters } from '../support/tiny.js';
import { tinyCausalConfig, tinyCausalParameters } from '../support/tiny-causal.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
afterAll(() => expect(backend.memory().live).toBe(0));

interface Case {
  readonly model: T5 | CausalLM;
  readonly stack: 'encoder' | 'decoder';
  /** Names of the output weights of a layer, and of its bias. */
  readonly wOut: (layer: number) => string;
  readonly bOut?: (layer: number) => string;
  /** The logits of the model at the last position, with other parameters. */
  readonly withParameters: (parameters: ParameterTree) => T5 | CausalLM;
}

const t5Config = tinyConfig({ feed_forward_proj: 'gated-gelu' });
const t5Choices = { feedForward: { k: 3 } } as const;
const gpt2Config = tinyCausalConfig('gpt2');
const llamaConfig = tinyCausalConfig('llama');
const t5Weights = (stack: 'encoder' | 'decoder', sublayer: number) => (layer: number) =>
  `${stack}.block.${layer}.layer.${sublayer}.DenseReluDense.wo.weight`;
const t5Model = (parameters: ParameterTree): T5 => createT5(t5Config, parameters, t5Choices);
const gpt2Model = (parameters: ParameterTree): CausalLM => createCausalLM(gpt2Config, parameters);
const llamaModel = (parameters: ParameterTree): CausalLM =>
  createCausalLM(llamaConfig, parameters, { feedForward: { k: 4, select: 'contribution' } });

const cases: Readonly<Record<string, Case>> = {
  'decoder of a top-k T5': {
    model: t5Model(tinyParameters(backend, t5Config)),
    ...{ stack: 'decoder', wOut: t5Weights('decoder', 2), withParameters: t5Model },
  },
  'encoder of a top-k T5': {
    model: t5Model(tinyParameters(backend, t5Config)),
    ...{ stack: 'encoder', wOut: t5Weights('encoder', 1), withParameters: t5Model },
  },
  'exact GPT-2, with biases': {
    model: gpt2Model(tinyCausalParameters(backend, gpt2Config)),
    ...{ stack: 'decoder', withParameters: gpt2Model },
    wOut: (layer) => `transformer.h.${layer}.mlp.c_proj.weight`,
    bOut: (layer) => `transformer.h.${layer}.mlp.c_proj.bias`,
  },
  'top-k Llama, gated': {
    model: llamaModel(tinyCausalParameters(backend, llamaConfig)),
    ...{ stack: 'decoder', withParameters: llamaModel },
    wOut: (layer) => `model.layers.${layer}.mlp.down_proj.weight`,
  },
};
afterAll(() => {
  for (const { model } of Object.values(cases)) model.dispose();
});

const prompt = [5, 3, 9, 2];
const everything = { topTokens: 11, topUnits: 8 };

async function numbersOf(x: Tensor): Promise<number[]> {
  const values = Array.from(await x.data(), Number);
  x.dispose();
  return values;
}

/** Logits by token id. */
function logitsOf(predictions: LayerInspection['before']): number[] {
  const logits: number[] = [];
  for (const { id, logit } of predictions) logits[id] = logit;
  return logits;
}

function expectClose(got: readonly number[], expected: readonly number[], digits = 9): void {
  expect(got).toHaveLength(expected.length);
  for (const [at, value] of got.entries()) expect(value).toBeCloseTo(expected[at] as number, digits);
}

/** The residual stream after a block at the last position. */
async function residualOf(model: T5 | CausalLM, path: string, position: number): Promise<number[]> {
  let seen: Tensor | undefined;
  const trace = {
    onResidual: (own: string, x: Tensor) => {
      if (own === path) seen = x;
      else x.dispose();
    },
  };
  if (!('encode' in model)) model.logits([prompt], { trace }).dispose();
  else if (path.startsWith('encoder')) model.encode([prompt], { trace }).dispose();
  else model.logits([prompt], [[0, 4, 8]], { trace }).dispose();
  const all = await numbersOf(seen as Tensor);
  return all.slice(position * 6, (position + 1) * 6);
}

describe.each(Object.entries(cases))('%s', (_, { model, stack, wOut, bOut, withParameters }) => {
  const inspector = createInspector(model, { stack });
  const isDecoderOfT5 = 'encode' in model && stack === 'decoder';
  const options: InspectOptions = { ...everything, ...(isDecoderOfT5 && { target: [4, 8] }) };
  const layers = [0, 1];

  /** A model whose layer adds nothing: its residual stream after the block is the one before the feed-forward layer. */
  function silenced(layer: number): T5 | CausalLM {
    const names = [wOut(layer), ...(bOut === undefined ? [] : [bOut(layer)])];
    const parameters = Object.fromEntries(
      Object.entries(model.parameters).map(([name, x]) => [
        name,
        names.includes(name) ? zeros(backend, x.shape) : x.unscopedAlias(),
      ]),
    );
    return withParameters(parameters);
  }

  async function rowsOf(layer: number): Promise<number[][]> {
    const values = Array.from(await (model.parameters[wOut(layer)] as Tensor).data(), Number);
    return Array.from({ length: 8 }, (_, unit) => values.slice(unit * 6, (unit + 1) * 6));
  }

  async function biasOf(layer: number): Promise<number[]> {
    return bOut === undefined
      ? [0, 0, 0, 0, 0, 0]
      : numbersOf((model.parameters[bOut(layer)] as Tensor).alias());
  }

  test.each(layers)('the sub-updates of layer %i and its bias add up to its output', async (layer) => {
    const seen = await inspector.inspect(prompt, options);
    const path = `${stack}.${layer}`;
    const without = silenced(layer);
    const before = await residualOf(without, path, seen.position);
    without.dispose();
    const after = await residualOf(model, path, seen.position);
    const [rows, bias] = [await rowsOf(layer), await biasOf(layer)];
    const { subUpdates, active } = seen.layers[layer] as LayerInspection;
    expect(subUpdates).toHaveLength(active);
    const sum = bias.map((value, d) =>
      subUpdates.reduce(
        (total, { unit, coefficient }) => total + coefficient * (rows[unit]?.[d] as number),
        value,
      ),
    );
    expectClose(
      sum,
      after.map((value, d) => value - (before[d] as number)),
    );
    for (const { unit, coefficient, dominance } of subUpdates)
      expect(dominance).toBeCloseTo(Math.abs(coefficient) * Math.hypot(...(rows[unit] as number[])), 9);
    const sorted = subUpdates.map(({ dominance }) => dominance);
    expect(sorted).toEqual([...sorted].sort((a, b) => b - a));
  });

  test.each(layers)('before layer %i is what the stream predicts without it', async (layer) => {
    const seen = await inspector.inspect(prompt, options);
    const without = silenced(layer);
    const other = await createInspector(without, { stack }).inspect(prompt, options);
    without.dispose();
    const [own, silent] = [seen.layers[layer], other.layers[layer]] as [LayerInspection, LayerInspection];
    expectClose(logitsOf(own.before), logitsOf(silent.after));
    expect(logitsOf(own.before)).not.toEqual(logitsOf(own.after));
    expect(own.before.reduce((total, { probability }) => total + probability, 0)).toBeCloseTo(1, 9);
  });

  test('the vocabulary times the update is the sum of coefficients times projected value vectors', async () => {
    const seen = await inspector.inspect(prompt, options);
    const { subUpdates } = seen.layers[1] as LayerInspection;
    const rows = await rowsOf(1);
    const output = Array.from(
      await (
        (model.parameters['lm_head.weight'] ??
          model.parameters['shared.weight'] ??
          model.parameters['transformer.wte.weight']) as Tensor
      ).data(),
      Number,
    );
    const update = Array.from({ length: 6 }, (_, d) =>
      subUpdates.reduce(
        (total, { unit, coefficient }) => total + coefficient * (rows[unit]?.[d] as number),
        0,
      ),
    );
    const direct = Array.from({ length: 11 }, (_, id) =>
      update.reduce((total, value, d) => total + value * (output[id * 6 + d] as number), 0),
    );
    const summed = new Array<number>(11).fill(0);
    for (const own of subUpdates) {
      const { tokens, norm } = await inspector.valueVector(own, 11);
      expect(norm).toBeCloseTo(Math.hypot(...(rows[own.unit] as number[])), 9);
      for (const { id, logit } of tokens) summed[id] = (summed[id] as number) + own.coefficient * logit;
    }
    expectClose(summed, direct);
  });

  test('a coefficient that is set to its own value changes nothing', async () => {
    const seen = await inspector.inspect(prompt, options);
    const interventions = seen.layers.flatMap(({ subUpdates }) =>
      subUpdates.map((own) => ({ ...own, positions: [seen.position] })),
    );
    expect(interventions.length).toBeGreaterThan(3);
    expect((await inspector.inspect(prompt, { ...options, interventions })).layers).toEqual(seen.layers);
  });

  test('switching a unit off takes its sub-update out of that layer, and of no earlier one', async () => {
    const plain = await inspector.inspect(prompt, options);
    const { unit, coefficient } = (plain.layers[1] as LayerInspection).subUpdates[0] as SubUpdate;
    const interventions = [{ layer: 1, unit, coefficient: 0 }];
    const pair = await inspector.compare(prompt, { ...options, interventions });
    expect(pair.plain).toEqual(plain);
    expect(pair.changed.layers[0]).toEqual(plain.layers[0]);
    const [own, other] = [plain.layers[1], pair.changed.layers[1]] as [LayerInspection, LayerInspection];
    expect(other.subUpdates).toEqual(own.subUpdates.slice(1));
    expect(other.active).toBe(own.active - 1);
    expectClose(logitsOf(other.before), logitsOf(own.before));
    // The other way to the same: the stream of that layer less the row, through norm and vocabulary.
    if (stack === 'decoder') {
      const stream = await residualOf(model, `${stack}.1`, plain.position);
      const row = (await rowsOf(1))[unit] as number[];
      const less = stream.map((value, d) => value - coefficient * (row[d] as number));
      const x = tensor(backend, [...less], [1, 1, 6]);
      const replaced = await logitsAfter(model, stack, x, plain.position);
      x.dispose();
      expectClose(logitsOf(other.after), replaced);
    }
    // Nothing stays behind in the model.
    expect(await inspector.inspect(prompt, options)).toEqual(plain);
  });

  test.each([1e9, 1e20])('a coefficient of %d leaves what comes before its layer', async (coefficient) => {
    const interventions = [{ layer: 1, unit: 2, coefficient }];
    const { plain, changed } = await inspector.compare(prompt, { ...options, interventions });
    const [own, other] = [plain.layers[1], changed.layers[1]] as [LayerInspection, LayerInspection];
    expect(other.before).toEqual(own.before);
    expect(other.after).not.toEqual(own.after);
  });

  test('several units are set at once, one that is not kept too, at chosen positions alone', async () => {
    const at = (position: number, interventions?: InspectOptions['interventions']): Promise<Inspection> =>
      inspector.inspect(prompt, { ...options, position, ...(interventions && { interventions }) });
    const [first, last] = [await at(0), await at(-1)];
    const kept = new Set(last.layers[0]?.subUpdates.map(({ unit }) => unit));
    const missing = [0, 1, 2, 3, 4, 5, 6, 7].find((unit) => !kept.has(unit)) ?? 7;
    const off = [...kept].find((unit) => unit !== missing) as number;
    const interventions = [
      { layer: 0, unit: missing, coefficient: 9, positions: [-1] },
      { layer: 0, unit: missing, coefficient: 3, positions: [-1] },
      { layer: 0, unit: off, coefficient: 0, positions: [last.position] },
      { layer: 1, unit: 2, coefficient: -1.5 },
    ];
    const changed = await at(-1, interventions);
    const set = changed.layers.map(
      ({ subUpdates }) => new Map(subUpdates.map((own) => [own.unit, own.coefficient])),
    );
    expect(set[0]?.get(missing)).toBe(3);
    expect(set[0]?.has(off)).toBe(false);
    expect(set[1]?.get(2)).toBe(-1.5);
    // What comes before a layer is what its own sub-updates are added to, changed or not.
    expectClose(
      logitsOf((changed.layers[0] as LayerInspection).before),
      logitsOf((last.layers[0] as LayerInspection).before),
    );
    expect((await at(0, interventions)).layers[0]).toEqual(first.layers[0]);
  });
});

/** Logits of the model when the stream after the last block is `x` at the position. */
async function logitsAfter(
  model: T5 | CausalLM,
  stack: string,
  x: Tensor,
  position: number,
): Promise<number[]> {
  const stream = Array.from(await x.data(), Number);
  const overrideResidual = (path: string, own: Tensor): Tensor | undefined => {
    if (path !== `${stack}.1`) return undefined;
    const length = own.shape[1] as number;
    return tensor(backend, Array.from({ length }, () => stream).flat(), own.shape);
  };
  const trace = { overrideResidual };
  const logits =
    'encode' in model ? model.logits([prompt], [[0, 4, 8]], { trace }) : model.logits([prompt], { trace });
  const all = await numbersOf(logits);
  return all.slice(position * 11, (position + 1) * 11);
}
