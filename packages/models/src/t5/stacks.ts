import { add, matmul, mul, rmsNorm, scope, type Tensor } from '@topk-attention/core';
import {
  type AttendOptions,
  type AttentionLayer,
  attend,
  beforeFeedForward,
  dropout,
  embedding,
  feedForward,
  type KeysAndValues,
  keysAndValuesOf,
  queriesOf,
  type Run,
  residual,
} from '@topk-attention/nn';
import type { TokenBatch } from '../generation/token-batch.js';
import { applied, type ModelRun } from '../run-of.js';
import type { T5Config } from './config.js';
import type { DecoderBlock, EncoderBlock, Sublayer, T5Layers } from './layers.js';

/** Queries, keys and values of one sequence, [B, H, L, dKv]. */
interface Heads extends KeysAndValues {
  readonly query: Tensor;
}

/**
 * The encoder, one block per step: each yields its output [B, L, dModel] and owns it until the next step. Returns the
 * normalised output. A caller that may be interrupted stops between two steps.
 */
export function* encoderSteps(run: ModelRun, t5: T5Layers, source: TokenBatch): Generator<Tensor, Tensor> {
  const { config, encoder } = t5;
  const { epsilon, dropoutRate } = config;
  let x = embed(run, t5, 'encoder', source.ids);
  try {
    for (const block of encoder.blocks) {
      const next = applied(run, { x, block, keyLengths: source.keyLengths }, (inner, given) =>
        encoderBlock(inner, config, given.block, given.x, given.keyLengths),
      );
      x.dispose();
      x = next;
      yield x;
    }
    return scope(() => dropout(run, 'encoder.output', rmsNorm(x, encoder.norm, epsilon), dropoutRate));
  } finally {
    x.dispose();
  }
}

/** Outputs of the encoder [B, L, dModel]. */
export function encode(run: ModelRun, t5: T5Layers, source: TokenBatch): Tensor {
  return scope(() => {
    const steps = encoderSteps(run, t5, source);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  });
}

/**
 * Logits [B, Lt, vocabSize] of a whole target at once, for training and scoring.
 *
 * @param encoded outputs of the encoder, with the lengths of their rows
 * @param targets i32 [B, Lt], decoder start first
 */
export function decode(
  run: ModelRun,
  t5: T5Layers,
  encoded: Tensor,
  sourceLengths: Tensor | undefined,
  targets: Tensor,
): Tensor {
  const { config, decoder } = t5;
  return scope(() => {
    let x = embed(run, t5, 'decoder', targets);
    for (const block of decoder.blocks) {
      const next = applied(run, { x, block, encoded, sourceLengths }, (inner, given) =>
        decoderBlock(inner, config, given.block, given.x, given.encoded, given.sourceLengths),
      );
      x.dispose();
      x = next;
    }
    return logitsOf(run, t5, x);
  });
}

function encoderBlock(
  run: Run,
  config: T5Config,
  { path, attention, feedForward }: EncoderBlock,
  x: Tensor,
  keyLengths: Tensor | undefined,
): Tensor {
  return scope(() => {
    const options = { ...attention.layer.sequence, ...(keyLengths && { keyLengths }) };
    const heads = selfHeads(config, attention, x);
    const attended = addAttention(run, config, attention.layer, x, heads, options);
    return residual(run, path, addFeedForward(run, config, feedForward, attended));
  });
}

function decoderBlock(
  run: Run,
  config: T5Config,
  block: DecoderBlock,
  x: Tensor,
  encoded: Tensor,
  sourceLengths: Tensor | undefined,
): Tensor {
  return scope(() => {
    const { attention, crossAttention } = block;
    const heads = selfHeads(config, attention, x);
    const self = addAttention(run, config, attention.layer, x, heads, attention.layer.sequence);
    const source = keysAndValuesOf(crossAttention.layer, encoded);
    return afterSelfAttention(run, config, block, self, source, sourceLengths);
  });
}

/** Cross-attention and feed-forward layer of a decoder block: the same with and without a cache. */
export function afterSelfAttention(
  run: Run,
  config: T5Config,
  { path, crossAttention, feedForward }: DecoderBlock,
  x: Tensor,
  source: KeysAndValues,
  keyLengths: Tensor | undefined,
): Tensor {
  return scope(() => {
    const { norm, layer } = crossAttention;
    const heads = { query: queriesOf(layer, rmsNorm(x, norm, config.epsilon)), ...source };
    const options = { ...layer.sequence, ...(keyLengths && { keyLengths }) };
    const crossed = addAttention(run, config, layer, x, heads, options);
    return residual(run, path, addFeedForward(run, config, feedForward, crossed));
  });
}

/** The heads that self-attention reads from x [B, L, dModel]. */
export function selfHeads(config: T5Config, { norm, layer }: Sublayer<AttentionLayer>, x: Tensor): Heads {
  return scope(() => {
    const normal = rmsNorm(x, norm, config.epsilon);
    return { query: queriesOf(layer, normal), ...keysAndValuesOf(layer, normal) };
  });
}

/** x plus the attention's output for the heads. */
export function addAttention(
  run: Run,
  config: T5Config,
  layer: AttentionLayer,
  x: Tensor,
  { query, key, value }: Heads,
  options: AttendOptions,
): Tensor {
  return scope(() => {
    const attended = attend(run, layer, query, { key, value }, options);
    return add(x, dropout(run, `${layer.path}.output`, attended, config.dropoutRate));
  });
}

function addFeedForward(
  run: Run,
  { epsilon, dropoutRate }: T5Config,
  { norm, layer }: EncoderBlock['feedForward'],
  x: Tensor,
): Tensor {
  return scope(() => {
    beforeFeedForward(run, layer.path, x);
    const made = feedForward(run, layer, rmsNorm(x, norm, epsilon));
    return add(x, dropout(run, `${layer.path}.output`, made, dropoutRate));
  });
}

/** Embeddings of ids i32 [B, L]. */
export function embed(run: Run, t5: T5Layers, stack: 'encoder' | 'decoder', ids: Tensor): Tensor {
  return scope(() => dropout(run, `${stack}.embedding`, embedding(t5.embedding, ids), t5.config.dropoutRate));
}

/** Logits [B, L, vocabSize] of the decoder's last residual stream. */
export function logitsOf(run: Run, { config, decoder, output }: T5Layers, x: Tensor): Tensor {
  return scope(() => {
    const normal = dropout(
      run,
      'decoder.output',
      rmsNorm(x, decoder.norm, config.epsilon),
      config.dropoutRate,
    );
    const scaled = config.scaledOutputs ? mul(normal, config.dModel ** -0.5) : normal;
    return matmul(scaled, output, { transposeB: true });
  });
}
