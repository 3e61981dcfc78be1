import type { Scalar, Tensor as TfTensor, Variable } from '@tensorflow/tfjs-core';
import { type Tensor, tensor, topKAttention } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import { topKLayers } from '../../src/layers-entry.js';
import { largestDifference, numbers, one, type WholeTf } from './layers-tf.js';

const reference = createReferenceBackend();

/** What the layers compute. */
export function describeOutputs(tf: WholeTf): void {
  const { TopKMultiHeadAttention, TopKFeedForward, TopKTransformerBlock } = topKLayers(tf);
  type Layer = InstanceType<typeof TopKMultiHeadAttention>;
  const values = (shape: number[], seed: number): TfTensor => tf.tensor(numbers(shape, seed), shape);

  /** Weights of our own choice: the initialisers' are random. */
  const setWeights = (layer: Layer): TfTensor[] => {
    layer.setWeights(layer.getWeights().map((each, i) => tf.mul(values(each.shape, i), 0.5)));
    return layer.getWeights();
  };

  /** [B, L, D] and [D, H, K] -> [B, H, L, K], head by head: the wasm engine has no einsum. */
  const heads = (x: TfTensor, kernel: TfTensor, bias: TfTensor): TfTensor => {
    const [batch, length, dim] = x.shape as [number, number, number];
    const rows = tf.reshape(x, [batch * length, dim]);
    const one = tf.unstack(kernel, 1).map((each) => tf.reshape(tf.matMul(rows, each), [batch, length, -1]));
    return tf.add(tf.stack(one, 1), tf.expandDims(bias, 1));
  };
  /** [B, H, L, K] and [H, K, D] -> [B, L, D] */
  const merged = (attended: TfTensor, kernel: TfTensor, bias: TfTensor): TfTensor => {
    const [batch, , length, dim] = attended.shape as [number, number, number, number];
    const kernels = tf.unstack(kernel);
    const parts = tf
      .unstack(attended, 1)
      .map((each, head) => tf.matMul(tf.reshape(each, [batch * length, dim]), kernels[head] as TfTensor));
    return tf.add(tf.reshape(tf.addN(parts), [batch, length, -1]), bias);
  };

  /** Multi-head attention by plain tf ops, all scores at once; mask bool [B, 1 or H, 1 or Lq, Lk]. */
  const dense = (
    weights: TfTensor[],
    [query, value, key]: [TfTensor, TfTensor, TfTensor],
    mask?: TfTensor,
  ): TfTensor => {
    const [wq, bq, wk, bk, wv, bv, wo, bo] = weights as [
      TfTensor,
      TfTensor,
      TfTensor,
      TfTensor,
      TfTensor,
      TfTensor,
      TfTensor,
      TfTensor,
    ];
    const scores = tf.matMul(heads(query, wq, bq), heads(key, wk, bk), false, true);
    const scaled = tf.div(scores, Math.sqrt(wq.shape[2] as number));
    const seen = mask ? tf.where(mask, scaled, tf.fill(scaled.shape, -1e9)) : scaled;
    return merged(tf.matMul(tf.softmax(seen), heads(value, wv, bv)), wo, bo);
  };

  describe('TopKMultiHeadAttention', () => {
    const config = { numHeads: 2, keyDim: 3, valueDim: 5, k: 100 };
    const query = values([2, 6, 8], 31);
    const value = values([2, 9, 7], 32);
    const key = values([2, 9, 4], 33);

    test.each([
      ['self-attention', [query], [query, query, query]],
      ['query and value', [query, value], [query, value, value]],
      ['query, value and key', [query, value, key], [query, value, key]],
    ] as const)('equals dense attention where k covers all keys: %s', (_name, inputs, roles) => {
      const layer = new TopKMultiHeadAttention(config);
      layer.apply([...inputs]);
      const weights = setWeights(layer);
      expect(largestDifference(one(layer.apply([...inputs])), dense(weights, [...roles]))).toBeLessThan(1e-5);
    });

    test('has the weights of Keras, by name, order and shape', () => {
      const layer = new TopKMultiHeadAttention({ ...config, name: 'mha' });
      layer.apply([query, value, key]);
      expect(layer.weights.map((each) => [each.originalName, each.shape])).toEqual([
        ['mha/query/kernel', [8, 2, 3]],
        ['mha/query/bias', [2, 3]],
        ['mha/key/kernel', [4, 2, 3]],
        ['mha/key/bias', [2, 3]],
        ['mha/value/kernel', [7, 2, 5]],
        ['mha/value/bias', [2, 5]],
        ['mha/attention_output/kernel', [2, 5, 8]],
        ['mha/attention_output/bias', [8]],
      ]);
    });

    test.each([1, 3])('equals the reference on the same projections with k %i', async (k) => {
      const layer = new TopKMultiHeadAttention({ ...config, k, causal: true });
      layer.apply([query]);
      const [wq, bq, wk, bk, wv, bv, wo, bo] = setWeights(layer) as [
        TfTensor,
        TfTensor,
        TfTensor,
        TfTensor,
        TfTensor,
        TfTensor,
        TfTensor,
        TfTensor,
      ];
      const project = (kernel: TfTensor, bias: TfTensor): Tensor => {
        const projected = heads(query, kernel, bias);
        return tensor(reference, projected.dataSync() as Float32Array, projected.shape);
      };
      const attended = topKAttention(project(wq, bq), project(wk, bk), project(wv, bv), { k, causal: true });
      const onTf = tf.tensor((await attended.data()) as Float32Array, [...attended.shape]);
      const expected = merged(onTf, wo, bo);
      expect(largestDifference(one(layer.apply(query)), expected)).toBeLessThan(1e-5);
      expect(largestDifference(dense(layer.getWeights(), [query, query, query]), expected)).toBeGreaterThan(
        1e-2,
      );
    });

    test('has the gradients of dense attention where k covers all keys', () => {
      const layer = new TopKMultiHeadAttention(config);
      layer.apply([query, value, key]);
      const weights = setWeights(layer);
      const loss = (output: TfTensor): Scalar => tf.sum(tf.mul(output, values([2, 6, 8], 40)));
      const ofInputs = tf.grads((...inputs: TfTensor[]) => loss(one(layer.apply(inputs))));
      const expected = tf.grads((...all: TfTensor[]) =>
        loss(dense(all.slice(3), all.slice(0, 3) as [TfTensor, TfTensor, TfTensor])),
      )([query, value, key, ...weights]);
      const variables = layer.weights.map((each) => each.read() as Variable);
      const { grads } = tf.variableGrads(() => loss(one(layer.apply([query, value, key]))), variables);
      const got = [...ofInputs([query, value, key]), ...variables.map(({ name }) => grads[name] as TfTensor)];
      expect(got.length).toBe(11);
      got.forEach((each, i) => {
        expect(largestDifference(each, expected[i] as TfTensor)).toBeLessThan(1e-4);
      });
    });

    test('masks: padding, attention masks of each rank, a fourth input, lengths, causality', () => {
      const layer = new TopKMultiHeadAttention(config);
      layer.apply([query, value]);
      const weights = setWeights(layer);
      const padding = tf.tensor(
        [
          [1, 1, 1, 1, 1, 0, 0, 0, 0],
          [1, 1, 1, 1, 1, 1, 1, 1, 0],
        ],
        [2, 9],
        'bool',
      );
      const expected = dense(weights, [query, value, value], tf.reshape(padding, [2, 1, 1, 9]));
      const close = (result: unknown, wanted = expected) =>
        expect(largestDifference(one(result), wanted)).toBeLessThan(1e-5);
      close(layer.apply([query, value], { mask: [null, padding] }));
      close(layer.apply([query, value], { attentionMask: padding }));
      close(layer.apply([query, value], { attentionMask: tf.tile(tf.expandDims(padding, 1), [1, 6, 1]) }));
      close(
        layer.apply([query, value], {
          attentionMask: tf.tile(tf.reshape(padding, [2, 1, 1, 9]), [1, 2, 6, 1]),
        }),
      );
      close(layer.apply([query, value, value, tf.cast(padding, 'float32')]));
      close(layer.apply([query, value], { keyLengths: tf.tensor1d([5, 8], 'int32') }));
      value.kerasMask = padding;
      close(layer.apply([query, value]));
      delete value.kerasMask;
      const lower = tf.tensor(
        Uint8Array.from({ length: 81 }, (_, i) => Number(i % 9 <= Math.floor(i / 9))),
        [1, 1, 9, 9],
        'bool',
      );
      const self = new TopKMultiHeadAttention(config);
      self.apply(value);
      const selfWeights = setWeights(self);
      close(self.apply(value, { useCausalMask: true }), dense(selfWeights, [value, value, value], lower));
      close(
        self.apply(value, { useCausalMask: true, mask: padding }),
        dense(selfWeights, [value, value, value], tf.logicalAnd(lower, tf.reshape(padding, [2, 1, 1, 9]))),
      );
    });

    test('masks of any type and any numbers: only 0 and false hide', () => {
      const layer = new TopKMultiHeadAttention(config);
      layer.apply([query, value]);
      setWeights(layer);
      const all = new Array<number>(18).fill(1);
      const masked = (at7: number, type: 'float32' | 'int32' | 'bool'): TfTensor =>
        tf.clone(
          one(
            layer.apply([query, value], {
              attentionMask: tf.tensor(
                all.map((own, at) => (at === 7 ? at7 : own)),
                [2, 9],
                type,
              ),
              mask: [null, tf.tensor(new Uint8Array(18).fill(255), [2, 9], 'bool')],
            }),
          ),
        );
      const shown = masked(1, 'bool');
      const hidden = masked(0, 'bool');
      expect(largestDifference(shown, hidden)).toBeGreaterThan(1e-3);
      for (const number of [0.5, 1e-30, 256, 2 ** 16, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(largestDifference(masked(number, 'float32'), shown)).toBe(0);
      }
      for (const number of [2, 256, 2 ** 16, -(2 ** 31)]) {
        expect(largestDifference(masked(number, 'int32'), shown)).toBe(0);
      }
      for (const number of [2, 4, 255]) expect(largestDifference(masked(number, 'bool'), shown)).toBe(0);
      for (const type of ['float32', 'int32'] as const) {
        expect(largestDifference(masked(0, type), hidden)).toBe(0);
      }
    });

    test('a padding mask goes through a model: what is behind the padding changes nothing', () => {
      const ids = tf.input({ shape: [null], dtype: 'int32' });
      const embedded = tf.layers.embedding({ inputDim: 10, outputDim: 8, maskZero: true }).apply(ids);
      const attended = new TopKMultiHeadAttention({ numHeads: 2, keyDim: 4, k: 3 }).apply(embedded as never);
      const last = new TopKTransformerBlock({ numHeads: 2, k: 3, hiddenUnits: 16, normalizeFirst: true });
      const model = tf.model({ inputs: ids, outputs: last.apply(attended) as never });
      const long = one(model.predict(tf.tensor2d([[4, 7, 2, 9, 0, 0, 0]], [1, 7], 'int32')));
      const short = one(model.predict(tf.tensor2d([[4, 7, 2, 9]], [1, 4], 'int32')));
      expect(largestDifference(tf.slice(long, [0, 0, 0], [1, 4, 8]), short)).toBeLessThan(1e-5);
      model.dispose();
    });

    test('layers called by hand hand on their padding', () => {
      const ids = tf.tensor2d([[4, 7, 2, 9, 0, 0, 0]], [1, 7], 'int32');
      const embedded = one(tf.layers.embedding({ inputDim: 10, outputDim: 8, maskZero: true }).apply(ids));
      const block = new TopKTransformerBlock({ numHeads: 2, k: 3, hiddenUnits: 16, normalizeFirst: true });
      const long = one(block.apply(embedded));
      const short = one(block.apply(tf.slice(embedded, [0, 0, 0], [1, 4, 8])));
      expect(largestDifference(tf.slice(long, [0, 0, 0], [1, 4, 8]), short)).toBeLessThan(1e-5);
      expect(long.kerasMask?.dataSync()).toEqual(Uint8Array.from([1, 1, 1, 1, 0, 0, 0]));
      expect(one(new TopKFeedForward({ hiddenUnits: 8, k: 2 }).apply(long)).kerasMask).toBe(long.kerasMask);
    });

    test('shapes: several output dims, lengths and batch unknown', () => {
      const layer = new TopKMultiHeadAttention({ ...config, outputShape: [3, 4], useBias: false });
      expect(layer.computeOutputShape([null, null, 8])).toEqual([null, null, 3, 4]);
      expect(
        layer.computeOutputShape([
          [null, 6, 8],
          [null, null, 7],
        ]),
      ).toEqual([null, 6, 3, 4]);
      expect(one(layer.apply([query, value])).shape).toEqual([2, 6, 3, 4]);
      expect(layer.weights.length).toBe(4);
      expect(layer.countParams()).toBe(8 * 2 * 3 + 7 * 2 * 3 + 7 * 2 * 5 + 2 * 5 * 3 * 4);
    });

    test('dropout works in training only, and a seed repeats it', () => {
      const make = () => {
        const layer = new TopKMultiHeadAttention({ ...config, dropout: 0.5, seed: 7 });
        layer.apply(query);
        setWeights(layer);
        return layer;
      };
      const [first, second] = [make(), make()];
      const trained = one(first.apply(query, { training: true }));
      expect(largestDifference(trained, one(second.apply(query, { training: true })))).toBe(0);
      expect(largestDifference(trained, one(first.apply(query, { training: true })))).toBeGreaterThan(1e-3);
      expect(largestDifference(trained, one(first.apply(query)))).toBeGreaterThan(1e-3);
      expect(largestDifference(one(first.apply(query)), one(second.apply(query, { training: false })))).toBe(
        0,
      );
    });
  });

  describe('TopKFeedForward', () => {
    test.each(['relu', 'silu', 'gelu_tanh'] as const)(
      'equals two dense layers where k covers all: %s',
      (activation) => {
        const x = values([2, 5, 6], 3);
        const layer = new TopKFeedForward({ hiddenUnits: 12, units: 4, k: 12, activation });
        layer.apply(x);
        const [wIn, bIn, wOut, bOut] = setWeights(layer) as [TfTensor, TfTensor, TfTensor, TfTensor];
        const s = tf.add(tf.matMul(tf.reshape(x, [10, 6]), wIn), bIn);
        const inner = tf.mul(tf.add(s, tf.mul(tf.pow(s, 3), 0.044715)), Math.sqrt(2 / Math.PI));
        const hidden = {
          relu: () => tf.relu(s),
          silu: () => tf.mul(s, tf.sigmoid(s)),
          gelu_tanh: () => tf.mul(tf.mul(s, 0.5), tf.add(tf.tanh(inner), 1)),
        }[activation]();
        const expected = tf.reshape(tf.add(tf.matMul(hidden, wOut), bOut), [2, 5, 4]);
        expect(largestDifference(one(layer.apply(x)), expected)).toBeLessThan(1e-5);
        expect(layer.computeOutputShape([null, null, 6])).toEqual([null, null, 4]);
      },
    );

    test('keeps k hidden units per token, gated or not, on inputs of any rank', () => {
      const x = values([7, 6], 3);
      const gated = new TopKFeedForward({ hiddenUnits: 12, k: 3, gated: true, useBias: false });
      gated.apply(x);
      const [wIn, wGate, wOut] = setWeights(gated) as [TfTensor, TfTensor, TfTensor];
      const s = tf.matMul(x, wIn);
      const third = tf.slice(tf.topk(s, 3).values, [0, 2], [7, 1]);
      const kept = tf.where(tf.greaterEqual(s, third), tf.relu(s), tf.zerosLike(s));
      const expected = tf.matMul(tf.mul(kept, tf.matMul(x, wGate)), wOut);
      expect(largestDifference(one(gated.apply(x)), expected)).toBeLessThan(1e-5);
    });
  });

  test('a batch of 0 has an output of nothing, and gradients of zeros', () => {
    const nothing = tf.zeros([0, 3, 4]);
    const layers = [
      new TopKMultiHeadAttention({ numHeads: 2, keyDim: 3, k: 2, outputShape: 5 }),
      new TopKFeedForward({ hiddenUnits: 8, k: 2, units: 5, gated: true }),
      new TopKTransformerBlock({ numHeads: 2, k: 2, hiddenUnits: 8, causal: true }),
    ];
    for (const [at, layer] of layers.entries()) {
      const output = one(layer.apply(nothing));
      expect(output.shape).toEqual([0, 3, at === 2 ? 4 : 5]);
      const { grads } = tf.variableGrads(() => tf.sum(one(layer.apply(nothing))));
      const made = Object.values(grads);
      expect(made.map((gradient) => gradient.shape)).toEqual(layer.getWeights().map(({ shape }) => shape));
      expect(made.every((gradient) => gradient.dataSync().every((value) => value === 0))).toBe(true);
      expect(tf.grad((x) => tf.sum(one(layer.apply(x))))(nothing).shape).toEqual([0, 3, 4]);
    }
    const masked = new TopKMultiHeadAttention({ numHeads: 2, keyDim: 3, k: 2 });
    expect(one(masked.apply(nothing, { attentionMask: tf.zeros([0, 3]) })).shape).toEqual([0, 3, 4]);
    expect(one(layers[1]?.apply(tf.zeros([2, 0, 4]))).shape).toEqual([2, 0, 5]);
  });

  test('dropout of TopKTransformerBlock works in training only, and a seed repeats it', () => {
    const x = values([2, 5, 8], 3);
    const make = () => {
      const layer = new TopKTransformerBlock({ numHeads: 2, k: 5, hiddenUnits: 12, dropout: 0.5, seed: 7 });
      layer.apply(x);
      setWeights(layer);
      return layer;
    };
    const [first, second] = [make(), make()];
    const trained = one(first.apply(x, { training: true }));
    expect(largestDifference(trained, one(second.apply(x, { training: true })))).toBe(0);
    expect(largestDifference(trained, one(first.apply(x)))).toBeGreaterThan(1e-3);
    expect(largestDifference(one(first.apply(x)), one(second.apply(x)))).toBe(0);
  });

  test.each([true, false])('TopKTransformerBlock is its parts, normalizeFirst %s', (normalizeFirst) => {
    const x = values([2, 5, 8], 3);
    const layer = new TopKTransformerBlock({
      numHeads: 2,
      k: 5,
      hiddenUnits: 12,
      normalizeFirst,
      causal: true,
    });
    layer.apply(x);
    const weights = setWeights(layer);
    const normalize = (input: TfTensor, at: number): TfTensor => {
      const norm = tf.layers.layerNormalization({ epsilon: 1e-5 });
      norm.apply(input);
      norm.setWeights(weights.slice(at, at + 2));
      return one(norm.apply(input));
    };
    const lower = Uint8Array.from({ length: 25 }, (_, i) => Number(i % 5 <= Math.floor(i / 5)));
    const mask = tf.tensor(lower, [1, 1, 5, 5], 'bool');
    const attention = (input: TfTensor) => dense(weights.slice(0, 8), [input, input, input], mask);
    const feedForward = (input: TfTensor): TfTensor => {
      const [wIn, bIn, wOut, bOut] = weights.slice(10, 14) as [TfTensor, TfTensor, TfTensor, TfTensor];
      const hidden = tf.relu(tf.add(tf.matMul(tf.reshape(input, [10, 8]), wIn), bIn));
      return tf.reshape(tf.add(tf.matMul(hidden, wOut), bOut), [2, 5, 8]);
    };
    const half = (input: TfTensor, part: (each: TfTensor) => TfTensor, at: number) =>
      normalizeFirst ? tf.add(input, part(normalize(input, at))) : normalize(tf.add(input, part(input)), at);
    const expected = half(half(x, attention, 8), feedForward, 14);
    expect(largestDifference(one(layer.apply(x)), expected)).toBeLessThan(2e-5);
  });
}
