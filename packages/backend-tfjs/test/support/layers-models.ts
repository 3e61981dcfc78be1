import type { Tensor as TfTensor } from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { topKLayers } from '../../src/layers-entry.js';
import { largestDifference, numbers, one, savedArtifacts, type WholeTf } from './layers-tf.js';

/** The layers in models: saving, training, memory. */
export function describeModels(tf: WholeTf): void {
  const layers = topKLayers(tf);
  const { TopKMultiHeadAttention, TopKFeedForward, TopKTransformerBlock } = layers;
  type Layer = InstanceType<typeof TopKMultiHeadAttention>;
  const values = (shape: number[], seed: number): TfTensor => tf.tensor(numbers(shape, seed), shape);

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
    const artifacts = await savedArtifacts(tf, model);
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
}
