import { emitExact, emitHeads, emitKept, emitMerged, emitSelected } from './attention.js';
import type { ExportedLayer } from './exportable.js';
import { emitFeedForward } from './feed-forward.js';
import { RelativeBias } from './relative-bias.js';
import {
  BATCH,
  emitEmbedding,
  emitLinear,
  emitNorm,
  emitNormal,
  emitNumber,
  emitPadding,
  emitPlaces,
  layerOf,
  narrowed,
  PAST,
  SOURCE,
  type Stack,
  sublayerName,
  TARGET,
  widened,
} from './stack.js';

const ROLES = ['key', 'value'] as const;

/** Keys and values [B, H, L, dKv] of one attention layer. */
interface KeysAndValues {
  readonly key: string;
  readonly value: string;
}

/**
 * The decoder with and without a past in one graph, under the names of merged decoders. Keys and values of the source are
 * those of the past where `use_cache_branch` is true, and made from `encoder_hidden_states` where it is false; the past of
 * the decoder is empty then. The past is of the type of products; the encoder's output and the logits, [B, Lt, vocabSize], are
 * f32.
 */
export function emitDecoder(stack: Stack): void {
  const { onnx, config, type } = stack;
  const { heads, dKv, dModel, decoderLayers, vocabSize } = config;
  const mask = onnx.input('encoder_attention_mask', 'i64', [BATCH, SOURCE]);
  const ids = onnx.input('input_ids', 'i64', [BATCH, TARGET]);
  const encoded = onnx.input('encoder_hidden_states', 'f32', [BATCH, SOURCE, dModel]);
  const indices = [...Array(decoderLayers).keys()];
  const pastOf = (index: number, part: string, length: string): KeysAndValues => {
    const [key, value] = ROLES.map((role) =>
      onnx.input(`past_key_values.${index}.${part}.${role}`, type, [BATCH, heads, length, dKv]),
    );
    return { key: key as string, value: value as string };
  };
  // The past of the source is as long as the source, or is not read.
  const past = indices.map((index) => ({
    own: pastOf(index, 'decoder', PAST),
    source: pastOf(index, 'encoder', SOURCE),
  }));
  const hasPast = onnx.input('use_cache_branch', 'bool', [1]);
  const sources = emitSources(
    stack,
    hasPast,
    encoded,
    past.map(({ source }) => source),
  );
  const before = emitNumber(onnx, PAST);
  const queries = onnx.op('Add', [emitPlaces(onnx, TARGET), before]);
  const count = onnx.op('Add', [onnx.shape([PAST]), onnx.shape([TARGET])]);
  const keys = onnx.op('Range', [onnx.i64(0), onnx.op('Squeeze', [count, onnx.i64([0])]), onnx.i64(1)]);
  const bias = onnx.within('decoder.bias', () => new RelativeBias(stack).emit(onnx, queries, keys));
  const padding = emitPadding(stack, mask);

  let x = emitEmbedding(stack, ids);
  const presents = indices.map((index) => {
    const choice = layerOf(stack, index);
    const self = sublayerName(stack, index, 0);
    const own = onnx.within(`decoder.${index}.attention`, () => {
      const normal = emitNormal(stack, x, `${self}.layer_norm.weight`);
      const name = (role: string): string => `${self}.SelfAttention.${role}.weight`;
      const made = ROLES.map(
        (role) =>
          onnx.ops(
            'Concat',
            [past[index]?.own[role] as string, emitHeads(stack, normal, name(role === 'key' ? 'k' : 'v'))],
            [`present.${index}.decoder.${role}`],
            { axis: 2 },
          )[0] as string,
      );
      const all = { key: made[0] as string, value: made[1] as string };
      const query = emitHeads(stack, normal, name('q'));
      const attended = emitAttention(stack, query, all, bias, choice.attention, count);
      x = onnx.op('Add', [x, widened(stack, onnx, emitLinear(stack, attended, name('o')))]);
      return all;
    });
    const source = sources[index] as KeysAndValues;
    const cross = sublayerName(stack, index, 1);
    onnx.within(`decoder.${index}.crossAttention`, () => {
      const normal = emitNormal(stack, x, `${cross}.layer_norm.weight`);
      const query = emitHeads(stack, normal, `${cross}.EncDecAttention.q.weight`);
      const length = onnx.shape([SOURCE]);
      const attended = emitAttention(stack, query, source, padding, choice.crossAttention, length);
      const made = emitLinear(stack, attended, `${cross}.EncDecAttention.o.weight`);
      x = onnx.op('Add', [x, widened(stack, onnx, made)]);
    });
    onnx.within(`decoder.${index}.feedForward`, () => {
      const sublayer = sublayerName(stack, index, 2);
      const normal = emitNormal(stack, x, `${sublayer}.layer_norm.weight`);
      x = onnx.op('Add', [x, emitFeedForward(stack, sublayer, normal, choice.feedForward)]);
    });
    return { own, source };
  });
  onnx.output(emitLogits(stack, x), 'f32', [BATCH, TARGET, vocabSize]);
  for (const { own, source } of presents) {
    for (const role of ROLES) onnx.output(own[role], type, [BATCH, heads, `${PAST} + ${TARGET}`, dKv]);
    for (const role of ROLES) onnx.output(source[role], type, [BATCH, heads, SOURCE, dKv]);
  }
}

