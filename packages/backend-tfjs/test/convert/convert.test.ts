import type { io, serialization } from '@tensorflow/tfjs-core';
import * as tfl from '@tensorflow/tfjs-layers';
import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { convertLayersModel, convertModelArtifacts, topKLayers } from '../../src/layers-entry.js';
import { cpuTf } from '../support/engines.js';

const core = await cpuTf();
const { layers, LayersModel, models } = tfl;
const tf = { ...core, layers, LayersModel, models };
topKLayers(tf);

type TfTensor = ReturnType<typeof core.zeros>;
type Json = Record<string, unknown>;

const values = (shape: number[], seed: number): TfTensor => {
  const size = shape.reduce((product, extent) => product * extent, 1);
  return tf.tensor(
    Float32Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + 12.9 * seed)),
    shape,
  );
};

/** Weights that no initializer makes, biases included. */
function fill(model: tfl.LayersModel): tfl.LayersModel {
  model.setWeights(model.getWeights().map((one, at) => tf.mul(values(one.shape, at + 1), 0.5)));
  return model;
}

function expectClose(got: TfTensor, expected: TfTensor, tolerance = 1e-5): void {
  expect(got.shape).toEqual(expected.shape);
  const wanted = expected.dataSync();
  const off = Array.from(got.dataSync(), (one, i) => Math.abs(one - (wanted[i] as number)));
  expect(Math.max(...off)).toBeLessThan(tolerance);
}

const outputOf = (model: tfl.LayersModel, ...inputs: TfTensor[]): TfTensor =>
  model.predict(inputs.length === 1 ? (inputs[0] as TfTensor) : inputs) as TfTensor;

/** Saves and loads a model whole, through memory. */
async function savedAndLoaded(model: tfl.LayersModel): Promise<tfl.LayersModel> {
  let artifacts: io.ModelArtifacts | undefined;
  await model.save(
    tf.io.withSaveHandler(async (given) => {
      artifacts = given;
      return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } };
    }),
  );
  if (artifacts === undefined) throw new Error('nothing was saved');
  // Through JSON, as a file would.
  const json = JSON.parse(JSON.stringify({ ...artifacts, weightData: undefined }));
  return tfl.loadLayersModel(tf.io.fromMemory({ ...json, weightData: artifacts.weightData }));
}

/** Some steps of fit: the loss before and after. */
async function trained(model: tfl.LayersModel, x: TfTensor, y: TfTensor): Promise<[number, number]> {
  model.compile({ optimizer: tf.train.adam(0.01), loss: 'meanSquaredError' });
  const { history } = await model.fit(x, y, { epochs: 30, verbose: 0, shuffle: false });
  const losses = history.loss as number[];
  return [losses[0] as number, losses.at(-1) as number];
}

const mlp = (activation: string): tfl.Sequential => {
  const model = tfl.sequential({ name: 'mlp' });
  model.add(
    tfl.layers.dense({ units: 12, activation: activation as 'relu', inputShape: [5, 4], name: 'up' }),
  );
  model.add(tfl.layers.dense({ units: 4, name: 'down' }));
  return fill(model) as tfl.Sequential;
};

