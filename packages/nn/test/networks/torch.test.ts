import { mul, sum, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import {
  attentionLayer,
  type Context,
  classifierHead,
  contextOf,
  type Declared,
  decoderStack,
  defineLayer,
  encoderStack,
  feedForwardLayer,
  initializers,
  joinInProjections,
  type Layer,
  linearLayer,
  loadStateDict,
  normLayer,
  type ParameterTree,
  parameterOf,
  performer,
  type StateDict,
  splitInProjections,
} from '../../src/index.js';
import {
  exactBackend,
  goldenInputs,
  goldenParameters,
  type LayerGolden,
  layerGolden,
  probe,
  ramp,
} from '../support/layer-goldens.js';

interface Case {
  readonly layer: Declared;
  /** The layer's output for inputs and, where the golden has them, lengths. */
  readonly apply: (context: Context, inputs: readonly Tensor[], lengths?: Tensor) => Tensor;
  /** The golden's names to the layer's. */
  readonly rename?: { readonly [name: string]: string };
}

const sizes = { width: 8, heads: 2, hidden: 12 };

function caseOf<Made extends Declared>(
  layer: Made,
  apply: (layer: Made, context: Context, inputs: readonly Tensor[], lengths: Tensor | undefined) => Tensor,
  rename: Case['rename'] = {},
): Case {
  return { layer, apply: (context, inputs, lengths) => apply(layer, context, inputs, lengths), rename };
}

const toOne = (layer: Layer<readonly [x: Tensor]>, context: Context, [x]: readonly Tensor[]): Tensor =>
  layer.apply(context, x as Tensor);

const withLengths = (
  layer: Layer<readonly [x: Tensor, inputs: { keyLengths: Tensor }]>,
  context: Context,
  [x]: readonly Tensor[],
  keyLengths: Tensor | undefined,
): Tensor => layer.apply(context, x as Tensor, { keyLengths: keyLengths as Tensor });

const t5Names = {
  ...{ 'q.weight': 'q_proj.weight', 'k.weight': 'k_proj.weight', 'v.weight': 'v_proj.weight' },
  'o.weight': 'out_proj.weight',
};
const t5Attention = attentionLayer({ width: 8, heads: 2, bias: false, scale: 1 });
const t5Table = { shape: [8, 2], initializer: initializers.zeros };
const t5Parts = { '': t5Attention, relative_attention_bias: { parameters: { weight: t5Table } } };
const t5WithTable = defineLayer(t5Parts, (context, x: Tensor) => {
  const table = parameterOf(context, 'relative_attention_bias.weight');
  return t5Attention.apply(context, x, { relativeBias: { table, bidirectional: true, maxDistance: 16 } });
});

const cases: { readonly [name: string]: Case } = {
  linear: caseOf(linearLayer(8, 3), toOne),
  'layer norm': caseOf(normLayer(8), toOne),
  'rms norm': caseOf(normLayer(8, { kind: 'rmsNorm' }), toOne),
  'self-attention': caseOf(attentionLayer({ width: 8, heads: 2 }), withLengths),
  'cross-attention': caseOf(
    attentionLayer({ width: 8, heads: 2, sourceWidth: 6, bias: false }),
    (layer, context, [x, source]) => layer.apply(context, x as Tensor, { source: source as Tensor }),
  ),
  'grouped heads, rotary': caseOf(
    attentionLayer({
      ...{ width: 8, heads: 4, keyValueHeads: 2, headDim: 4, bias: false, causal: true },
      rotary: { base: 100 },
    }),
    toOne,
  ),
  performer: caseOf(attentionLayer({ width: 8, heads: 2, mechanism: performer({ features: 5 }) }), toOne),
  'performer, causal': caseOf(
    attentionLayer({ width: 8, heads: 2, causal: true, mechanism: performer({ features: 5, chunk: 2 }) }),
    toOne,
  ),
  'performer, relu': caseOf(
    attentionLayer({
      ...{ width: 8, heads: 2, causal: true },
      mechanism: performer({ features: 5, kind: 'relu', chunk: 3 }),
    }),
    toOne,
  ),
  'T5 attention': caseOf(t5WithTable, toOne, t5Names),
  'T5 feed-forward': caseOf(
    feedForwardLayer({ width: 8, hidden: 12, gated: true, bias: false, activation: 'gelu_tanh' }),
    toOne,
    { 'wi_0.weight': 'linear1.weight', 'wi_1.weight': 'linear_gate.weight', 'wo.weight': 'linear2.weight' },
  ),
  'encoder, norms behind': caseOf(encoderStack({ layers: 2, ...sizes }), withLengths),
  'encoder, norms first': caseOf(
    encoderStack({ layers: 2, ...sizes, normFirst: true, feedForward: { activation: 'gelu' } }),
    withLengths,
  ),
  decoder: caseOf(decoderStack({ layers: 2, ...sizes }), (layer, context, [x, memory], lengths) =>
    layer.apply(context, x as Tensor, memory as Tensor, { memoryLengths: lengths as Tensor }),
  ),
  'classifier head': caseOf(
    classifierHead({ width: 8, classes: 3, hidden: 6 }),
    (layer, context, [x], lengths) => layer.apply(context, x as Tensor, lengths),
  ),
};

function namedAsOurs(golden: LayerGolden, rename: Case['rename']): StateDict {
  const split = splitInProjections(goldenParameters(golden));
  return Object.fromEntries(Object.entries(split).map(([name, stored]) => [rename?.[name] ?? name, stored]));
}

const lengthsOf = ({ lengths }: LayerGolden): Tensor | undefined =>
  lengths && tensor(exactBackend, Int32Array.from(lengths), [lengths.length]);

describe.each(Object.entries(cases))('%s', (name, { layer, apply, rename }) => {
  const golden = layerGolden(name);
  const loaded = loadStateDict(exactBackend, layer, namedAsOurs(golden, rename));
  const inputs = goldenInputs(golden);

  test('gives what PyTorch gives', async () => {
    const output = apply(contextOf(await loaded), inputs, lengthsOf(golden));
    expect(output.shape).toEqual(golden.shape);
    const made = await output.data();
    for (const [at, expected] of golden.output.entries()) expect(made[at]).toBeCloseTo(expected, 10);
  });

  test('has its gradients', async () => {
    const loss = valueAndGrad((of: { parameters: ParameterTree; inputs: readonly Tensor[] }) => {
      const output = apply(contextOf(of.parameters), of.inputs, lengthsOf(golden));
      return sum(mul(output, tensor(exactBackend, ramp(13, 16, output.size), output.shape)));
    });
    const { gradients } = loss({ parameters: await loaded, inputs });
    for (const [own, expected] of Object.entries(golden.gradients)) {
      const ours = own.replace(/([qkv]_proj)_weight$/, '$1.weight');
      const gradient = gradients.parameters[rename?.[ours] ?? ours] as Tensor;
      expect(await probe(gradient), own).toBeCloseTo(expected, 9);
    }
    for (const [at, expected] of golden.inputGradients.entries()) {
      expect(await probe(gradients.inputs[at] as Tensor)).toBeCloseTo(expected, 9);
    }
  });
});

test.each(['encoder, norms behind', 'encoder, norms first', 'decoder'])(
  '%s: back to the names of PyTorch',
  (name) => {
    const packed = goldenParameters(layerGolden(name));
    expect(Object.keys(packed).some((one) => one.endsWith('in_proj_weight'))).toBe(true);
    expect(joinInProjections(splitInProjections(packed))).toEqual(packed);
  },
);
