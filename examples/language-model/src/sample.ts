import { scope, type Tensor, tensor } from '@topk-attention/core';
import { contextOf, type MechanismState, type ParameterTree } from '@topk-attention/nn';
import type { LanguageModel } from './model.js';

export interface SampleOptions {
  /** Tokens to write. */
  readonly length: number;
  /** Below 1: likelier tokens; 0: always the likeliest. */
  readonly temperature: number;
  /** Chooses among so many of the likeliest tokens. */
  readonly top: number;
  /** A number in [0, 1) for each token. */
  readonly random: () => number;
  /** Called with each token. */
  readonly onToken?: (id: number) => void;
  readonly signal?: AbortSignal;
}

/**
 * Goes on from a prompt of at least one token, one token at a time, and never writes token 0, which stands for what
 * is not in the vocabulary. Prompt and text together are best no longer than the windows of the training.
 */
export async function sample(
  model: LanguageModel,
  parameters: ParameterTree,
  prompt: ArrayLike<number>,
  { length, temperature, top, random, onToken, signal }: SampleOptions,
): Promise<number[]> {
  const { backend } = Object.values(parameters)[0]!;
  const context = contextOf(parameters);
  const written: number[] = [];
  let states: readonly MechanismState[] | undefined;
  let next = Array.from(prompt);
  try {
    while (written.length < length) {
      signal?.throwIfAborted();
      const { logits, states: after } = scope(() =>
        model.step(context, tensor(backend, Int32Array.from(next), [1, next.length], 'i32'), states),
      );
      disposeStates(states);
      states = after;
      const id = choose(await lastRow(logits, next.length), temperature, top, random());
      written.push(id);
      onToken?.(id);
      next = [id];
    }
    return written;
  } finally {
    disposeStates(states);
  }
}

function disposeStates(states: readonly MechanismState[] | undefined): void {
  for (const { tensors } of states ?? []) for (const one of Object.values(tensors)) one.dispose();
}

async function lastRow(logits: Tensor, rows: number): Promise<readonly number[]> {
  try {
    const data = Array.from(await logits.data(), Number);
    return data.slice((data.length / rows) * (rows - 1));
  } finally {
    logits.dispose();
  }
}

/** A token by its logit: the softmax over the likeliest `top`, cut at `chance`. */
function choose(logits: readonly number[], temperature: number, top: number, chance: number): number {
  const best = [...logits.keys()]
    .slice(1)
    .sort((a, b) => logits[b]! - logits[a]!)
    .slice(0, top);
  if (temperature === 0) return best[0]!;
  const weights = best.map((id) => Math.exp((logits[id]! - logits[best[0]!]!) / temperature));
  let left = chance * weights.reduce((sum, one) => sum + one, 0);
  const at = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return best[at === -1 ? best.length - 1 : at]!;
}
