import {
  add,
  concat,
  layerNorm,
  linear,
  mul,
  narrow,
  sum,
  type Tensor,
  tensor,
  valueAndGrad,
} from '@topk-attention/core';
import { contextOf, initialize, type ParameterTree, seedsFrom } from '@topk-attention/nn';
import { describe, expect, test } from 'vitest';
import { filtered } from '../src/filters.js';
import {
  causalLuna,
  convLunaBlock,
  lunaAttention,
  lunaBlock,
  memoryEncoder,
  type TwoStreamBlock,
} from '../src/index.js';
import {
  backend,
  expectGolden,
  expectNumbers,
  goldenInput,
  goldenOutput,
  goldenParameter,
} from './support/goldens.js';
import { describeLaws, expectClose, expectSlope } from './support/laws.js';
import { randomTensor } from './support/random.js';

const zeros = (count: number): Tensor => tensor(backend, new Float64Array(count), [count]);
const names = ['pack_query', 'pack_key', 'query', 'key', 'output'];
const published: ParameterTree = Object.fromEntries(
  names.flatMap((name) => [
    [`${name}.weight`, goldenParameter(`luna_${name}`)],
    [`${name}.bias`, zeros(8)],
  ]),
);
const memory = concat([goldenParameter('memory')], 0);
const streams = {
  x: goldenInput('input'),
  memory: tensor(backend, Float64Array.from(await memory.data()), [1, 3, 8]),
};

test('the memory attends to the text, and the text to it', async () => {
  const made = lunaAttention({ width: 8, heads: 2 }).apply(contextOf(published), streams);
  await expectNumbers(made.x, goldenOutput('luna'));
  await expectNumbers(made.memory, goldenOutput('luna, packed'));
});

test('a memory of one vector gives every token the same', async () => {
  const one = { ...streams, memory: narrow(streams.memory, 1, 0, 1) };
  const { x } = lunaAttention({ width: 8, heads: 2 }).apply(contextOf(published), one);
  await expectClose(narrow(x, 1, 0, 6), narrow(x, 1, 1, 6), 13);
});

test('the block adds residuals and norms to both', async () => {
  const block = lunaBlock({ width: 8, heads: 2, hidden: 12 });
  const parameters = initialize(backend, block, 3);
  const inner = Object.fromEntries(
    Object.entries(parameters).flatMap(([name, one]) =>
      name.startsWith('attention.') ? [[name.slice(10), one]] : [],
    ),
  );
  const attended = lunaAttention({ width: 8, heads: 2 }).apply(contextOf(inner), streams);
  const ones = tensor(backend, new Float64Array(8).fill(1), [8]);
  const made = block.apply(contextOf(parameters), streams);
  await expectClose(made.memory, layerNorm(add(streams.memory, attended.memory), ones, zeros(8)));
  // The feed-forward layer is switched off by zeros.
  const off = {
    ...parameters,
    'linear2.weight': mul(parameters['linear2.weight'] as Tensor, 0),
    'linear2.bias': zeros(8),
  };
  const plain = layerNorm(add(streams.x, attended.x), ones, zeros(8));
  await expectClose(block.apply(contextOf(off), streams).x, layerNorm(plain, ones, zeros(8)));
});

const blocks: { readonly [name: string]: TwoStreamBlock } = {
  Luna: lunaBlock({ width: 8, heads: 2, hidden: 12 }),
  'Luna without ties': lunaBlock({ width: 8, heads: 2, packHeads: 4, hidden: 12, tied: false }),
  ConvLuna: convLunaBlock({ width: 8, heads: 2, hidden: 12, filter: 4 }),
  'ConvLuna by pooling': convLunaBlock({ width: 8, heads: 2, hidden: 12, pool: { width: 3, stride: 2 } }),
};