describe('sequential models', () => {
  test.each(['relu', 'gelu', 'swish'])(
    'dense %s, dense: the same outputs with every unit kept',
    async (activation) => {
      const original = mlp(activation);
      const { model, report } = await convertLayersModel(tf, original, { feedForward: { k: 12 } });
      expect(report).toEqual({
        converted: [{ into: 'TopKFeedForward', name: 'down', from: ['up', 'down'], k: 12 }],
        left: [],
      });
      expect(model.layers.map((layer) => layer.getClassName())).toEqual(['TopKFeedForward']);
      const x = values([3, 5, 4], 1);
      expectClose(outputOf(model, x), outputOf(original, x));
    },
  );

  test('fewer units give what those units give', async () => {
    const original = mlp('relu');
    const { model } = await convertLayersModel(tf, original, {
      feedForward: { k: 3, select: 'preactivation' },
    });
    const x = values([3, 5, 4], 1);
    const [wIn, bIn, wOut, bOut] = original.getWeights() as [TfTensor, TfTensor, TfTensor, TfTensor];
    const expected = tf.tidy(() => {
      const hidden = tf.add(tf.matMul(tf.reshape(x, [15, 4]), wIn), bIn);
      const kth = tf.slice(tf.topk(hidden, 3).values, [0, 2], [15, 1]);
      const kept = tf.where(tf.greaterEqual(hidden, kth), tf.relu(hidden), tf.zerosLike(hidden));
      return tf.reshape(tf.add(tf.matMul(kept, wOut), bOut), [3, 5, 4]);
    });
    expectClose(outputOf(model, x), expected);
    expect(() => expectClose(outputOf(original, x), expected)).toThrow();
  });

  test('the original stays as it is, and shares its data until one of the two is trained', async () => {
    const original = mlp('relu');
    const before = original.getWeights().map((one) => [...one.dataSync()]);
    const buffers = tf.memory().numDataBuffers;
    const { model } = await convertLayersModel(tf, original, { feedForward: { k: 6 } });
    expect(tf.memory().numDataBuffers).toBe(buffers);
    const x = values([8, 5, 4], 1);
    const [first, last] = await trained(model, x, tf.mul(values([8, 5, 4], 2), 0.5));
    expect(last).toBeLessThan(first * 0.7);
    expect(original.getWeights().map((one) => [...one.dataSync()])).toEqual(before);
    model.dispose();
    expect(original.getWeights().some((one) => one.isDisposed)).toBe(false);
    expect(outputOf(original, x).shape).toEqual([8, 5, 4]);
  });

  test('what was converted saves, loads, and keeps its config', async () => {
    const { model } = await convertLayersModel(tf, mlp('gelu'), {
      feedForward: { k: 3, select: 'contribution' },
    });
    const loaded = await savedAndLoaded(model);
    expect(loaded.toJSON(null, false)).toEqual(model.toJSON(null, false));
    const x = values([3, 5, 4], 1);
    expectClose(outputOf(loaded, x), outputOf(model, x), 1e-7);
    const [config] = loaded.layers.map((layer) => layer.getConfig());
    expect(config).toMatchObject({
      k: 3,
      hiddenUnits: 12,
      units: 4,
      activation: 'gelu',
      select: 'contribution',
    });
  });
});

test('pairs that do not fit stay, with the reason', async () => {
  const dense = tfl.layers.dense;
  const input = tfl.input({ shape: [4] });
  const apply = (x: tfl.SymbolicTensor, args: Parameters<typeof dense>[0]): tfl.SymbolicTensor =>
    dense(args).apply(x) as tfl.SymbolicTensor;
  const a = apply(input, { units: 6, activation: 'tanh', name: 'a' });
  const b = apply(a, { units: 4, name: 'b' });
  const c = apply(b, { units: 6, activation: 'relu', name: 'c' });
  const d = apply(c, { units: 4, activation: 'softmax', name: 'd' });
  const e = apply(d, { units: 6, activation: 'relu', name: 'e' });
  const dropped = tfl.layers.dropout({ rate: 0.1, name: 'dropped' }).apply(e) as tfl.SymbolicTensor;
  const f = apply(dropped, { units: 4, name: 'f' });
  const g = apply(f, { units: 6, activation: 'relu', name: 'g' });
  const h = apply(g, { units: 6, name: 'h' });
  const seen = tfl.layers.add({ name: 'seen' }).apply([g, h]) as tfl.SymbolicTensor;
  const i = apply(seen, { units: 6, activation: 'relu', useBias: false, name: 'i' });
  const j = apply(i, { units: 4, name: 'j' });
  const m = apply(j, { units: 6, activation: 'relu', name: 'm', trainable: false });
  const n = apply(m, { units: 4, name: 'n' });
  const o = apply(n, { units: 6, activation: 'relu', name: 'o', kernelRegularizer: 'l1l2' });
  const p = apply(o, { units: 4, name: 'p' });
  const r = apply(p, { units: 4, activation: 'relu', name: 'r' });
  const s = apply(r, { units: 4, name: 's' });
  const shared = dense({ units: 4, activation: 'relu', name: 'shared' });
  const t = apply(shared.apply(shared.apply(s) as tfl.SymbolicTensor) as tfl.SymbolicTensor, {
    units: 4,
    name: 't',
  });
  const original = fill(tfl.model({ inputs: input, outputs: [t, r] }));
  const { model, report } = await convertLayersModel(tf, original, { feedForward: { k: 99 } });
  expect(report.converted).toEqual([]);
  expect(Object.fromEntries(report.left.map(({ layers: names, why }) => [names.join(), why]))).toEqual({
    'a,b': 'the activation tanh is not one of relu, gelu, gelu_new, swish, silu',
    'c,d': 'the second layer has an activation, softmax',
    'd,e': 'the activation softmax is not one of relu, gelu, gelu_new, swish, silu',
    'e,f': 'a Dropout layer lies between them',
    'g,h': 'the hidden units are used elsewhere',
    'i,j': 'only one of the two has a bias',
    'm,n': 'only one of the two is trainable',
    'o,p': 'they differ in kernel_regularizer',
    'r,s': 'the hidden units are used elsewhere',
    'shared,shared': 'one of the two is applied more than once',
  });
  const x = values([3, 4], 1);
  const [wanted, got] = [original.predict(x), model.predict(x)] as [TfTensor[], TfTensor[]];
  for (const at of [0, 1]) expectClose(got[at] as TfTensor, wanted[at] as TfTensor, 1e-7);
});

