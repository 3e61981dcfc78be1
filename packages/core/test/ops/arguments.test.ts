import { describe, expect, test } from 'vitest';
import * as authors from '../../src/backend-entry.js';
import * as core from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const backend = createReferenceBackend();
const q = core.zeros(backend, [1, 1, 2, 2]);
const weights = { wIn: core.zeros(backend, [2, 3]), wOut: core.zeros(backend, [3, 2]) };
const x = core.zeros(backend, [2, 2]);

/** What callers in plain JavaScript can write. */
const js = { ...core, ...authors } as unknown as Record<string, (...args: unknown[]) => unknown>;
const call =
  (name: string, ...args: unknown[]) =>
  (): unknown =>
    (js[name] as (...args: unknown[]) => unknown)(...args);

function failure(run: () => unknown): core.TopKError {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(core.TopKError);
    return error as core.TopKError;
  }
  throw new Error('nothing was thrown');
}

describe('arguments that plain JavaScript lets through', () => {
  test.each([
    [
      'a misspelt option',
      ['topKAttention', q, q, q, { k: 2, casual: true }],
      'INVALID_OPTION',
      'Did you mean causal?',
    ],
    ['a word for a flag', ['topKAttention', q, q, q, { k: 2, causal: 'yes' }], 'INVALID_OPTION', "got 'yes'"],
    [
      'an array for a mask',
      ['topKAttention', q, q, q, { k: 2, mask: [1, 0] }],
      'INVALID_OPTION',
      'got an array of 2',
    ],
    [
      'a tensor for options',
      ['exactAttention', q, q, q, q],
      'INVALID_OPTION',
      'got a Tensor, f32 [1, 1, 2, 2]',
    ],
    ['no options', ['topKAttention', q, q, q], 'INVALID_K', 'got undefined'],
    ['no options of a layer', ['topKFeedForward', x, weights], 'INVALID_K', 'got undefined'],
    ['no options of a half', ['attentionForward', q, q, q], 'INVALID_K', 'got undefined'],
    [
      'k as text',
      ['topKAttention', q, q, q, { k: '4' }],
      'INVALID_K',
      "expected a positive whole number, got '4'",
    ],
    ['k as text, in a layer', ['topKFeedForward', x, weights, { k: '4' }], 'INVALID_K', "got '4'"],
    ['k as text, in topK', ['topK', x, '2'], 'INVALID_K', "got '2'"],
    ["k: 'all'", ['topKAttention', q, q, q, { k: 'all' }], 'INVALID_K', "got 'all'"],
    [
      'an unknown ranking',
      ['topKFeedForward', x, weights, { k: 1, select: 'pre-activation' }],
      'INVALID_OPTION',
      "Did you mean 'preactivation'?",
    ],
    [
      'an unknown activation',
      ['topKFeedForward', x, weights, { k: 1, activation: 'Relu' }],
      'INVALID_OPTION',
      "Did you mean 'relu'?",
    ],
    ['an unknown activation alone', ['activate', x, 'swish'], 'INVALID_OPTION', "got 'swish'"],
    [
      'a misspelt weight',
      ['topKFeedForward', x, { ...weights, bin: x }, { k: 1 }],
      'INVALID_OPTION',
      'Did you mean bIn?',
    ],
    ['a missing weight', ['topKFeedForward', x, { wIn: x }, { k: 1 }], 'INVALID_OPTION', 'bad wOut'],
    ['an array for a query', ['topKAttention', [1, 2], q, q, { k: 1 }], 'INVALID_OPTION', 'bad q'],
    ['an array for an operand', ['add', [1, 2], 3], 'INVALID_OPTION', 'got an array of 2'],
    ['text for an operand', ['mul', x, '2'], 'INVALID_OPTION', "got '2'"],
    ['nothing to multiply by', ['matmul', x], 'INVALID_OPTION', 'got undefined'],
    [
      'an option of a product',
      ['matmul', x, x, { transpose_b: true }],
      'INVALID_OPTION',
      'Did you mean transposeB?',
    ],
    ['an axis for options', ['sum', x, 1], 'INVALID_OPTION', 'got 1'],
    ['one axis', ['mean', x, { axes: 1 }], 'INVALID_OPTION', 'bad axes'],
    [
      'epsilon in an object',
      ['rmsNorm', x, core.zeros(backend, [2]), { epsilon: 1 }],
      'INVALID_OPTION',
      'bad epsilon',
    ],
    ['epsilon for a bias', ['layerNorm', x, core.zeros(backend, [2]), 1e-5], 'INVALID_OPTION', 'bad bias'],
    [
      'a budget that is no number',
      ['exactAttention', q, q, q, { budgetBytes: Number.NaN }],
      'INVALID_OPTION',
      'got NaN',
    ],
    [
      'dropout without a seed',
      ['exactAttention', q, q, q, { dropout: { rate: 0.1 } }],
      'INVALID_OPTION',
      'bad dropout.seed',
    ],
    [
      'a shape that is missing',
      ['explain', backend, { q: q.shape, k: q.shape }, { k: 1 }],
      'INVALID_OPTION',
      'bad v',
    ],
    [
      'a size that is missing',
      ['explainFeedForward', backend, { tokens: 1, hidden: 1, outputDim: 1 }, { k: 1 }],
      'INVALID_OPTION',
      'bad inputDim',
    ],
    [
      'an option of a plan',
      ['explain', backend, { q: q.shape, k: q.shape, v: q.shape }, { k: 1, train: true }],
      'INVALID_OPTION',
      'Did you mean training?',
    ],
    ['a function for a gradient', ['grad', x], 'INVALID_OPTION', 'expected a function'],
    [
      'random bits with half an offset',
      ['randomBits', backend, 1, [2], [0, 0]],
      'INVALID_OPTION',
      'bad offset',
    ],
    ['a length that is no number', ['arange', backend, '3'], 'INVALID_OPTION', "got '3'"],
  ] as const)('%s', (_, [name, ...args], code, text) => {
    const error = failure(call(name, ...args));
    expect(error.code).toBe(code);
    expect(error.message).toContain(text);
  });

  test('two instances of one backend are named as such', () => {
    const other = core.zeros(createReferenceBackend(), [2, 2]);
    expect(failure(call('add', x, other))).toMatchObject({
      code: 'MIXED_BACKENDS',
      got: 'two instances of the reference backend',
    });
  });

  test('an option that is undefined is not given', async () => {
    const given = { k: 1, causal: undefined, mask: undefined, queryChunk: undefined };
    const output = call('topKAttention', q, q, q, given)() as core.Tensor;
    expect(output.shape).toEqual([1, 1, 2, 2]);
    output.dispose();
  });
});