/** Keys and values of the source for every layer: the past's, or projections of the encoder's output. */
function emitSources(
  stack: Stack,
  hasPast: string,
  encoded: string,
  past: readonly KeysAndValues[],
): readonly KeysAndValues[] {
  const { onnx, config } = stack;
  const outputs = past.flatMap((_, index) =>
    ROLES.map((role) => ({
      name: `present.${index}.encoder.${role}`,
      type: stack.type,
      shape: [BATCH, config.heads, SOURCE, config.dKv],
    })),
  );
  // The weights of both branches stand in the outer graph.
  const name = (index: number, role: string): string =>
    `${sublayerName(stack, index, 1)}.EncDecAttention.${role}.weight`;
  for (const index of past.keys())
    for (const role of ['k', 'v']) stack.weights.in(onnx, name(index, role), stack.type);
  const made = onnx.branch(
    hasPast,
    outputs,
    (inner) => past.flatMap((one) => ROLES.map((role) => inner.op('Identity', [one[role]]))),
    (inner) => {
      const source = narrowed(stack, inner, encoded);
      return past.flatMap((_, index) =>
        ['k', 'v'].map((role) => {
          const projected = inner.op('MatMul', [source, name(index, role)]);
          const split = inner.reshape(projected, [0, 0, config.heads, config.dKv]);
          return inner.op('Transpose', [split], { perm: [0, 2, 1, 3] });
        }),
      );
    },
  );
  return past.map((_, index) => ({ key: made[2 * index] as string, value: made[2 * index + 1] as string }));
}

/**
 * A decoder has few queries at a time, so it needs no chunks.
 *
 * @param length i64 [1]: the number of keys.
 * @returns [B, Lt, H * dKv]
 */
function emitAttention(
  stack: Stack,
  query: string,
  { key, value }: KeysAndValues,
  terms: string,
  choice: ExportedLayer['attention'],
  length: string,
): string {
  const { onnx } = stack;
  const columns = onnx.op('Transpose', [key], { perm: [0, 1, 3, 2] });
  const scores = onnx.op('Add', [onnx.op('MatMul', [query, columns]), terms]);
  const attended =
    typeof choice === 'object'
      ? emitSelected(stack, onnx, scores, value, emitKept(onnx, choice.k, length))
      : emitExact(stack, scores, value);
  return emitMerged(stack, attended);
}

/** f32 [B, Lt, vocabSize] */
function emitLogits(stack: Stack, x: string): string {
  const { onnx, config, weights, type } = stack;
  const normal = emitNorm(stack, x, 'decoder.final_layer_norm.weight');
  const scaled = config.scaledOutputs ? onnx.op('Mul', [normal, onnx.f32(config.dModel ** -0.5)]) : normal;
  // Tied models whose outputs are not scaled have a head of their own, or a copy.
  const isShared = config.tiedEmbeddings && config.scaledOutputs;
  const output = isShared ? 'shared.weight' : 'lm_head.weight';
  // The embedding is stored once: a Gemm takes it as it is.
  const rows = onnx.op('Reshape', [narrowed(stack, onnx, scaled), onnx.i64([-1, config.dModel])]);
  const logits = onnx.op('Gemm', [rows, weights.in(onnx, output, type)], { transB: 1 });
  const shape = onnx.shape([BATCH, TARGET, config.vocabSize]);
  return onnx.ops('Reshape', [widened(stack, onnx, logits), shape], ['logits'])[0] as string;
}
