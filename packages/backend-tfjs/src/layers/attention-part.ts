import type { serialization } from '@tensorflow/tfjs-core';
import { TopKError } from '@topk-attention/core';
import { engineOf } from '../engine/engine.js';
import { topKAttention } from '../functional/attention.js';
import { matrixProduct } from '../ops/matmul.js';
import type { TfTensor } from '../tf.js';
import { count, dropoutRate, flag, given, kept, requireCallNames, type Unchecked } from './config.js';
import type { DropoutSeeds } from './dropout-seeds.js';
import { emptyOutput } from './empty-output.js';
import type { CallArgs, FullTf, LayerVariable, Shape } from './full-tf.js';
import { attentionInputs, lastDim, printShape, requireDim } from './inputs.js';
import type { KerasWeightArgs } from './layers-tf.js';
import { type AttentionTensors, keysToSee, tensorOrNone } from './masks.js';
import { type AddWeight, addLinear, type Linear, partsOfLinear, type WeightRecipe } from './weight-recipe.js';

/** Config of a multi-head attention, with Keras' names and defaults. */
export interface AttentionArgs extends KerasWeightArgs {
  readonly numHeads: number;
  /** Size of a head's queries and keys. */
  readonly keyDim: number;
  /** Size of a head's values. Default: keyDim. */
  readonly valueDim?: number;
  /** Keys kept per query; all of them if there are fewer. */
  readonly k: number;
  /** A query sees no later key; aligned to the end where the lengths differ. Default false. */
  readonly causal?: boolean;
  /** Share of attention weights dropped in training. Default 0. */
  readonly dropout?: number;
  /** Makes dropout repeatable. Default: a random one. */
  readonly seed?: number;
  /** Last dims of the output. Default: that of the query. */
  readonly outputShape?: number | readonly number[];
}

export interface AttentionSettings {
  readonly numHeads: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly k: number;
  readonly causal: boolean;
  readonly dropout: number;
  readonly seed: number | undefined;
  readonly outputShape: readonly number[] | undefined;
}

export interface AttentionWeights {
  /** [Dq, H, keyDim] */
  readonly query: Linear;
  /** [Dk, H, keyDim] */
  readonly key: Linear;
  /** [Dv, H, valueDim] */
  readonly value: Linear;
  /** [H, valueDim, ...outputShape] */
  readonly output: Linear;
}

