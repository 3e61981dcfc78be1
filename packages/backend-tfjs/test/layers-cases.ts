import type { io, Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { type Tensor, TopKError, tensor, topKAttention } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, expectTypeOf, test } from 'vitest';
import { topKLayers } from '../src/index.js';
import type { WholeTf } from './layers-tf.js';

const reference = createReferenceBackend();

/** Values in -1 to 1 that repeat nowhere, so that no two scores tie. */
const numbers = (shape: readonly number[], seed: number): Float32Array =>
  Float32Array.from({ length: shape.reduce((product, extent) => product * extent, 1) }, (_, i) =>
    Math.sin(1.7 * i + 12.9 * seed),
  );

function largestDifference(a: TfTensor, b: TfTensor): number {
  expect(a.shape).toEqual(b.shape);
  const [left, right] = [a.dataSync(), b.dataSync()];
  return Math.max(...Array.from(left, (one, i) => Math.abs(one - (right[i] as number))));
}

function thrownBy(run: () => unknown): TopKError {
  try {
    run();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

/** The Keras-style layers on whatever engine `tf` runs. */
export function describeLayers(tf: WholeTf): void {
  const layers = topKLayers(tf);
  const { TopKMultiHeadAttention, TopKFeedForward, TopKTransformerBlock } = layers;
  type Layer = InstanceType<typeof TopKMultiHeadAttention>;
  const values = (shape: number[], seed: number): TfTensor => tf.tensor(numbers(shape, seed), shape);
  const one = (result: unknown): TfTensor => result as TfTensor;

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

  test('a model is saved and loaded whole, with equal outputs and configs', async () => {
    const make = () => {
      const x = tf.input({ shape: [null, 8] });
      const memory = tf.input({ shape: [null, 6] });
      const block = new TopKTransformerBlock({
        name: 'block',
        numHeads: 2,
        keyDim: 3,
        k: 3,
        hiddenUnits: 16,
        feedForwardK: 4,
        activation: 'gelu_tanh',
        select: 'contribution',
        gated: true,
        dropout: 0.1,
        causal: true,
        normalizeFirst: true,
        layerNormEpsilon: 1e-6,
      }).apply(x);
      const cross = new TopKMultiHeadAttention({
        numHeads: 2,
        keyDim: 4,
        valueDim: 3,
        k: 2,
        outputShape: 8,
        kernelInitializer: 'heNormal',
        kernelRegularizer: tf.regularizers.l2({ l2: 0.01 }),
        biasConstraint: 'nonNeg',
        seed: 3,
      }).apply([block as never, memory]);
      const out = new TopKFeedForward({ hiddenUnits: 16, k: 5, units: 3, activation: 'silu' }).apply(
        cross as never,
      );
      return tf.model({ inputs: [x, memory], outputs: out as never });
    };
    const model = make();
    const inputs = [values([2, 5, 8], 1), values([2, 7, 6], 2)];
    const expected = one(model.predict(inputs));
    let saved: io.ModelArtifacts | undefined;
    await model.save(
      tf.io.withSaveHandler(async (artifacts) => {
        saved = artifacts;
        return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
      }),
    );
    // As a file would hold it.
    const { modelTopology, ...rest } = saved as io.ModelArtifacts;
    const artifacts = { ...rest, modelTopology: JSON.parse(JSON.stringify(modelTopology)) };
    const loaded = await tf.loadLayersModel(tf.io.fromMemory(artifacts));
    expect(largestDifference(one(loaded.predict(inputs)), expected)).toBe(0);
    expect(loaded.weights.map((each) => each.originalName)).toEqual(
      model.weights.map((each) => each.originalName),
    );
    const configs = (each: typeof model) =>
      each.layers.map((layer) => [layer.getClassName(), layer.getConfig()]);
    // Strings come back in camel case, which the layers undo.
    expect(configs(loaded as typeof model)).toEqual(JSON.parse(JSON.stringify(configs(model))));
    expect(loaded.calculateLosses().length).toBe(4);
    for (const each of [model, loaded]) each.dispose();
  });

  test.each([
    ['TopKMultiHeadAttention', { numHeads: 2, keyDim: 4, k: 3, outputShape: [3, 2], seed: 5, causal: true }],
    [
      'TopKFeedForward',
      { hiddenUnits: 16, k: 3, activation: 'gelu_tanh', select: 'contribution', useBias: false },
    ],
    ['TopKTransformerBlock', { numHeads: 2, k: 3, hiddenUnits: 16, feedForwardK: 2, dropout: 0.2 }],
  ] as const)('%s comes back from its config', (name, config) => {
    const [Registered, fromConfig] = tf.serialization.SerializationMap.getMap().classNameMap[
      name
    ] as never as [new (config: object) => Layer, (cls: unknown, config: object) => Layer];
    expect(Registered).toBe(layers[name]);
    const layer = new Registered({ ...config, name: 'mine', trainable: false });
    const again = fromConfig(Registered, JSON.parse(JSON.stringify(layer.getConfig())));
    expect(layer.getConfig()).toMatchObject({ ...config, name: 'mine', trainable: false });
    expect(again.getConfig()).toEqual(layer.getConfig());
    expect(again.getClassName()).toBe(name);
  });

  /** One position in eight is marked; the last position has to say which of four tokens stands there. */
  const task = (examples: number): { x: TfTensor; y: TfTensor } => {
    let state = 12345;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const x = new Float32Array(examples * 8 * 6);
    const y = new Float32Array(examples * 4);
    for (let example = 0; example < examples; example++) {
      const marked = random(7);
      for (let position = 0; position < 8; position++) {
        const token = random(4);
        const row = (example * 8 + position) * 6;
        x[row + token] = 1;
        if (position === marked) {
          x[row + 4] = 1;
          y[example * 4 + token] = 1;
        }
        if (position === 7) x[row + 5] = 1;
      }
    }
    return { x: tf.tensor3d(x, [examples, 8, 6]), y: tf.tensor2d(y, [examples, 4]) };
  };

  test('fit() learns a task that needs attention', async () => {
    const { x, y } = task(256);
    const input = tf.input({ shape: [8, 6] });
    const embedded = tf.layers
      .dense({ units: 16, kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }) })
      .apply(input);
    const block = new TopKTransformerBlock({
      numHeads: 2,
      k: 3,
      hiddenUnits: 32,
      feedForwardK: 8,
      kernelInitializer: tf.initializers.randomNormal({ stddev: 0.3, seed: 2 }),
    }).apply(embedded as never);
    // Only the last position is read: without attention it could not know the marked token.
    const read = tf.layers
      .cropping2D({
        cropping: [
          [7, 0],
          [0, 0],
        ],
      })
      .apply(tf.layers.reshape({ targetShape: [8, 16, 1] }).apply(block as never));
    const out = tf.layers
      .dense({
        units: 4,
        activation: 'softmax',
        kernelInitializer: tf.initializers.glorotUniform({ seed: 4 }),
      })
      .apply(tf.layers.flatten().apply(read));
    const model = tf.model({ inputs: input, outputs: out as never });
    model.compile({ optimizer: tf.train.adam(0.01), loss: 'categoricalCrossentropy' });
    const { history } = await model.fit(x, y, { epochs: 8, batchSize: 32, shuffle: false, verbose: 0 });
    const losses = history.loss as number[];
    expect(losses[0]).toBeGreaterThan(1);
    expect(losses.at(-1)).toBeLessThan(0.3);
    model.dispose();
  });

  const trained = () => {
    const model = tf.sequential();
    model.add(
      new TopKTransformerBlock({
        inputShape: [null, 8],
        numHeads: 2,
        k: 3,
        hiddenUnits: 12,
        feedForwardK: 9,
        gated: true,
      }),
    );
    model.add(new TopKMultiHeadAttention({ numHeads: 2, keyDim: 4, k: 3 }));
    model.add(new TopKFeedForward({ hiddenUnits: 12, k: 9, units: 3 }));
    model.compile({ optimizer: tf.train.sgd(0.5), loss: 'meanSquaredError' });
    return model;
  };
  const step = (model: ReturnType<typeof trained>) =>
    model.trainOnBatch(values([4, 6, 8], 5), values([4, 6, 3], 6));
  const contents = (model: ReturnType<typeof trained>) =>
    model.weights.map((each) => each.read().dataSync().slice());

  test('one step of training changes every weight', async () => {
    const model = trained();
    const before = contents(model);
    await step(model);
    const after = contents(model);
    const names = model.weights.map((each) => each.originalName);
    expect(names.length).toBe(8 + 2 + 5 + 2 + 8 + 4);
    const unchanged = names.filter((_, i) => before[i]?.every((value, j) => value === after[i]?.[j]));
    // Softmax does not see what is added to all scores of a query: keys' biases have no gradient but rounding.
    expect(unchanged.filter((name) => !name.endsWith('key/bias'))).toEqual([]);
    model.dispose();
  });

  test('frozen layers keep their weights', async () => {
    const model = trained();
    for (const layer of model.layers.slice(0, 2)) layer.trainable = false;
    model.compile({ optimizer: tf.train.sgd(0.5), loss: 'meanSquaredError' });
    expect(model.trainableWeights.length).toBe(4);
    const before = contents(model);
    await step(model);
    const after = contents(model);
    const changed = model.weights.filter((_, i) => after[i]?.some((value, j) => value !== before[i]?.[j]));
    expect(changed).toEqual(model.layers[2]?.weights);
    model.dispose();
  });

  test('regularizers add to the loss and constraints hold', () => {
    const model = tf.sequential();
    const layer = new TopKMultiHeadAttention({
      inputShape: [null, 8],
      numHeads: 2,
      keyDim: 4,
      k: 3,
      kernelRegularizer: 'l1l2',
      kernelConstraint: { className: 'NonNeg', config: {} },
    });
    model.add(layer);
    model.compile({ optimizer: tf.train.sgd(0.5), loss: 'meanSquaredError' });
    expect(
      layer
        .calculateLosses()
        .map((each) => each.dataSync()[0] ?? 0)
        .every((loss) => loss > 0),
    ).toBe(true);
    // tfjs holds weights to their constraint when they are set, not in training.
    layer.setWeights(layer.getWeights().map((each, i) => values(each.shape, i)));
    const least = layer.getWeights().map((each) => Math.min(...each.dataSync()));
    expect(least.map((value) => value >= 0)).toEqual([true, false, true, false, true, false, true, false]);
    model.dispose();
  });

  test('no tensor is left over by predicting and training, nor weights by disposing', async () => {
    const atFirst = tf.memory().numTensors;
    const model = trained();
    const [x, y] = [values([1, 5, 8], 1), values([1, 5, 3], 2)];
    const predict = () => (model.predict(x) as TfTensor).dispose();
    predict();
    await model.trainOnBatch(x, y);
    const before = tf.memory().numTensors;
    for (let i = 0; i < 200; i++) predict();
    expect(tf.memory().numTensors).toBe(before);
    for (let i = 0; i < 20; i++) await model.trainOnBatch(x, y);
    expect(tf.memory().numTensors).toBe(before);
    expect(model.dispose().numDisposedVariables).toBe(29);
    tf.dispose([x, y]);
    // The optimizer keeps its learning rate.
    expect(tf.memory().numTensors - atFirst).toBeLessThanOrEqual(1);
  });

  test('summary() prints the layers with their shapes and parameters', () => {
    const model = trained();
    const lines: string[] = [];
    model.summary(undefined, undefined, (line: string) => lines.push(line));
    const text = lines.join('\n');
    const block = 4 * (8 * 8 + 8) + 2 * 16 + (8 * 12 + 12) + 8 * 12 + (12 * 8 + 8);
    expect(text).toMatch(new RegExp(`top_k_transformer_block.*\\[null,null,8\\] +${block}`));
    expect(text).toMatch(new RegExp(`top_k_multi_head.*\\[null,null,8\\] +${4 * (8 * 8 + 8)}`));
    expect(text).toMatch(/top_k_feed_forward.*\[null,null,3\] +147/);
    expect(model.countParams()).toBe(block + 288 + 147);
    model.dispose();
  });

  test('one set of classes per tf, however its functions are gathered', () => {
    expect(topKLayers(tf)).toBe(layers);
    expect(topKLayers({ ...tf })).toBe(layers);
    expect(new TopKFeedForward({ hiddenUnits: 4, k: 1 })).toBeInstanceOf(tf.layers.Layer);
    expectTypeOf<Layer>().toEqualTypeOf<InstanceType<WholeTf['layers']['Layer']>>();
    expectTypeOf<ConstructorParameters<typeof TopKFeedForward>[0]>().not.toBeAny();
    // @ts-expect-error k is not optional
    expect(() => new TopKFeedForward({ hiddenUnits: 4 })).toThrow(TopKError);
    const { layers: _layers, ...withoutLayers } = tf;
    // @ts-expect-error this tf has no layers
    expect(thrownBy(() => topKLayers(withoutLayers)).code).toBe('MISSING_PEER');
  });

  describe('says what is wrong', () => {
    const attention = { numHeads: 2, keyDim: 4, k: 3 };
    const block = { numHeads: 2, k: 3, hiddenUnits: 8 };
    const x = values([2, 5, 8], 1);
    const notGiven: unknown = undefined;
    test.each([
      ['numHeads 0', () => new TopKMultiHeadAttention({ ...attention, numHeads: 0 }), 'INVALID_OPTION', '0'],
      [
        'no keyDim',
        () => new TopKMultiHeadAttention({ ...attention, keyDim: notGiven as number }),
        'INVALID_OPTION',
        'nothing',
      ],
      ['k 0', () => new TopKMultiHeadAttention({ ...attention, k: 0 }), 'INVALID_K', '0'],
      ['k 1.5', () => new TopKFeedForward({ hiddenUnits: 8, k: 1.5 }), 'INVALID_K', '1.5'],
      ['no k', () => new TopKTransformerBlock({ ...block, k: notGiven as number }), 'INVALID_K', 'nothing'],
      ['feedForwardK 0', () => new TopKTransformerBlock({ ...block, feedForwardK: 0 }), 'INVALID_K', '0'],
      [
        'no hiddenUnits',
        () => new TopKTransformerBlock({ ...block, hiddenUnits: notGiven as number }),
        'INVALID_OPTION',
        'nothing',
      ],
      ['dropout 1', () => new TopKMultiHeadAttention({ ...attention, dropout: 1 }), 'INVALID_OPTION', '1'],
      ['a bad seed', () => new TopKMultiHeadAttention({ ...attention, seed: -1 }), 'INVALID_OPTION', '-1'],
      [
        'an empty outputShape',
        () => new TopKMultiHeadAttention({ ...attention, outputShape: [] }),
        'INVALID_OPTION',
        '[]',
      ],
      [
        'an unknown activation',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1, activation: 'elu' as 'relu' }),
        'INVALID_OPTION',
        'elu',
      ],
      [
        'an unknown initializer',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1, kernelInitializer: 'nice' }),
        'INVALID_OPTION',
        'nice',
      ],
      [
        'causal as a word',
        () => new TopKMultiHeadAttention({ ...attention, causal: 'yes' as never }),
        'INVALID_OPTION',
        'yes',
      ],
      [
        'layerNormEpsilon 0',
        () => new TopKTransformerBlock({ ...block, layerNormEpsilon: 0 }),
        'INVALID_OPTION',
        '0',
      ],
      [
        'five inputs',
        () => new TopKMultiHeadAttention(attention).apply([x, x, x, x, x]),
        'SHAPE_MISMATCH',
        '5',
      ],
      [
        'two inputs',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1 }).apply([x, x]),
        'SHAPE_MISMATCH',
        '2',
      ],
      ['three inputs', () => new TopKTransformerBlock(block).apply([x, x, x]), 'SHAPE_MISMATCH', '3'],
      [
        'rank 2',
        () => new TopKMultiHeadAttention(attention).apply(values([5, 8], 1)),
        'RANK_MISMATCH',
        '[5, 8]',
      ],
      [
        'an unknown last dim',
        () => new TopKFeedForward({ hiddenUnits: 8, k: 1 }).apply(tf.input({ shape: [5, null] })),
        'SHAPE_MISMATCH',
        '[null, 5, null]',
      ],
      [
        'lengths that differ',
        () => new TopKMultiHeadAttention(attention).apply([x, x, values([2, 4, 8], 1)]),
        'SHAPE_MISMATCH',
        '[2, 4, 8] and [2, 5, 8]',
      ],
      [
        'heads that do not divide',
        () => new TopKTransformerBlock({ ...block, numHeads: 3 }).apply(x),
        'SHAPE_MISMATCH',
        '8',
      ],
      [
        'ids',
        () => new TopKMultiHeadAttention(attention).apply(tf.zeros([2, 5, 8], 'int32')),
        'DTYPE_MISMATCH',
        'int32',
      ],
      [
        'a padding mask of another length',
        () => new TopKMultiHeadAttention(attention).apply(x, { mask: tf.ones([2, 4], 'bool') }),
        'SHAPE_MISMATCH',
        '[2, 4]',
      ],
      [
        'an attention mask of another length',
        () => new TopKTransformerBlock(block).apply([x, tf.ones([2, 5, 4])]),
        'SHAPE_MISMATCH',
        '[2, 5, 4]',
      ],
      [
        'a mask that is none',
        () => new TopKMultiHeadAttention(attention).apply(x, { attentionMask: true }),
        'INVALID_OPTION',
        'boolean',
      ],
    ] as const)('%s', (_name, run, code, got) => {
      const error = thrownBy(run);
      expect(error.code).toBe(code);
      expect(error.expected).toBeTruthy();
      expect(error.got).toContain(got);
      expect(error.fix).toBeTruthy();
      expect(error.message).toMatch(/^TopK(MultiHeadAttention|FeedForward|TransformerBlock): /);
    });

    test('inputs of another last dim than the layer was built for', () => {
      const layer = new TopKFeedForward({ hiddenUnits: 8, k: 1 });
      layer.apply(x);
      expect(thrownBy(() => layer.apply(values([2, 5, 6], 1))).code).toBe('SHAPE_MISMATCH');
    });
  });
}
