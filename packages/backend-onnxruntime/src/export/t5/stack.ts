import type { GraphBuilder } from '../../onnx/graph-builder.js';
import type { ExportableT5, ExportedLayer, T5Settings } from './exportable.js';
import type { Weights, WeightType } from './weights.js';

/** One stack of a T5 on its way into a graph. */
export interface Stack {
  readonly onnx: GraphBuilder;
  readonly name: 'encoder' | 'decoder';
  readonly config: T5Settings;
  readonly weights: Weights;
  /**
   * The type of matrices, of the products with them, of scores and of the past. The rest is f32 in either case: the sum
   * that runs through the layers and the second product of feed-forward layers go beyond 65504 in a trained T5, norms
   * square their input, and a softmax needs the digits. transformers runs these in f32 as well (`_keep_in_fp32_modules`,
   * T5LayerNorm).
   */
  readonly type: WeightType;
  /** The relative biases of the stack, [buckets, heads]. */
  readonly biases: Float32Array;
  readonly layers: ExportableT5['layerChoices'];
  /** Bytes of the scores and gathered values that a loop over queries holds at once. */
  readonly chunkBytes: number;
}

/** The names of open extents, which transformers.js and optimum know. */
export const BATCH = 'batch_size';
export const SOURCE = 'encoder_sequence_length';
export const TARGET = 'decoder_sequence_length';
export const PAST = 'past_decoder_sequence_length';

/**
 * What a score gets that takes part in nothing: finite, as in transformers, so that a row of padding alone is no NaN. Half of
 * the largest f16 number, so that it stays finite with a score added.
 */
export const HIDDEN: { readonly [type in WeightType]: number } = { f32: -3.4028234663852886e38, f16: -32752 };

export function layerOf({ layers, name }: Stack, index: number): ExportedLayer {
  return layers[`${name}.${index}`] as ExportedLayer;
}

/** The name of a sublayer's weights in the checkpoint. */
export function sublayerName({ name }: Stack, block: number, sublayer: number): string {
  return `${name}.block.${block}.layer.${sublayer}`;
}

/** An f32 value in the type of products; `onnx` may be an inner graph. */
export function narrowed({ type }: Stack, onnx: GraphBuilder, x: string): string {
  return type === 'f32' ? x : onnx.cast(x, type);
}

/** A value of the type of products in f32. */
export function widened({ type }: Stack, onnx: GraphBuilder, x: string): string {
  return type === 'f32' ? x : onnx.cast(x, 'f32');
}

/** Embeddings f32 [B, L, dModel] of ids i64 [B, L]. */
export function emitEmbedding(stack: Stack, ids: string): string {
  const { onnx, weights, type } = stack;
  return widened(stack, onnx, onnx.op('Gather', [weights.in(onnx, 'shared.weight', type), ids], { axis: 0 }));
}

/**
 * x over the root of its mean square, times a weight, in f32. The nodes are those that engines know as one operator.
 *
 * @param output The result's name, where it needs one.
 */
export function emitNorm(
  { onnx, weights, config }: Stack,
  x: string,
  weight: string,
  output?: string,
): string {
  const mean = onnx.op('ReduceMean', [onnx.op('Pow', [x, onnx.f32(2)]), onnx.i64([-1])], { keepdims: 1 });
  const root = onnx.op('Sqrt', [onnx.op('Add', [mean, onnx.f32(config.epsilon)])]);
  const inputs = [onnx.op('Div', [x, root]), weights.in(onnx, weight, 'f32')];
  return onnx.ops('Mul', inputs, [output])[0] as string;
}

/** The norm of a sublayer as products take it. */
export function emitNormal(stack: Stack, x: string, weight: string): string {
  return narrowed(stack, stack.onnx, emitNorm(stack, x, weight));
}

/** x [..., in] times a weight [in, out]. */
export function emitLinear({ onnx, weights, type }: Stack, x: string, weight: string): string {
  return onnx.op('MatMul', [x, weights.in(onnx, weight, type)]);
}

/** What is added to the scores of tokens that are padding: [B, 1, 1, L] of a mask i64 [B, L] with 1 for real ones. */
export function emitPadding(stack: Stack, mask: string): string {
  const { onnx, type } = stack;
  const isPadding = onnx.op('Equal', [mask, onnx.i64(0)]);
  const terms = onnx.op('Where', [isPadding, onnx.f32(HIDDEN[type]), onnx.f32(0)]);
  return onnx.op('Unsqueeze', [narrowed(stack, onnx, terms), onnx.i64([1, 2])]);
}

/** i64 [L]: 0 to an extent. */
export function emitPlaces(onnx: GraphBuilder, extent: string): string {
  return onnx.op('Range', [onnx.i64(0), emitNumber(onnx, extent), onnx.i64(1)]);
}

/** An extent as i64 []. */
export function emitNumber(onnx: GraphBuilder, extent: string): string {
  return onnx.op('Squeeze', [onnx.shape([extent]), onnx.i64([0])]);
}