/** Keras' layer as a model of tfjs can run it: dense attention, value as second input, mask as fourth. */
class MultiHeadAttention extends tfl.layers.Layer {
  static readonly className: string = 'MultiHeadAttention';
  readonly config: { numHeads: number; keyDim: number };

  constructor(args: { numHeads: number; keyDim: number; name?: string }) {
    super(args);
    this.config = { numHeads: args.numHeads, keyDim: args.keyDim };
  }

  override build(shapes: tfl.Shape | tfl.Shape[]): void {
    const { numHeads, keyDim } = this.config;
    const dim = (shapes as tfl.Shape[])[0]?.at(-1) as number;
    const initializer = tfl.initializers.randomNormal({ seed: 3 });
    for (const name of ['query', 'key', 'value']) {
      this.addWeight(`${name}/kernel`, [dim, numHeads, keyDim], 'float32', initializer);
      this.addWeight(`${name}/bias`, [numHeads, keyDim], 'float32', initializer);
    }
    this.addWeight('attention_output/kernel', [numHeads, keyDim, dim], 'float32', initializer);
    this.addWeight('attention_output/bias', [dim], 'float32', initializer);
    this.built = true;
  }

  override computeOutputShape(shapes: tfl.Shape | tfl.Shape[]): tfl.Shape {
    return (shapes as tfl.Shape[])[0] as tfl.Shape;
  }

  override call(inputs: TfTensor | TfTensor[]): TfTensor {
    const [query, value, key = value] = inputs as [TfTensor, TfTensor, TfTensor?];
    return denseAttention(this.getWeights(), query, value, key);
  }

  override getConfig(): serialization.ConfigDict {
    return { ...super.getConfig(), ...this.config };
  }
}

