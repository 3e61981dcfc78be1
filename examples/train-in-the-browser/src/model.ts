import { crossEntropy, narrow, reshape, scope, type Tensor } from '@topk-attention/core';
import {
  contextOf,
  defineLayer,
  embeddingLayer,
  encoderStack,
  exact,
  type Layer,
  learnedPositions,
  linearLayer,
  type ParameterTree,
  topK,
  within,
} from '@topk-attention/nn';
import { type Settings, SIZES } from './settings.js';

/**
 * A causal Transformer over characters: ids i32 [batch, length] -> logits [batch, length, characters], or those of the
 * position `only` alone, [batch, 1, characters].
 */
export type CharacterModel = Layer<readonly [ids: Tensor, only?: number]>;

/** The model of a run, for a text with so many distinct characters. */
export function characterModel(settings: Settings, characters: number): CharacterModel {
  const { width, heads, hidden, layers } = SIZES[settings.size];
  const parts = {
    tokens: embeddingLayer(characters, width),
    positions: learnedPositions(settings.context, width),
    stack: encoderStack({
      ...{ layers, width, heads, hidden, normFirst: true, dropout: 0 },
      attention: {
        causal: true,
        mechanism: settings.mechanism === 'exact' ? exact() : topK({ k: settings.k }),
      },
      feedForward: { activation: 'gelu' },
    }),
    head: linearLayer(width, characters),
  };
  return defineLayer(parts, (context, ids: Tensor, only?: number) => {
    const tokens = parts.tokens.apply(within(context, 'tokens'), ids);
    const placed = parts.positions.apply(within(context, 'positions'), tokens);
    const read = parts.stack.apply(within(context, 'stack'), placed);
    const wanted = only === undefined ? read : narrow(read, 1, only, 1);
    return parts.head.apply(within(context, 'head'), wanted);
  });
}

/** Mean cross entropy of the next characters: ids and targets are i32 [batch, length]. */
export function lossOf(
  model: CharacterModel,
  parameters: ParameterTree,
  { ids, targets }: { readonly ids: Tensor; readonly targets: Tensor },
): Tensor {
  return scope(() => {
    const logits = model.apply(contextOf(parameters, { training: true }), ids);
    const [batch = 0, length = 0, characters = 0] = logits.shape;
    return crossEntropy(reshape(logits, [batch * length, characters]), reshape(targets, [batch * length]));
  });
}