describe('data of a new tensor', () => {
  test.each([
    [
      'nested arrays',
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      'data.flat(), [3, 2])',
    ],
    ['arrays nested twice', [[[1], [2]]], 'data.flat(Infinity), [1, 2, 1])'],
    ['nested typed arrays', [new Float32Array(2)], 'got a Float32Array at index 0'],
    ['strings', ['1', 'b'], "got '1' at index 0"],
    ['a string later on', [1, 2, 'b'], "got 'b' at index 2"],
    ['null', [1, null], 'got null at index 1'],
    ['big integers', [1n], 'got 1n at index 0'],
    // biome-ignore lint/suspicious/noSparseArray: the hole is what is tested
    ['a hole', [1, , 3], 'got undefined at index 1'],
    ['an object', { 0: 1, length: 1 }, 'got an object'],
    ['a number', 5, 'got 5'],
    ['nothing', undefined, 'got undefined'],
    ['a tensor', x, 'got a Tensor, f32 [2, 2]'],
    ['bytes without a type', new ArrayBuffer(4), 'got an ArrayBuffer'],
    ['64-bit integers', new BigInt64Array(2), 'got a BigInt64Array'],
  ])('%s are refused', (_, data, text) => {
    const error = failure(call('tensor', backend, data));
    expect(error.code).toBe('INVALID_OPTION');
    expect(error.message).toContain(text);
  });

  test.each([
    ['a shape that is a number', [[1, 2], 2], 'SHAPE_MISMATCH'],
    ['a shape with text', [[1, 2], ['2']], 'SHAPE_MISMATCH'],
    ['an unknown dtype', [[1, 2], [2], 'float32'], 'INVALID_OPTION'],
  ])('%s', (_, args, code) => {
    expect(failure(call('tensor', backend, ...args)).code).toBe(code);
  });

  test('no backend', () => {
    expect(failure(call('tensor', [1, 2])).code).toBe('INVALID_OPTION');
    expect(failure(call('zeros', [2])).code).toBe('SHAPE_MISMATCH');
    expect(failure(call('fill', undefined, 1, [2])).code).toBe('INVALID_OPTION');
  });

  const bools = async (one: core.Tensor): Promise<number[]> => {
    expect(one.dtype).toBe('bool');
    return [...(await one.data())];
  };

  test('bool: every number but 0 is true, whatever it is made from', async () => {
    expect(await bools(core.tensor(backend, Uint8Array.of(0, 1, 2, 255)))).toEqual([0, 1, 1, 1]);
    expect(await bools(core.tensor(backend, [true, false]))).toEqual([1, 0]);
    expect(await bools(core.tensor(backend, [false, true], [2], 'bool'))).toEqual([0, 1]);
    expect(await bools(core.tensor(backend, [0, -0, 0.5, Number.NaN], [4], 'bool'))).toEqual([0, 0, 1, 1]);
    expect(await bools(core.tensor(backend, Float32Array.of(0, 2), [2], 'bool'))).toEqual([0, 1]);
    expect(await bools(core.fill(backend, 255, [2], 'bool'))).toEqual([1, 1]);
    expect(await bools(core.fill(backend, true, [1], 'bool'))).toEqual([1]);
    expect(await bools(core.fill(backend, false, [1], 'bool'))).toEqual([0]);
  });

  test('the bytes of a mask stay as they are', () => {
    const bytes = Uint8Array.of(2, 0);
    core.tensor(backend, bytes).dispose();
    expect([...bytes]).toEqual([2, 0]);
  });

  test('a mask of any bytes hides the same keys', async () => {
    const keys = core.zeros(backend, [1, 1, 4, 2]);
    const values = core.tensor(backend, [1, 2, 4, 8], [1, 1, 4, 1]);
    const attend = async (mask: core.Tensor): Promise<unknown> =>
      (await core.topKAttention(q, keys, values, { k: 4, mask }).data())[0];
    expect(await attend(core.tensor(backend, Uint8Array.of(255, 2, 0, 0), [1, 1, 1, 4]))).toBe(1.5);
    expect(await attend(core.tensor(backend, [true, true, false, false], [1, 1, 1, 4]))).toBe(1.5);
  });
});

