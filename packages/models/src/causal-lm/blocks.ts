import { add, layerNorm, matmul, narrow, rmsNorm, scope, type Tensor } from '@topk-attention/core';
import {
  type AttendOptions,
  attend,
  beforeFeedForward,
  dropout,
  embedding,
  feedForward,
  type KeysAndValues,
  linear,
  type Run,
  residual,
  rotated,
  splitHeads,
} from '@topk-attention/nn';
import type { CausalLMConfig } from './config.js';
import type { CausalBlock, CausalLayers, HeadProjections, Norm } from './layers.js';
import type { Rotary } from './rotary.js';

/** Queries [B, heads, L, headDim], keys and values [B, keyValueHeads, L, headDim] of one sequence, rotated. */
export interface Heads extends KeysAndValues {
  readonly query: Tensor;
}

/**
 * Embeddings of ids i32 [B, L], with learned positions where the model has them.
 *
 * @param positions i32 [B, L]
 */
export function embed(run: Run, model: CausalLayers, ids: Tensor, positions: Tensor): Tensor {
  return scope(() => {
    const words = embedding(model.embedding, ids);
    const x = model.positions === undefined ? words : add(words, embedding(model.positions, positions));
    return dropout(run, 'decoder.embedding', x, model.config.dropout.embedding);
  });
}

/** The heads that a block's attention reads from x [B, L, dModel]. */
export function headsOf(
  config: CausalLMConfig,
  block: CausalBlock,
  x: Tensor,
  turn: Rotary | undefined,
): Heads {
  const { heads, keyValueHeads, epsilon } = config;
  const { queryNorm, keyNorm } = block.heads;
  const placed = (flat: Tensor, count: number, norm: Norm | undefined): Tensor => {
    const split = splitHeads(flat, count);
    const normal = norm === undefined ? split : rmsNorm(split, norm.weight, epsilon);
    return turn === undefined ? normal : rotated(normal, turn.cosines, turn.sines);
  };
  return scope(() => {
    const [q, k, v] = projected(block.heads, normalised(config, block.attentionNorm, x));
    return {
      query: placed(q, heads, queryNorm),
      key: placed(k, keyValueHeads, keyNorm),
      value: splitHeads(v, keyValueHeads),
    };
  });
}

function projected({ projections }: HeadProjections, x: Tensor): readonly [Tensor, Tensor, Tensor] {
  const [joint, key, value] = projections.map(({ weight, bias }) => linear(x, weight, bias)) as [
    Tensor,
    Tensor?,
    Tensor?,
  ];
  if (key !== undefined && value !== undefined) return [joint, key, value];
  const width = (joint.shape[2] as number) / 3;
  return [narrow(joint, 2, 0, width), narrow(joint, 2, width, width), narrow(joint, 2, 2 * width, width)];
}

/** The residual stream after a block, of which `headsOf` has made queries, keys and values. */
export function afterHeads(
  run: Run,
  config: CausalLMConfig,
  block: CausalBlock,
  x: Tensor,
  { query, key, value }: Heads,
  options: AttendOptions,
): Tensor {
  const { residual: rate } = config.dropout;
  return scope(() => {
    const attended = attend(run, block.attention, query, { key, value }, options);
    const middle = add(x, dropout(run, `${block.attention.path}.output`, attended, rate));
    beforeFeedForward(run, block.feedForward.path, middle);
    const made = feedForward(run, block.feedForward, normalised(config, block.feedForwardNorm, middle));
    return residual(
      run,
      block.path,
      add(middle, dropout(run, `${block.feedForward.path}.output`, made, rate)),
    );
  });
}

/** Logits [B, L, vocabSize] of the last residual stream. */
export function logitsOf({ config, norm, output }: CausalLayers, x: Tensor): Tensor {
  return scope(() => matmul(normalised(config, norm, x), output, { transposeB: true }));
}

function normalised({ norm, epsilon }: CausalLMConfig, { weight, bias }: Norm, x: Tensor): Tensor {
  return norm === 'rmsNorm' ? rmsNorm(x, weight, epsilon) : layerNorm(x, weight, bias, epsilon);
}
