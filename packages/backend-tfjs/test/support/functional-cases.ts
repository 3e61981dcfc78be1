import { createRequire } from 'node:module';
import type * as tfCore from '@tensorflow/tfjs-core';
import { type AttentionOptions, type Tensor, TopKError, tensor } from '@topk-attention/core';
import {
  attentionBackward,
  attentionForward,
  feedForwardBackward,
  feedForwardForward,
} from '@topk-attention/core/backend';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  exactAttention,
  type TfAttentionOptions,
  type TfFeedForwardWeights,
  topKAttention,
  topKFeedForward,
} from '../../src/layers-entry.js';

type Tf = typeof tfCore;
type TfTensor = tfCore.Tensor;

const reference = createReferenceBackend({ floatStorage: 'f64' });
const minusInfinity = Number.NEGATIVE_INFINITY;

/** Values in -1.3 to 1.3 that repeat nowhere, so that no two scores tie. */
const numbers = (shape: readonly number[], seed: number): Float32Array =>
  Float32Array.from(
    { length: shape.reduce((product, extent) => product * extent, 1) },
    (_, i) => Math.sin(1.7 * i + 12.9 * seed) * 1.3,
  );

/** Largest difference relative to the size of what is expected. */
async function expectClose(got: TfTensor, expected: Tensor | TfTensor, tolerance = 2e-5): Promise<void> {
  expect(got.shape).toEqual(expected.shape);
  const values = await got.data();
  const wanted = await expected.data();
  const scale = Math.max(1, ...Array.from(wanted as Iterable<number>, Math.abs));
  const off = Array.from(values, (one, i) => Math.abs(one - (wanted[i] as number)));
  expect(Math.max(...off) / scale).toBeLessThan(tolerance);
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof TopKError) return error.code;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** A second TensorFlow.js of the same process with an engine and tensors of its own, as a second copy in a bundle. */
function anotherTf(tf: Tf, engine: string): Tf {
  const require = createRequire(import.meta.url);
  const file = require.resolve('@tensorflow/tfjs-core');
  const namespace = globalThis as { _tfengine?: unknown };
  const { _tfengine: own } = namespace;
  const loaded = require.cache[file];
  try {
    delete namespace._tfengine;
    delete require.cache[file];
    const other = require(file) as Tf;
    // Under its own name the engine's kernels, which all copies of tf share, would be set up for this one alone.
    other.registerBackend('another', tf.findBackendFactory(engine) as () => tfCore.KernelBackend);
    return other;
  } finally {
    namespace._tfengine = own;
    if (loaded) require.cache[file] = loaded;
  }
}