describe('buckets of relative positions', () => {
  const bias = (buckets: number, bidirectional: boolean, maxDistance: number): (() => unknown) =>
    call('topKAttention', q, q, q, {
      k: 1,
      relativeBias: { table: core.zeros(backend, [buckets, 1]), bidirectional, maxDistance },
    });
  const bucket = (buckets: number, bidirectional: boolean, maxDistance: number): (() => unknown) =>
    call('relativePositionBucket', -3, { buckets, bidirectional, maxDistance });

  test.each([
    [2, true, 128],
    [3, true, 128],
    [32, true, 8],
    [32, true, 4],
    [1, false, 128],
    [0, false, 128],
    [32, false, 16],
    [32, false, 8],
    [2, false, 1],
    [32, true, 128.5],
    [32, true, Number.NaN],
    [32, true, Number.POSITIVE_INFINITY],
  ])('%d buckets, bidirectional %s, maxDistance %d: refused', (...setting) => {
    for (const run of [bias(...setting), bucket(...setting)]) {
      const error = failure(run);
      expect(error.code).toBe('INVALID_OPTION');
      expect(error.message).toMatch(/buckets|maxDistance/);
    }
  });

  test.each([
    [4, true, 2],
    [5, true, 2],
    [32, true, 9],
    [2, false, 2],
    [3, false, 2],
    [32, false, 17],
  ])(
    '%d buckets, bidirectional %s, maxDistance %d: every position has one',
    (buckets, bidirectional, maxDistance) => {
      (bias(buckets, bidirectional, maxDistance)() as core.Tensor).dispose();
      const options = { buckets, bidirectional, maxDistance };
      for (let position = -300; position <= 300; position++) {
        const bucket = core.relativePositionBucket(position, options);
        expect(Number.isInteger(bucket) && bucket >= 0 && bucket < buckets).toBe(true);
      }
    },
  );

  test('explain refuses what the call refuses', () => {
    const shapes = { q: q.shape, k: q.shape, v: q.shape };
    const relativeBias = { table: core.zeros(backend, [2, 1]), bidirectional: true, maxDistance: 8 };
    expect(failure(() => core.explain(backend, shapes, { k: 1, relativeBias })).code).toBe('INVALID_OPTION');
    const mask = core.zeros(backend, [1, 1, 2, 3], 'bool');
    expect(failure(() => core.explain(backend, shapes, { k: 1, mask })).code).toBe('SHAPE_MISMATCH');
  });
});