/** As Keras: weights in its order, a mask [B, 1 or H, 1 or Lq, Lk] of ones and zeros. */
function denseAttention(
  weights: readonly TfTensor[],
  query: TfTensor,
  value: TfTensor,
  key: TfTensor,
  mask?: TfTensor,
): TfTensor {
  const [wq, bq, wk, bk, wv, bv, wo, bo] = weights as TfTensor[] & { length: 8 };
  const heads = (x: TfTensor, w: TfTensor, b: TfTensor): TfTensor => {
    const [batch = 0, length = 0, dim = 0] = x.shape;
    const [, count = 0, width = 0] = w.shape;
    const flat = tf.matMul(tf.reshape(x, [-1, dim]), tf.reshape(w, [dim, count * width]));
    return tf.transpose(
      tf.reshape(tf.add(flat, tf.reshape(b, [-1])), [batch, length, count, width]),
      [0, 2, 1, 3],
    );
  };
  return tf.tidy(() => {
    const [q, k, v] = [heads(query, wq!, bq!), heads(key, wk!, bk!), heads(value, wv!, bv!)];
    const width = q.shape.at(-1) as number;
    const scores = tf.mul(tf.matMul(q, k, false, true), width ** -0.5);
    const hidden = mask && tf.mul(tf.sub(mask, 1), 1e9);
    const attended = tf.matMul(tf.softmax(hidden ? tf.add(scores, hidden) : scores), v);
    const [batch = 0, count = 0, length = 0, dim = 0] = attended.shape;
    const rows = tf.reshape(tf.transpose(attended, [0, 2, 1, 3]), [batch * length, count * dim]);
    const out = wo!.shape.at(-1) as number;
    return tf.reshape(tf.add(tf.matMul(rows, tf.reshape(wo!, [count * dim, out])), bo!), [
      batch,
      length,
      out,
    ]);
  });
}

describe('a Transformer block with attention and feed-forward', () => {
  tf.serialization.registerClass(MultiHeadAttention);
  const block = (): tfl.LayersModel => {
    const x = tfl.input({ shape: [null, 8], name: 'x' });
    const attended = new MultiHeadAttention({ numHeads: 2, keyDim: 4, name: 'attend' }).apply([x, x]);
    const sum = tfl.layers.add({ name: 'sum' }).apply([x, attended as tfl.SymbolicTensor]);
    const norm = tfl.layers.layerNormalization({ name: 'norm' }).apply(sum) as tfl.SymbolicTensor;
    const up = tfl.layers.dense({ units: 16, activation: 'gelu' as 'relu', name: 'up' }).apply(norm);
    const down = tfl.layers.dense({ units: 8, name: 'down' }).apply(up) as tfl.SymbolicTensor;
    const y = tfl.layers.add({ name: 'y' }).apply([norm, down]) as tfl.SymbolicTensor;
    return tfl.model({ inputs: x, outputs: y, name: 'block' });
  };
  const everything = { attention: { k: 99 }, feedForward: { k: 99 } };

  test('has the same outputs with everything kept, others with less', async () => {
    const original = fill(block());
    const { model, report } = await convertLayersModel(tf, original, everything);
    expect(report).toEqual({
      converted: [
        { into: 'TopKFeedForward', name: 'down', from: ['up', 'down'], k: 99 },
        { into: 'TopKMultiHeadAttention', name: 'attend', from: ['attend'], k: 99 },
      ],
      left: [],
    });
    expect(model.layers.map((layer) => layer.name)).toEqual(['x', 'attend', 'sum', 'norm', 'down', 'y']);
    const x = values([2, 6, 8], 1);
    expectClose(outputOf(model, x), outputOf(original, x));
    const { model: less } = await convertLayersModel(tf, original, { attention: { k: 1 } });
    expect(less.layers).toHaveLength(original.layers.length);
    expect(() => expectClose(outputOf(less, x), outputOf(original, x))).toThrow();
  });

  test('trains, saves and loads after the conversion', async () => {
    const original = fill(block());
    const { model } = await convertLayersModel(tf, original, { attention: { k: 3 }, feedForward: { k: 6 } });
    const x = values([8, 6, 8], 1);
    const [first, last] = await trained(model, x, values([8, 6, 8], 2));
    expect(last).toBeLessThan(first * 0.7);
    expectClose(outputOf(await savedAndLoaded(model), x), outputOf(model, x), 1e-7);
  });

  test('and where it is nested in another model, twice', async () => {
    const inner = fill(block());
    const stack = tfl.sequential({ name: 'inner' });
    stack.add(tfl.layers.dense({ units: 12, activation: 'relu', inputShape: [null, 8], name: 'up' }));
    stack.add(tfl.layers.dense({ units: 8, name: 'down' }));
    const x = tfl.input({ shape: [null, 8] });
    const outputs = inner.apply(stack.apply(inner.apply(x))) as tfl.SymbolicTensor;
    const original = tfl.model({ inputs: x, outputs, name: 'outer' });
    fill(original);
    const { model, report } = await convertLayersModel(tf, original, everything);
    expect(report.converted.map(({ from }) => from)).toEqual([
      ['block/up', 'block/down'],
      ['block/attend'],
      ['inner/up', 'inner/down'],
    ]);
    const data = values([2, 5, 8], 1);
    expectClose(outputOf(model, data), outputOf(original, data));
  });
});