describe.each(Object.entries(blocks))('%s', (_, block) => {
  const parameters = initialize(backend, block, 4);

  test.each([30, Number.NaN])('padding is as if it were not there: times %d', async (factor) => {
    const keyLengths = tensor(backend, Int32Array.of(5), [1]);
    const padded = concat([narrow(streams.x, 1, 0, 5), mul(narrow(streams.x, 1, 5, 2), factor)], 1);
    const made = block.apply(contextOf(parameters), { ...streams, x: padded }, { keyLengths });
    const short = block.apply(contextOf(parameters), { ...streams, x: narrow(streams.x, 1, 0, 5) });
    await expectClose(narrow(made.x, 1, 0, 5), short.x);
    await expectClose(made.memory, short.memory);
  });

  test('its gradients are those of finite differences, of both streams', async () => {
    const weights = [randomTensor(backend, 1, 1, 7, 8), randomTensor(backend, 2, 1, 3, 8)] as const;
    const all = { ...parameters, x: streams.x, memory: streams.memory };
    const keyLengths = tensor(backend, Int32Array.of(6), [1]);
    const loss = (of: ParameterTree): Tensor => {
      const { x, memory: before, ...rest } = of as ParameterTree & { x: Tensor; memory: Tensor };
      const made = block.apply(contextOf(rest), { x, memory: before }, { keyLengths });
      return add(
        sum(mul(narrow(made.x, 1, 0, 6), narrow(weights[0], 1, 0, 6))),
        sum(mul(made.memory, weights[1])),
      );
    };
    const { gradients } = valueAndGrad(loss)(all);
    for (const name of Object.keys(all)) await expectSlope(loss, all, gradients, name, 5);
  });

  test('in an encoder it learns a text with dropout: a step lowers the loss', async () => {
    const encoder = memoryEncoder({ width: 8, memory: 3, blocks: [block, block] });
    const first = initialize(backend, encoder, 5);
    const lossOf = (of: ParameterTree, training: boolean): Tensor => {
      const run = training ? { training, seeds: seedsFrom(1) } : { training };
      const made = encoder.apply(contextOf(of, run), streams.x);
      const away = add(made, mul(streams.x, -0.5));
      return sum(mul(away, away));
    };
    const { gradients } = valueAndGrad((of: ParameterTree) => lossOf(of, true))(first);
    const next = Object.fromEntries(
      Object.entries(first).map(([name, one]) => [name, add(one, mul(gradients[name] as Tensor, -1e-3))]),
    );
    const [before, after] = await Promise.all([first, next].map((of) => lossOf(of, false).data()));
    expect(Number(after?.[0])).toBeLessThan(Number(before?.[0]));
    const both = encoder.encode(contextOf(first), streams.x);
    expect(both.memory.shape).toEqual([1, 3, 8]);
  });
});

describe('filters', () => {
  test('a kernel per head slides along the text', () =>
    expectNumbers(filtered(goldenInput('key'), goldenParameter('filter')), goldenOutput('filtered')));

  test('with the kernel 1 and temperatures of sqrt(d) it is Luna with its shared projections', async () => {
    const block = convLunaBlock({ width: 8, heads: 2, hidden: 12, filter: 1 });
    const root = tensor(backend, Float64Array.of(Math.log(2)), [1]);
    const parameters = {
      ...initialize(backend, block, 6),
      filter: tensor(backend, Float64Array.of(1, 1), [2, 1]),
      pack_temperature: root,
      unpack_temperature: root,
    };
    // Untied Luna whose values are the vectors themselves, and whose memory passes the output projection.
    const identity = tensor(
      backend,
      Float64Array.from({ length: 64 }, (_, at) => (at % 9 === 0 ? 1 : 0)),
      [8, 8],
    );
    const of = (name: string): Tensor => (parameters as ParameterTree)[name] as Tensor;
    const shared = (name: string, source: string): [string, Tensor][] =>
      ['weight', 'bias'].map((part) => [`${name}.${part}`, of(`${source}.${part}`)]);
    const asLuna: ParameterTree = Object.fromEntries([
      ...shared('pack_query', 'query'),
      ...shared('pack_key', 'key'),
      ...shared('query', 'query'),
      ...shared('key', 'key'),
      ...shared('output', 'output'),
      ...['pack_value', 'value'].flatMap((name): [string, Tensor][] => [
        [`${name}.weight`, identity],
        [`${name}.bias`, zeros(8)],
      ]),
    ]);
    const luna = lunaAttention({ width: 8, heads: 2, tied: false });
    const raw = luna.apply(contextOf(asLuna), streams).memory;
    const projected = linear(raw, of('output.weight'), of('output.bias'), { transposeWeight: true });
    const ones = tensor(backend, new Float64Array(8).fill(1), [8]);
    const made = block.apply(contextOf(parameters), streams);
    await expectClose(made.memory, layerNorm(add(streams.memory, projected), ones, zeros(8)));
  });
});

