import { reshape, scope, type Tensor } from '@topk-attention/core';
import {
  type Context,
  defineLayer,
  dropoutLayer,
  embeddingLayer,
  encoderStack,
  exact,
  initializers,
  type Layer,
  linearLayer,
  type Mechanism,
  type MechanismState,
  performer,
  topK,
  within,
} from '@topk-attention/nn';

export const mechanismNames = ['exact', 'top-k', 'performer'] as const;
export type MechanismName = (typeof mechanismNames)[number];

export interface ModelOptions {
  /** Number of different tokens. */
  readonly vocabulary: number;
  /** Tokens that the model sees at once. */
  readonly context: number;
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly mechanism: MechanismName;
  /** Keys that each query keeps, with 'top-k'. */
  readonly k: number;
  /** Random features, with 'performer'. */
  readonly features: number;
  /** Rate at which elements of embeddings and of each sublayer's output are dropped in training. */
  readonly dropout: number;
}

export interface LanguageModel extends Layer<readonly [ids: Tensor]> {
  /**
   * Logits [B, n, vocabulary] of the tokens that follow ids i32 [B, n], and the state to go on from.
   *
   * @param states after the tokens before; undefined at the beginning. Stay the caller's.
   */
  step(
    context: Context,
    ids: Tensor,
    states?: readonly MechanismState[],
  ): { readonly logits: Tensor; readonly states: readonly MechanismState[] };
}

/**
 * A decoder like GPT, with rotary positions: ids i32 [B, L] -> logits [B * L, vocabulary] of the token after each. The output projection is
 * the table of embeddings.
 */
export function languageModel(options: ModelOptions): LanguageModel {
  const { vocabulary, layers, width, heads, dropout } = options;
  const tokens = embeddingLayer(vocabulary, width, { initializer: initializers.normal(0.02) });
  const drop = dropoutLayer(dropout);
  const decoder = encoderStack({
    ...{ layers, width, heads, hidden: 4 * width, normFirst: true, dropout },
    // Performer cannot drop attention weights, so no mechanism does: they are to differ in one thing only.
    attention: { mechanism: mechanismOf(options), causal: true, rotary: {}, dropout: 0 },
    feedForward: { activation: 'gelu', dropout: 0 },
  });
  const head = linearLayer(width, vocabulary, { bias: false });

  const model = defineLayer({ tokens, decoder }, (context, ids: Tensor) => {
    const embedded = tokens.apply(within(context, 'tokens'), ids);
    const dropped = drop.apply(within(context, 'dropout'), embedded);
    const decoded = decoder.apply(within(context, 'decoder'), dropped);
    const rows = reshape(decoded, [ids.shape.reduce((all, one) => all * one, 1), width]);
    return head.apply(within(context, 'tokens'), rows);
  });
  return {
    ...model,
    step: (context, ids, states) =>
      scope(() => {
        const embedded = tokens.apply(within(context, 'tokens'), ids);
        const { output, states: next } = decoder.step(within(context, 'decoder'), embedded, states);
        return { logits: head.apply(within(context, 'tokens'), output), states: next };
      }),
  };
}

function mechanismOf({ mechanism, k, features }: ModelOptions): Mechanism {
  switch (mechanism) {
    case 'exact':
      return exact();
    case 'top-k':
      return topK({ k });
    case 'performer':
      return performer({ features, redrawEvery: 0 });
    default:
      return mechanism satisfies never;
  }
}