describe('models saved by Keras', () => {
  const denseConfig = (name: string, units: number, activation: string): Json => ({
    name,
    trainable: true,
    dtype: 'float32',
    units,
    activation,
    use_bias: true,
    kernel_initializer: { class_name: 'GlorotUniform', config: { seed: null } },
    bias_initializer: { class_name: 'Zeros', config: {} },
    kernel_regularizer: null,
    bias_regularizer: null,
    activity_regularizer: null,
    kernel_constraint: null,
    bias_constraint: null,
  });
  const layer = (className: string, config: Json, inboundNodes: unknown[]): Json => ({
    class_name: className,
    config,
    name: config.name,
    inbound_nodes: inboundNodes,
  });
  const input = (name: string, shape: (number | null)[]): Json =>
    layer('InputLayer', { batch_input_shape: [null, ...shape], dtype: 'float32', sparse: false, name }, []);
  const attentionConfig = (name: string): Json => ({
    name,
    trainable: true,
    dtype: 'float32',
    num_heads: 2,
    key_dim: 4,
    value_dim: 3,
    dropout: 0,
    use_bias: true,
    output_shape: null,
    attention_axes: [1],
    kernel_initializer: { class_name: 'GlorotUniform', config: { seed: null } },
    bias_initializer: { class_name: 'Zeros', config: {} },
    kernel_regularizer: null,
    bias_regularizer: null,
    activity_regularizer: null,
    kernel_constraint: null,
    bias_constraint: null,
    query_shape: [null, null, 8],
    key_shape: [null, null, 8],
    value_shape: [null, null, 8],
  });
  const topology = (layersOf: Json[], inputs: string[], outputs: string[]): Json => ({
    keras_version: '2.15.0',
    backend: 'tensorflow',
    model_config: {
      class_name: 'Functional',
      config: {
        name: 'saved',
        trainable: true,
        layers: layersOf,
        input_layers: inputs.map((name) => [name, 0, 0]),
        output_layers: outputs.map((name) => [name, 0, 0]),
      },
    },
  });
  const artifactsOf = (modelTopology: Json, weights: [string, TfTensor][]): io.ModelArtifacts => ({
    modelTopology,
    format: 'layers-model',
    generatedBy: 'keras v2.15.0',
    weightSpecs: weights.map(([name, one]) => ({ name, shape: one.shape, dtype: 'float32' })),
    weightData: Float32Array.from(weights.flatMap(([, one]) => [...one.dataSync()])).buffer,
  });
  const attentionWeights = (name: string, seed: number): [string, TfTensor][] => [
    [`${name}/query/kernel`, values([8, 2, 4], seed)],
    [`${name}/query/bias`, values([2, 4], seed + 1)],
    [`${name}/key/kernel`, values([8, 2, 4], seed + 2)],
    [`${name}/key/bias`, values([2, 4], seed + 3)],
    [`${name}/value/kernel`, values([8, 2, 3], seed + 4)],
    [`${name}/value/bias`, values([2, 3], seed + 5)],
    [`${name}/attention_output/kernel`, values([2, 3, 8], seed + 6)],
    [`${name}/attention_output/bias`, values([8], seed + 7)],
  ];
  const denseWeights = (seed: number): [string, TfTensor][] => [
    ['dense/kernel', values([8, 16], seed)],
    ['dense/bias', values([16], seed + 1)],
    ['dense_1/kernel', values([16, 8], seed + 2)],
    ['dense_1/bias', values([8], seed + 3)],
  ];

  test('a model without attention loads as ever and is converted after', async () => {
    const saved = artifactsOf(
      topology(
        [
          input('input_1', [8]),
          layer('Dense', denseConfig('dense', 16, 'relu'), [[['input_1', 0, 0, {}]]]),
          layer('Dense', denseConfig('dense_1', 8, 'linear'), [[['dense', 0, 0, {}]]]),
        ],
        ['input_1'],
        ['dense_1'],
      ),
      denseWeights(1),
    );
    const original = await tfl.loadLayersModel(tf.io.fromMemory(saved));
    const x = values([4, 8], 9);
    const { model } = await convertLayersModel(tf, original, { feedForward: { k: 16 } });
    expectClose(outputOf(model, x), outputOf(original, x));
    const { artifacts } = convertModelArtifacts(saved, { feedForward: { k: 16 } });
    const loaded = await tfl.loadLayersModel(tf.io.fromMemory(artifacts));
    expectClose(outputOf(loaded, x), outputOf(original, x));
  });

  test('one with multi-head attention, which tfjs does not load, is converted before', async () => {
    const modelTopology = topology(
      [
        input('tokens', [null, 8]),
        input('memory', [null, 8]),
        input('visible', [null, null]),
        layer('MultiHeadAttention', attentionConfig('self'), [
          [['tokens', 0, 0, { value: ['tokens', 0, 0], use_causal_mask: true }]],
        ]),
        layer('MultiHeadAttention', attentionConfig('cross'), [
          [['self', 0, 0, { value: ['memory', 0, 0], attention_mask: ['visible', 0, 0] }]],
        ]),
        layer('Dense', denseConfig('dense', 16, 'gelu'), [[['cross', 0, 0, {}]]]),
        layer('Dense', denseConfig('dense_1', 8, 'linear'), [[['dense', 0, 0, {}]]]),
      ],
      ['tokens', 'memory', 'visible'],
      ['dense_1'],
    );
    const weights = [...attentionWeights('self', 1), ...attentionWeights('cross', 11), ...denseWeights(21)];
    const saved = artifactsOf(modelTopology, weights);
    const untouched = JSON.stringify(saved.modelTopology);
    const { artifacts, report } = convertModelArtifacts(saved, {
      attention: { k: 99 },
      feedForward: { k: 99 },
    });
    expect(JSON.stringify(saved.modelTopology)).toBe(untouched);
    expect(report.converted.map(({ name }) => name)).toEqual(['dense_1', 'self', 'cross']);
    const model = await tfl.loadLayersModel(tf.io.fromMemory(artifacts));

    const [tokens, memory] = [values([2, 5, 8], 31), values([2, 7, 8], 32)];
    const visible = tf.cast(tf.greater(values([2, 5, 7], 33), -0.5), 'float32');
    const all = weights.map(([, one]) => one);
    const expected = tf.tidy(() => {
      const causal = tf.cast(tf.linalg.bandPart(tf.ones([1, 1, 5, 5]), -1, 0), 'float32');
      const own = denseAttention(all.slice(0, 8), tokens, tokens, tokens, causal);
      const mask = tf.reshape(visible, [2, 1, 5, 7]);
      const cross = denseAttention(all.slice(8, 16), own, memory, memory, mask);
      const [wIn, bIn, wOut, bOut] = all.slice(16) as [TfTensor, TfTensor, TfTensor, TfTensor];
      const hidden = tf.add(tf.matMul(tf.reshape(cross, [10, 8]), wIn), bIn);
      const gelu = tf.mul(tf.mul(hidden, 0.5), tf.add(1, tf.erf(tf.div(hidden, Math.SQRT2))));
      return tf.reshape(tf.add(tf.matMul(gelu, wOut), bOut), [2, 5, 8]);
    });
    // Activations reach 100 here: float32 at that size.
    expectClose(outputOf(model, tokens, memory, visible), expected, 5e-4);
  });

  test('attention that has no top-k form stays, with the reason', () => {
    const attend = (name: string, kwargs: Json, more: Json = {}): Json =>
      layer('MultiHeadAttention', { ...attentionConfig(name), ...more }, [[['x', 0, 0, kwargs]]]);
    const self = { value: ['x', 0, 0] };
    const { report } = convertModelArtifacts(
      {
        modelTopology: topology(
          [
            input('x', [null, 8]),
            input('z', [null, 8]),
            attend('scores', { ...self, return_attention_scores: true }),
            attend('axes', self, { attention_axes: [1, 2] }),
            attend('grid', self, { query_shape: [null, 4, 4, 8] }),
            attend('causal', { value: ['z', 0, 0], use_causal_mask: true }),
            attend('constant', { ...self, attention_mask: [[true]] }),
            attend('other', { ...self, something: 1 }),
            attend('valueless', {}),
            layer('MultiHeadAttention', attentionConfig('twice'), [
              [['x', 0, 0, self]],
              [['z', 0, 0, { value: ['z', 0, 0] }]],
            ]),
          ],
          ['x', 'z'],
          ['twice'],
        ),
      },
      { attention: { k: 4 } },
    );
    expect(report.converted).toEqual([]);
    expect(Object.fromEntries(report.left.map(({ layers: names, why }) => [names.join(), why]))).toEqual({
      scores: 'it returns its attention scores',
      axes: 'it attends over the axes [1,2], not over the second',
      grid: 'its query is not [batch, length, dim]',
      causal: 'its causal mask is aligned to the start, and query and value may differ in length',
      constant: "its attention_mask is not a layer's output",
      other: 'it is called with something',
      valueless: 'it has no value',
      twice: 'it is applied 2 times, not once',
    });
  });
});

