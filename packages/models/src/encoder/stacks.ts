import { add, layerNorm, scope, type Tensor } from '@topk-attention/core';
import {
  attend,
  beforeFeedForward,
  dropout,
  embedding,
  feedForward,
  keysAndValuesOf,
  queriesOf,
  type Run,
  residual,
} from '@topk-attention/nn';
import { applied, type ModelRun } from '../run-of.js';
import type { EncoderConfig } from './config.js';
import type { EncoderBlock, EncoderLayers, Norm } from './layers.js';
import type { EncoderBatch } from './token-rows.js';

/**
 * The encoder, one block per step: each yields its output [B, L, width] and owns it until the next step. Returns the last. A
 * caller that may be interrupted stops between two steps.
 */
export function* encoderSteps(
  run: ModelRun,
  layers: EncoderLayers,
  batch: EncoderBatch,
): Generator<Tensor, Tensor> {
  const { config, blocks } = layers;
  let x = embed(run, layers, batch);
  try {
    for (const block of blocks) {
      const next = applied(run, { x, block, keyLengths: batch.keyLengths }, (inner, given) =>
        encoderBlock(inner, config, given.block, given.x, given.keyLengths),
      );
      x.dispose();
      x = next;
      yield x;
    }
    return x.alias();
  } finally {
    x.dispose();
  }
}

/** Hidden states [B, L, width] of the last block. */
export function encode(run: ModelRun, layers: EncoderLayers, batch: EncoderBatch): Tensor {
  return scope(() => {
    const steps = encoderSteps(run, layers, batch);
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
    }
  });
}

/** Sums of the embeddings of words, positions and types, [B, L, width], normalised. */
function embed(run: Run, layers: EncoderLayers, { ids, positions, types }: EncoderBatch): Tensor {
  const { config, norm } = layers;
  return scope(() => {
    const placed = add(embedding(layers.words, ids), embedding(layers.positions, positions));
    const sum =
      layers.types === undefined || types === undefined
        ? placed
        : add(placed, embedding(layers.types, types));
    return dropout(run, 'encoder.embedding', normalised(sum, norm, config.epsilon), config.dropoutRate);
  });
}

function encoderBlock(
  run: Run,
  { epsilon, dropoutRate, attentionOutputDropoutRate }: EncoderConfig,
  block: EncoderBlock,
  x: Tensor,
  keyLengths: Tensor | undefined,
): Tensor {
  const { path, attention } = block;
  return scope(() => {
    const attended = scope(() => {
      const query = queriesOf(attention, x);
      const source = keysAndValuesOf(attention, x);
      const made = attend(run, attention, query, source, keyLengths === undefined ? {} : { keyLengths });
      const kept = dropout(run, `${attention.path}.output`, made, attentionOutputDropoutRate);
      return normalised(add(x, kept), block.attentionNorm, epsilon);
    });
    beforeFeedForward(run, block.feedForward.path, attended);
    const made = feedForward(run, block.feedForward, attended);
    const kept = dropout(run, `${block.feedForward.path}.output`, made, dropoutRate);
    return residual(run, path, normalised(add(attended, kept), block.outputNorm, epsilon));
  });
}

function normalised(x: Tensor, { weight, bias }: Norm, epsilon: number): Tensor {
  return layerNorm(x, weight, bias, epsilon);
}