export function attentionSettings(where: string, args: Unchecked<AttentionArgs>): AttentionSettings {
  const keyDim = count(where, 'keyDim', args.keyDim);
  const seed = given(args.seed);
  if (seed !== undefined && !(Number.isSafeInteger(seed) && seed >= 0)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad seed`, {
      expected: 'a whole number of at least 0',
      got: String(seed),
      fix: 'Leave it out for a random seed',
    });
  }
  return {
    numHeads: count(where, 'numHeads', args.numHeads),
    keyDim,
    valueDim: count(where, 'valueDim', given(args.valueDim) ?? keyDim),
    k: kept(where, 'k', args.k),
    causal: flag(where, 'causal', args.causal, false),
    dropout: dropoutRate(where, args.dropout),
    seed,
    outputShape: outputDims(where, given(args.outputShape)),
  };
}

/** The settings as a model's JSON holds them. */
export function attentionConfig(settings: AttentionSettings): serialization.ConfigDict {
  const { outputShape, seed, ...plain } = settings;
  return { ...plain, seed: seed ?? null, outputShape: outputShape ? [...outputShape] : null };
}

/** The output's shape, from the shapes of query, value and, if given, key. */
export function attentionOutputShape(
  where: string,
  settings: AttentionSettings,
  shapes: readonly Shape[],
): Shape {
  const [query, value, key] = attentionInputs(where, shapes);
  const dim = lastDim(where, 'query', query, 'sequence');
  lastDim(where, 'value', value, 'sequence');
  lastDim(where, 'key', key, 'sequence');
  requireSame(where, 'batch of query and value', query, value, 0);
  requireSame(where, 'batch of key and value', key, value, 0);
  requireSame(where, 'length of key and value', key, value, 1);
  return [...query.slice(0, 2), ...(settings.outputShape ?? [dim])];
}

export function addAttentionWeights(
  add: AddWeight,
  where: string,
  prefix: string,
  recipe: WeightRecipe,
  settings: AttentionSettings,
  shapes: readonly Shape[],
): AttentionWeights {
  const outputShape = attentionOutputShape(where, settings, shapes).slice(2) as number[];
  const [query, value, key] = attentionInputs(where, shapes);
  const { numHeads, keyDim, valueDim } = settings;
  const intoHeads = (name: string, shape: Shape, headDim: number) =>
    addLinear(add, prefix + name, recipe, [shape.at(-1) as number, numHeads, headDim], [numHeads, headDim]);
  return {
    query: intoHeads('query', query, keyDim),
    key: intoHeads('key', key, keyDim),
    value: intoHeads('value', value, valueDim),
    output: addLinear(
      add,
      `${prefix}attention_output`,
      recipe,
      [numHeads, valueDim, ...outputShape],
      outputShape,
    ),
  };
}

/** Projects, attends to the k best keys of each query, and projects back: [B, Lq, ...outputShape]. */
export function attend(
  tf: FullTf,
  where: string,
  settings: AttentionSettings,
  weights: AttentionWeights,
  inputs: AttentionTensors,
  call: CallArgs,
  seeds: DropoutSeeds,
): TfTensor {
  requireCallNames(where, call);
  const { query, value, key } = inputs;
  const shape = attentionOutputShape(where, settings, [query.shape, value.shape, key.shape]);
  for (const name of ['query', 'value', 'key'] as const) {
    requireDim(where, name, inputs[name], weights[name].kernel.shape[0] as number, 'sequence');
  }
  const mask = keysToSee(tf, where, inputs, call);
  if (query.shape[0] === 0) {
    const all = [weights.query, weights.key, weights.value, weights.output].flatMap(partsOfLinear);
    return emptyOutput(tf, shape as number[], [...new Set([query, value, key])], all);
  }
  const keyLengths = tensorOrNone(tf, where, 'keyLengths', call.keyLengths);
  const attended = topKAttention(
    tf,
    intoHeads(tf, query, weights.query),
    intoHeads(tf, key, weights.key),
    intoHeads(tf, value, weights.value),
    {
      k: settings.k,
      causal: settings.causal || call.useCausalMask === true,
      ...(mask && { mask }),
      ...(keyLengths && { keyLengths }),
      ...(call.training === true &&
        settings.dropout > 0 && { dropout: { rate: settings.dropout, seed: seeds.next() } }),
    },
  );
  return outOfHeads(tf, attended, weights.output);
}

/** [B, L, D] -> [B, H, L, headDim] */
function intoHeads(tf: FullTf, x: TfTensor, { kernel, bias }: Linear): TfTensor {
  const [batch = 0, length = 0, dim = 0] = x.shape;
  const [, heads, headDim] = kernel.shape as [number, number, number];
  const flat = times(tf, tf.reshape(x, [batch * length, dim]), kernel, bias, dim);
  return tf.transpose(tf.reshape(flat, [batch, length, heads, headDim]), [0, 2, 1, 3]);
}

/** [B, H, L, valueDim] -> [B, L, ...outputShape] */
function outOfHeads(tf: FullTf, x: TfTensor, { kernel, bias }: Linear): TfTensor {
  const [batch = 0, heads = 0, length = 0, headDim = 0] = x.shape;
  const rows = tf.reshape(tf.transpose(x, [0, 2, 1, 3]), [batch * length, heads * headDim]);
  const flat = times(tf, rows, kernel, bias, heads * headDim);
  return tf.reshape(flat, [batch, length, ...(kernel.shape.slice(2) as number[])]);
}

/** Rows times a kernel of any rank read as a matrix, plus its bias: [rows, product of the kernel's other dims]. */
function times(
  tf: FullTf,
  rows: TfTensor,
  kernel: LayerVariable,
  bias: LayerVariable | undefined,
  inner: number,
): TfTensor {
  const matrix = tf.reshape(kernel.read(), [inner, -1]);
  const product = matrixProduct(engineOf(tf), rows, matrix);
  return bias === undefined ? product : tf.add(product, tf.reshape(bias.read(), [-1]));
}

function requireSame(where: string, what: string, a: Shape, b: Shape, axis: number): void {
  const [first, second] = [a[axis], b[axis]];
  if (first === second || typeof first !== 'number' || typeof second !== 'number') return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: the ${what} differ`, {
    expected: 'query [B, Lq, Dq], value [B, Lk, Dv], key [B, Lk, Dk]',
    got: `${printShape(a)} and ${printShape(b)}`,
    fix: 'The inputs are in the order [query, value, key]',
  });
}

function outputDims(
  where: string,
  value: number | readonly number[] | undefined,
): readonly number[] | undefined {
  if (value === undefined) return undefined;
  const dims: readonly number[] = typeof value === 'number' ? [value] : value;
  if (Array.isArray(dims) && dims.length > 0) return dims.map((dim) => count(where, 'outputShape', dim));
  throw new TopKError('INVALID_OPTION', `${where}: bad outputShape`, {
    expected: 'a positive whole number or a list of them',
    got: JSON.stringify(value),
    fix: "Leave it out for the query's last dim",
  });
}