describe('errors', () => {
  const codeOf = async (run: () => unknown): Promise<string> => {
    try {
      await run();
    } catch (error) {
      if (error instanceof TopKError) return error.code;
      throw error;
    }
    throw new Error('nothing was thrown');
  };
  /** Not registered: tfjs can save it and not load it. */
  class Unknown extends tfl.layers.Layer {
    static readonly className: string = 'Unknown';
  }
  const custom = tfl.sequential({ layers: [new Unknown({ inputShape: [3] })] });
  const bare = { modelTopology: { class_name: 'Sequential', config: [{ class_name: 'Dense' }] } };
  const keras3 = {
    modelTopology: {
      class_name: 'Functional',
      config: { layers: [{ class_name: 'Dense', config: {}, inbound_nodes: [{ args: [], kwargs: {} }] }] },
    },
  };
  const feedForward = { k: 2 };
  test.each<readonly [string, string, () => unknown]>([
    ['nothing to convert', 'INVALID_OPTION', () => convertLayersModel(tf, mlp('relu'), {})],
    ['k of 0', 'INVALID_K', () => convertLayersModel(tf, mlp('relu'), { feedForward: { k: 0 } })],
    ['no k', 'INVALID_K', () => convertLayersModel(tf, mlp('relu'), { attention: {} as { k: number } })],
    [
      'something else than a model',
      'INVALID_OPTION',
      () => convertLayersModel(tf, {} as tfl.LayersModel, { feedForward }),
    ],
    [
      'a tf without layers',
      'MISSING_PEER',
      () => convertLayersModel(core as typeof tf, mlp('relu'), { feedForward }),
    ],
    [
      'a layer that is not registered',
      'INVALID_CONFIG',
      () => convertLayersModel(tf, custom, { feedForward }),
    ],
    ['artifacts without a topology', 'INVALID_CONFIG', () => convertModelArtifacts({}, { feedForward })],
    ['a broken topology', 'INVALID_CONFIG', () => convertModelArtifacts(bare, { feedForward })],
    ['a topology of Keras 3', 'INVALID_CONFIG', () => convertModelArtifacts(keras3, { feedForward })],
  ])('%s: %s', async (_, code, run) => {
    expect(await codeOf(run)).toBe(code);
  });
});