/** The functional API on whatever engine `tf` runs. */
export function describeFunctional(tf: Tf): void {
  const values = (shape: number[], seed: number): TfTensor => tf.tensor(numbers(shape, seed), shape);
  const onReference = (one: TfTensor): Tensor =>
    tensor(
      reference,
      one.dtype === 'bool'
        ? Uint8Array.from(one.dataSync())
        : one.dtype === 'int32'
          ? Int32Array.from(one.dataSync())
          : Float64Array.from(one.dataSync()),
      one.shape,
      one.dtype === 'bool' ? 'bool' : one.dtype === 'int32' ? 'i32' : 'f32',
    );
  const attentionOnReference = (options: TfAttentionOptions): AttentionOptions => {
    const { mask, keyLengths, bias, relativeBias, ...plain } = options;
    return {
      ...plain,
      ...(mask && { mask: onReference(mask) }),
      ...(keyLengths && { keyLengths: onReference(keyLengths) }),
      ...(bias && { bias: onReference(bias) }),
      ...(relativeBias && { relativeBias: { ...relativeBias, table: onReference(relativeBias.table) } }),
    };
  };

  const [B, H, Hkv, Lq, Lk, D, Dv] = [2, 4, 2, 5, 9, 4, 3];
  const q = values([B, H, Lq, D], 1);
  const k = values([B, Hkv, Lk, D], 2);
  const v = values([B, Hkv, Lk, Dv], 3);
  const cotangent = values([B, H, Lq, Dv], 4);
  const bias = values([1, H, Lq, Lk], 5);
  const hiding = tf.tidy(() =>
    tf.where(
      tf.less(values([B, 1, Lq, Lk], 6), -0.9),
      tf.fill([B, 1, Lq, Lk], minusInfinity),
      tf.zeros([B, 1, Lq, Lk]),
    ),
  );
  const table = values([8, H], 7);
  const mask = tf.tidy(() => tf.greater(values([B, 1, Lq, Lk], 8), -0.6));
  const keyLengths = tf.tensor1d([9, 4], 'int32');
  const relativeBias = { table, bidirectional: true, maxDistance: 16 };

  const calls: readonly (readonly [string, TfAttentionOptions])[] = [
    ['plain, grouped heads', {}],
    ['causal, in chunks', { causal: true, queryChunk: 2, scale: 1 }],
    ['mask and key lengths', { mask, keyLengths }],
    ['bias and relative bias', { bias, relativeBias }],
    ['relative bias alone', { relativeBias }],
    ['a bias that hides keys', { bias: hiding, causal: true }],
    ['causal, queries placed among the keys', { causal: true, queryStart: 2, relativeBias }],
    ['dropout', { dropout: { rate: 0.3, seed: 7 }, bias }],
  ];

  describe.each(calls)('attention: %s', (_, options) => {
    test.each([3, 64, 'all'] as const)(
      'k %s: value and gradients are those of the reference',
      async (kept) => {
        const run = (queries: TfTensor, keys: TfTensor, v_: TfTensor, given: TfAttentionOptions): TfTensor =>
          kept === 'all'
            ? exactAttention(tf, queries, keys, v_, given)
            : topKAttention(tf, queries, keys, v_, { ...given, k: kept });
        const extras = [options.bias, options.relativeBias?.table].filter((one) => one !== undefined);
        const f = (queries: TfTensor, keys: TfTensor, v_: TfTensor, ...rest: TfTensor[]): TfTensor => {
          const more = [...rest];
          const withBias = options.bias && { bias: more.shift() as TfTensor };
          const withTable = options.relativeBias && {
            relativeBias: { ...options.relativeBias, table: more.shift() as TfTensor },
          };
          const output = run(queries, keys, v_, { ...options, ...withBias, ...withTable });
          return tf.sum(tf.mul(output, cotangent));
        };
        const gradients = tf.grads(f)([q, k, v, ...extras]);

        const [queries, keys, v_] = [q, k, v].map(onReference) as [Tensor, Tensor, Tensor];
        const coreOptions = { ...attentionOnReference(options), k: kept };
        const forward = attentionForward(queries, keys, v_, coreOptions);
        const wanted = attentionBackward(queries, keys, v_, coreOptions, forward, onReference(cotangent));
        await expectClose(run(q, k, v, options), forward.output);
        const expected = [wanted.q, wanted.k, wanted.v, wanted.bias, wanted.relativeTable];
        const present = expected.filter((one) => one !== undefined);
        expect(gradients).toHaveLength(present.length);
        for (const [index, one] of present.entries()) await expectClose(gradients[index] as TfTensor, one);
      },
    );
  });

  test('with every key kept it is the attention of tf.matMul and tf.softmax, gradients too', async () => {
    const [queries, keys, v_] = [values([2, 2, 6, 4], 1), values([2, 2, 7, 4], 2), values([2, 2, 7, 3], 3)];
    const dense = (a: TfTensor, b: TfTensor, c: TfTensor): TfTensor =>
      tf.matMul(tf.softmax(tf.mul(tf.matMul(a, b, false, true), 0.5)), c);
    const loss = (attention: typeof dense) => (a: TfTensor, b: TfTensor, c: TfTensor) =>
      tf.sum(tf.square(attention(a, b, c)));
    const expected = tf.grads(loss(dense))([queries, keys, v_]);
    for (const kept of [7, 100]) {
      const ours = (a: TfTensor, b: TfTensor, c: TfTensor): TfTensor =>
        topKAttention(tf, a, b, c, { k: kept });
      await expectClose(ours(queries, keys, v_), dense(queries, keys, v_));
      const got = tf.grads(loss(ours))([queries, keys, v_]);
      for (const index of [0, 1, 2]) await expectClose(got[index] as TfTensor, expected[index] as TfTensor);
    }
  });

  test('gradients agree with finite differences', async () => {
    const inputs = [q, k, v, bias, table];
    const f = (...given: TfTensor[]): TfTensor => {
      const [queries, keys, v_, b, t] = given as [TfTensor, TfTensor, TfTensor, TfTensor, TfTensor];
      const options = { k: 3, bias: b, relativeBias: { ...relativeBias, table: t } };
      return tf.sum(tf.mul(topKAttention(tf, queries, keys, v_, options), cotangent));
    };
    const gradients = tf.grads(f)(inputs);
    for (const [index, input] of inputs.entries()) {
      const direction = values(input.shape, 20 + index);
      const moved = (by: number): number =>
        f(
          ...inputs.map((one, at) => (at === index ? tf.add(one, tf.mul(direction, by)) : one)),
        ).dataSync()[0] ?? 0;
      const step = 2 ** -9; // in f32 the differences agree to about 1e-3
      const expected = (moved(step) - moved(-step)) / (2 * step);
      const got = tf.sum(tf.mul(gradients[index] as TfTensor, direction)).dataSync()[0] ?? 0;
      expect(Math.abs(got - expected)).toBeLessThan(4e-3 * Math.max(1, Math.abs(expected)));
    }
  });

  test('self-attention: one tensor as query, key and value gets the sum of their gradients', async () => {
    const x = values([1, 2, 6, 4], 9);
    const f = (a: TfTensor, b: TfTensor, c: TfTensor): TfTensor =>
      tf.sum(tf.square(topKAttention(tf, a, b, c, { k: 2 })));
    const together = tf.grad((one) => f(one, one, one))(x);
    const apart = tf.grads(f)([x, tf.clone(x), tf.clone(x)]);
    await expectClose(together, tf.addN(apart));
  });

  test('returnIndices gives the kept keys, also while a gradient is taken', async () => {
    const shared = { k: 3, causal: true } as const;
    const options = { ...shared, returnIndices: true } as const;
    const expected = attentionForward(onReference(q), onReference(k), onReference(v), shared);
    const { output, indices } = topKAttention(tf, q, k, v, options);
    await expectClose(output, expected.output);
    expect(indices.dtype).toBe('int32');
    expect([...(await indices.data())]).toEqual([...((await expected.indices?.data()) ?? [])]);
    let under: number[] = [];
    tf.grad((queries) => {
      const result = topKAttention(tf, queries, k, v, options);
      under = [...result.indices.dataSync()];
      return tf.sum(result.output);
    })(q);
    expect(under).toEqual([...(await indices.data())]);
  });

  const feedForwards: readonly (readonly [string, object, (keyof TfFeedForwardWeights)[]])[] = [
    ['relu', { k: 4 }, ['wIn', 'bIn', 'wOut', 'bOut']],
    ['gelu without biases', { k: 5, activation: 'gelu' }, ['wIn', 'wOut']],
    [
      'gated, by contribution',
      { k: 3, activation: 'silu', select: 'contribution' },
      ['wIn', 'wGate', 'wOut', 'bOut'],
    ],
    ['all units', { k: 99, activation: 'gelu_tanh', tokenChunk: 4 }, ['wIn', 'bIn', 'wOut', 'bOut']],
  ];
  test.each(feedForwards)(
    'feed-forward, %s: value and gradients are those of the reference',
    async (_, given, roles) => {
      const options = given as Parameters<typeof topKFeedForward>[3];
      const all = {
        wIn: values([5, 11], 12),
        bIn: values([11], 13),
        wGate: values([5, 11], 14),
        wOut: values([11, 6], 15),
        bOut: values([6], 16),
      };
      const x = values([2, 4, 5], 11);
      const dOutput = values([2, 4, 6], 17);
      const named = (list: readonly TfTensor[]): TfFeedForwardWeights =>
        Object.fromEntries(roles.map((role, at) => [role, list[at]])) as unknown as TfFeedForwardWeights;
      const weights = roles.map((role) => all[role]);
      const output = topKFeedForward(tf, x, named(weights), options);
      const gradients = tf.grads((one: TfTensor, ...rest: TfTensor[]) =>
        tf.sum(tf.mul(topKFeedForward(tf, one, named(rest), options), dOutput)),
      )([x, ...weights]);

      const flat = onReference(tf.reshape(x, [8, 5]));
      const onRef = Object.fromEntries(roles.map((role) => [role, onReference(all[role])])) as Record<
        string,
        Tensor
      >;
      const refWeights = onRef as unknown as Parameters<typeof feedForwardForward>[1];
      const forward = feedForwardForward(flat, refWeights, options);
      const wanted = feedForwardBackward(
        flat,
        refWeights,
        options,
        forward.kept,
        onReference(tf.reshape(dOutput, [8, 6])),
      );
      expect(output.shape).toEqual([2, 4, 6]);
      await expectClose(tf.reshape(output, [8, 6]), forward.output);
      await expectClose(tf.reshape(gradients[0] as TfTensor, [8, 5]), wanted.x);
      for (const [at, role] of roles.entries()) {
        await expectClose(gradients[at + 1] as TfTensor, wanted[role] as Tensor);
      }
    },
  );

  test('a batch of 0, and no tokens, give nothing, with gradients of zeros', () => {
    const none = tf.zeros([0, H, Lq, D]);
    const { output, indices } = topKAttention(tf, none, none, none, {
      k: 2,
      causal: true,
      returnIndices: true,
    });
    expect([output.shape, indices.shape]).toEqual([
      [0, H, Lq, D],
      [0, H, Lq, 2],
    ]);
    expect(exactAttention(tf, none, none, none).shape).toEqual([0, H, Lq, D]);
    const weights = { wIn: tf.ones([D, 6]), wOut: tf.ones([6, 3]) };
    expect(topKFeedForward(tf, tf.zeros([0, D]), weights, { k: 2 }).shape).toEqual([0, 3]);
    expect(topKFeedForward(tf, tf.zeros([2, 0, D]), weights, { k: 2 }).shape).toEqual([2, 0, 3]);
    const ofAttention = tf.grads((a, b) =>
      tf.sum(topKAttention(tf, a as TfTensor, b as TfTensor, none, { k: 2 })),
    );
    expect(ofAttention([none, none]).map(({ shape }) => shape)).toEqual([none.shape, none.shape]);
    const ofLayer = tf.grads((x, wIn) =>
      tf.sum(topKFeedForward(tf, x as TfTensor, { ...weights, wIn: wIn as TfTensor }, { k: 2 })),
    );
    const [x, wIn] = ofLayer([tf.zeros([0, D]), weights.wIn]) as [TfTensor, TfTensor];
    expect(x.shape).toEqual([0, D]);
    expect([...wIn.dataSync()]).toEqual(new Array(6 * D).fill(0));
  });

  test('a mask of other bytes than 0 and 1: what is not 0 keeps', async () => {
    const bytes = Uint8Array.from(
      mask.dataSync(),
      (byte, at) => (byte === 0 ? 0 : [1, 2, 4, 255][at % 4]) as number,
    );
    const other = tf.tensor(bytes, mask.shape, 'bool');
    for (const call of [
      (own: TfTensor) => topKAttention(tf, q, k, v, { k: 3, mask: own }),
      (own: TfTensor) => exactAttention(tf, q, k, v, { mask: own }),
    ]) {
      expect([...call(other).dataSync()]).toEqual([...call(mask).dataSync()]);
    }
    expect([...other.dataSync()]).toEqual([...bytes]);
  });

  test('results are ordinary tensors: tidy frees them, the caller may dispose of them', () => {
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      topKAttention(tf, q, k, v, { k: 3, mask });
    });
    expect(tf.memory().numTensors).toBe(before);
    const returned = tf.tidy(() => topKAttention(tf, q, k, v, { k: 3 }));
    expect(returned.isDisposed).toBe(false);
    expect(tf.memory().numTensors).toBe(before + 1);
    returned.dispose();
    const { output, indices } = topKAttention(tf, q, k, v, { k: 3, returnIndices: true });
    expect(tf.memory().numTensors).toBe(before + 2);
    tf.dispose([output, indices]);
    expect(tf.memory().numTensors).toBe(before);
    expect([q, k, v, mask].some((one) => one.isDisposed)).toBe(false);
  });

  test('the tape keeps 8 k bytes per query and head, and nothing of the size of the scores', () => {
    const [heads, length, kept] = [2, 64, 4];
    const [a, b, c] = [1, 2, 3].map((seed) => values([1, heads, length, 8], seed)) as [
      TfTensor,
      TfTensor,
      TfTensor,
    ];
    const hidden = tf.ones([1, 1, length, length], 'bool');
    // tf.memory() counts the bytes of every tensor, also where tensors share data, as what the tape saves of the inputs
    // does with the inputs: so those go off, and the buffers are counted too.
    const saved = (
      inputs: readonly TfTensor[],
      constants: readonly TfTensor[],
      f: (...given: TfTensor[]) => TfTensor,
    ) => {
      const shared = inputs.reduce((sum, one) => sum + one.size * 4, 0);
      const mask = constants.reduce((sum, one) => sum + one.size, 0);
      const found = { bytes: 0, buffers: 0 };
      const gradients = tf.grads((...given: TfTensor[]) => {
        const before = tf.memory();
        const output = f(...given);
        const now = tf.memory();
        found.bytes = now.numBytes - before.numBytes - output.size * 4 - shared - mask;
        found.buffers = now.numDataBuffers - before.numDataBuffers;
        return tf.sum(output);
      });
      // Twice: on wasm a first product of a width keeps a vector of zeros.
      for (const _ of [1, 2]) tf.dispose(gradients([...inputs]));
      return found;
    };
    const ofAttention = saved([a, b, c], [hidden], (...given) => {
      const [x, y, z] = given as [TfTensor, TfTensor, TfTensor];
      return topKAttention(tf, x, y, z, { k: kept, mask: hidden });
    });
    // Output, indices, scores. tf's wasm engine copies whatever a tape saves, also for tf's own ops.
    const buffers = (inputs: number): number => (tf.getBackend() === 'wasm' ? 3 + inputs : 3);
    expect(ofAttention).toEqual({ bytes: 8 * kept * heads * length, buffers: buffers(4) });

    const [x, wIn, wOut] = [values([length, 8], 4), values([8, 32], 5), values([32, 8], 6)];
    const ofFeedForward = saved([x, wIn, wOut], [], (...given) => {
      const [one, first, second] = given as [TfTensor, TfTensor, TfTensor];
      return topKFeedForward(tf, one, { wIn: first, wOut: second }, { k: kept });
    });
    expect(ofFeedForward).toEqual({ bytes: 8 * kept * length, buffers: buffers(3) });
    tf.dispose([a, b, c, hidden, x, wIn, wOut]);
  });

  test('a thousand calls leave nothing behind', () => {
    const small = [values([1, 1, 2, 2], 1), values([1, 1, 3, 2], 2), values([1, 1, 3, 2], 3)];
    const [a, b, c] = small as [TfTensor, TfTensor, TfTensor];
    const weights = { wIn: values([2, 4], 4), wOut: values([4, 2], 5) };
    const gradients = tf.grads((...given: TfTensor[]) => {
      const [x, y, z] = given as [TfTensor, TfTensor, TfTensor];
      const attended = topKAttention(tf, x, y, z, { k: 2 });
      return tf.sum(topKFeedForward(tf, attended, weights, { k: 2 }));
    });
    const turn = (): void => {
      topKAttention(tf, a, b, c, { k: 2 }).dispose();
      tf.dispose(
        topKAttention(tf, a, b, c, { k: 2, returnIndices: true }) as unknown as tfCore.TensorContainer,
      );
      exactAttention(tf, a, b, c).dispose();
      topKFeedForward(tf, a, weights, { k: 2 }).dispose();
      tf.dispose(gradients(small));
    };
    turn();
    const { numTensors, numBytes, numDataBuffers } = tf.memory();
    for (let i = 0; i < 200; i++) turn(); // five calls each
    expect(tf.memory()).toMatchObject({ numTensors, numBytes, numDataBuffers });
    tf.dispose([...small, weights.wIn, weights.wOut]);
  });

  test('optimizer.minimize trains a model made of both', () => {
    const [length, width, hidden] = [8, 6, 16];
    const x = values([4, 1, length, width], 31);
    // What is to be learned: each position's neighbour to the left.
    const target = tf.tidy(() =>
      tf.concat([tf.zeros([4, 1, 1, width]), tf.slice(x, [0, 0, 0, 0], [4, 1, length - 1, width])], 2),
    );
    const position = values([1, 1, length, width], 32);
    const variable = (shape: number[], seed: number): tfCore.Variable =>
      tf.variable(tf.mul(values(shape, seed), 0.4));
    const weights = {
      q: variable([width, width], 33),
      k: variable([width, width], 34),
      v: variable([width, width], 35),
      wIn: variable([width, hidden], 36),
      bIn: variable([hidden], 37),
      wOut: variable([hidden, width], 38),
    };
    const optimizer = tf.train.adam(0.03);
    const project = (one: TfTensor, weight: TfTensor): TfTensor =>
      tf.reshape(tf.matMul(tf.reshape(one, [-1, width]), weight), one.shape);
    const loss = (): tfCore.Scalar => {
      const placed = tf.add(x, position);
      const attended = topKAttention(
        tf,
        project(placed, weights.q),
        project(placed, weights.k),
        project(x, weights.v),
        { k: 3, causal: true },
      );
      const { wIn, bIn, wOut } = weights;
      const output = topKFeedForward(tf, attended, { wIn, bIn, wOut }, { k: 8, activation: 'gelu' });
      return tf.mean(tf.square(tf.sub(tf.add(output, attended), target)));
    };
    const step = (): number =>
      tf.tidy(() => (optimizer.minimize(loss, true) as tfCore.Scalar).dataSync()[0] ?? Number.NaN);
    const first = step();
    const { numTensors } = tf.memory();
    let last = first;
    for (let i = 0; i < 80; i++) last = step();
    expect(tf.memory().numTensors).toBe(numTensors);
    expect(last).toBeLessThan(first / 3);
    const { grads } = tf.variableGrads(loss);
    expect(Object.keys(grads)).toHaveLength(Object.keys(weights).length);
    optimizer.dispose();
    tf.disposeVariables();
  });

  describe('errors', () => {
    const nothing = undefined as unknown as TfTensor;
    const disposed = values([B, Hkv, Lk, D], 2);
    disposed.dispose();
    test.each<readonly [string, string, () => unknown]>([
      ['no tf', 'MISSING_PEER', () => topKAttention(nothing as unknown as Tf, q, k, v, { k: 2 })],
      ['something else as tf', 'INVALID_OPTION', () => topKAttention({} as unknown as Tf, q, k, v, { k: 2 })],
      [
        'numbers as a tensor',
        'INVALID_OPTION',
        () => topKAttention(tf, [1, 2] as unknown as TfTensor, k, v, { k: 2 }),
      ],
      ['nothing as a tensor', 'INVALID_OPTION', () => topKAttention(tf, q, nothing, v, { k: 2 })],
      [
        'a tensor of core',
        'INVALID_OPTION',
        () => topKAttention(tf, onReference(q) as unknown as TfTensor, k, v, { k: 2 }),
      ],
      ['a disposed tensor', 'DISPOSED', () => topKAttention(tf, q, disposed, v, { k: 2 })],
      ['a disposed mask', 'DISPOSED', () => topKAttention(tf, q, k, v, { k: 2, mask: disposed })],
      ['integers', 'DTYPE_MISMATCH', () => topKAttention(tf, tf.cast(q, 'int32'), k, v, { k: 2 })],
      ['strings', 'DTYPE_MISMATCH', () => topKAttention(tf, tf.tensor(['a']), k, v, { k: 2 })],
      ['a float mask', 'DTYPE_MISMATCH', () => topKAttention(tf, q, k, v, { k: 2, mask: bias })],
      ['three dims', 'RANK_MISMATCH', () => topKAttention(tf, tf.reshape(q, [B * H, Lq, D]), k, v, { k: 2 })],
      ['heads that do not fit', 'SHAPE_MISMATCH', () => topKAttention(tf, k, q, v, { k: 2 })],
      ['no k', 'INVALID_K', () => topKAttention(tf, q, k, v, {} as { k: number })],
      ['k of 0', 'INVALID_K', () => topKAttention(tf, q, k, v, { k: 0 })],
      [
        'a budget that is too small',
        'DOES_NOT_FIT',
        () => topKAttention(tf, q, k, v, { k: 2, budgetBytes: 8 }),
      ],
      [
        'a vector of tokens',
        'RANK_MISMATCH',
        () => topKFeedForward(tf, tf.reshape(cotangent, [-1]), { wIn: table, wOut: table }, { k: 2 }),
      ],
      [
        'weights that do not fit',
        'SHAPE_MISMATCH',
        () => topKFeedForward(tf, q, { wIn: table, wOut: table }, { k: 2 }),
      ],
      ['no options', 'INVALID_K', () => topKAttention(tf, q, k, v, nothing as never)],
      ["k 'all'", 'INVALID_K', () => topKAttention(tf, q, k, v, { k: 'all' as never })],
      ['k as a word', 'INVALID_K', () => topKAttention(tf, q, k, v, { k: '2' as never })],
      [
        'a misspelt option',
        'INVALID_OPTION',
        () => topKAttention(tf, q, k, v, { k: 2, casual: true } as never),
      ],
      ['causal as a word', 'INVALID_OPTION', () => exactAttention(tf, q, k, v, { causal: 'no' as never })],
      ['k of exact attention', 'INVALID_OPTION', () => exactAttention(tf, q, k, v, { k: 2 } as never)],
      [
        'a relative bias without a table',
        'INVALID_OPTION',
        () =>
          topKAttention(tf, q, k, v, {
            k: 2,
            relativeBias: { bidirectional: true, maxDistance: 9 } as never,
          }),
      ],
      [
        'an unknown activation',
        'INVALID_OPTION',
        () => topKFeedForward(tf, q, { wIn: table, wOut: table }, { k: 2, activation: 'Relu' as never }),
      ],
      [
        'a misspelt weight',
        'INVALID_OPTION',
        () => topKFeedForward(tf, q, { wIn: table, wOut: table, bias: table } as never, { k: 2 }),
      ],
      ['no weights', 'INVALID_OPTION', () => topKFeedForward(tf, q, nothing as never, { k: 2 })],
      [
        'feed-forward without k',
        'INVALID_K',
        () => topKFeedForward(tf, q, { wIn: table, wOut: table }, {} as never),
      ],
      ['no weight', 'INVALID_OPTION', () => topKFeedForward(tf, q, { wIn: nothing, wOut: table }, { k: 2 })],
    ])('%s: %s', (_, code, run) => {
      expect(codeOf(run)).toBe(code);
      if (code !== 'DOES_NOT_FIT')
        expect(codeOf(() => tf.grad(() => tf.sum(run() as TfTensor))(q))).toBe(code);
    });

    test('a tensor on another engine of this tf, or of another TensorFlow.js: MIXED_BACKENDS', async () => {
      const here = tf.getBackend();
      tf.registerBackend('elsewhere', tf.findBackendFactory(here));
      await tf.setBackend('elsewhere');
      const away = values([B, Hkv, Lk, D], 2);
      await tf.setBackend(here);
      expect(codeOf(() => topKAttention(tf, q, away, v, { k: 2 }))).toBe('MIXED_BACKENDS');
      expect(codeOf(() => topKAttention(tf, q, k, v, { k: 2, bias: away }))).toBe('MIXED_BACKENDS');
      tf.removeBackend('elsewhere');

      const other = anotherTf(tf, here);
      await other.ready();
      const foreign = other.tensor(numbers(k.shape, 2), k.shape as [number]);
      expect(foreign).toBeInstanceOf(tf.Tensor); // as tf sees it
      expect(codeOf(() => exactAttention(tf, q, foreign, v))).toBe('MIXED_BACKENDS');
    });

    test('they leave no tensors behind', () => {
      const before = tf.memory().numTensors;
      expect(codeOf(() => topKAttention(tf, q, k, v, { k: 0 }))).toBe('INVALID_K');
      expect(codeOf(() => topKAttention(tf, q, k, v, { k: 2, mask: bias }))).toBe('DTYPE_MISMATCH');
      expect(tf.memory().numTensors).toBe(before);
    });

    test('gradients of gradients are refused, not wrong', () => {
      const first = (x: TfTensor): TfTensor =>
        tf.grad((one) => tf.sum(tf.square(topKAttention(tf, one, k, v, { k: 2 }))))(x);
      expect(codeOf(() => tf.grad((x) => tf.sum(tf.square(first(x))))(q))).toBe('NOT_DIFFERENTIABLE');
      // A gradient that is only used, not differentiated, is none of their business.
      const used = tf.grad((x) => tf.sum(tf.mul(x, 2)))(first(q));
      expect(used.shape).toEqual(q.shape);
    });
  });
}