describe('causal Luna', () => {
  test('is means over the past of each token', () =>
    expectGolden(
      'luna, causal',
      causalLuna({ memory: 3, chunk: 3 }),
      { memory: goldenParameter('headMemory') },
      {
        causal: true,
      },
    ));

  test('in both directions it is refused', () => {
    const context = contextOf({ memory: goldenParameter('headMemory') });
    const [query, key, value] = (['query', 'key', 'value'] as const).map((role) => goldenInput(role)) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    expect(() =>
      causalLuna({ memory: 3 }).attend({ context, path: '', query, key, value, options: {} }),
    ).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
  });

  describeLaws('its laws', causalLuna({ memory: 3, chunk: 4 }), { trained: ['memory'], onlyCausal: true });
});

describe('wrong use', () => {
  const invalid = expect.objectContaining({ code: 'INVALID_OPTION' });
  const sizes = { width: 8, heads: 2, hidden: 4 };
  test.each([
    () => lunaBlock({ ...sizes, heads: 3 }),
    () => convLunaBlock({ ...sizes, filter: 0 }),
    () => convLunaBlock({ ...sizes, filter: 2, pool: { width: 2, stride: 1 } }),
    () => convLunaBlock({ ...sizes, pool: { width: 2, stride: 0 } }),
    () => memoryEncoder({ width: 8, memory: 0, blocks: [lunaBlock(sizes)] }),
    () => memoryEncoder({ width: 8, memory: 2, blocks: [] }),
    () => causalLuna({ memory: 0 }),
    () => memoryEncoder({ width: 8, memory: 2, blocks: [3 as unknown as TwoStreamBlock] }),
    () => memoryEncoder({ width: 8, memory: 2, blocks: [null as unknown as TwoStreamBlock] }),
    () =>
      memoryEncoder({ width: 8, memory: 2, blocks: [lunaBlock(sizes), lunaBlock({ ...sizes, width: 4 })] }),
    () => memoryEncoder({ width: 8, memory: 2, blocks: [convLunaBlock({ ...sizes, width: 4 })] }),
    () => memoryEncoder({ width: 8, memory: 2, blocks: [lunaAttention({ width: 4, heads: 2 })] }),
  ])('%#', (build) => {
    expect(build).toThrow(invalid);
  });

  describe.each([lunaAttention({ width: 8, heads: 2 }), lunaBlock(sizes), convLunaBlock(sizes)])(
    'inputs that a block has not, %#',
    (block) => {
      const encoder = memoryEncoder({ width: 8, memory: 2, blocks: [block] });
      const apply = (inputs: object): void => {
        block.apply(contextOf(initialize(backend, block, 1)), streams, inputs);
      };
      const encode = (inputs: object): void => {
        encoder.apply(contextOf(initialize(backend, encoder, 1)), streams.x, inputs);
      };
      test.each([apply, encode])('%#', (use) => {
        const mask = tensor(backend, new Uint8Array(49), [1, 1, 7, 7], 'bool');
        expect(() => use({ mask })).toThrow(invalid);
        expect(() => use({ keyLengths: [5] })).toThrow(invalid);
        expect(() => use({ causal: true })).toThrow(/mechanism causalLuna/);
        expect(() => use({})).not.toThrow();
      });
    },
  );

  test.each([lunaAttention, lunaBlock, convLunaBlock])('a causal block, %#', (build) => {
    const options = { width: 8, heads: 2, ...(build !== lunaAttention && { hidden: 4 }) };
    const causal = (): unknown => build({ ...options, causal: true } as unknown as typeof sizes);
    expect(causal).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(causal).toThrow(/the memory reads all tokens.*mechanism causalLuna/);
  });

  test('a text shorter than a window', () => {
    const block = convLunaBlock({ ...sizes, pool: { width: 9, stride: 1 } });
    expect(() => block.apply(contextOf(initialize(backend, block, 1)), streams)).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });
});
