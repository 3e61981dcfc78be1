import { type Backend, tensor } from '@topk-attention/core';
import { contextOf, type ParameterTree } from '@topk-attention/nn';
import type { CharacterModel } from './model.js';

export interface SampleOptions {
  readonly vocabulary: readonly string[];
  /** Characters that the model sees at once. */
  readonly context: number;
  /** Characters to write. */
  readonly length: number;
  /** The same seed writes the same text. */
  readonly seed: number;
  /** Below 1, likely characters become likelier. */
  readonly temperature: number;
}

/** A text by the model, one character after the other. It begins after a line break, where the text has any. */
export async function sampleText(
  model: CharacterModel,
  backend: Backend,
  parameters: ParameterTree,
  { vocabulary, context, length, seed, temperature }: SampleOptions,
): Promise<string> {
  const random = randomFrom(seed);
  const written = [Math.max(0, vocabulary.indexOf('\n'))];
  while (written.length <= length) {
    const seen = written.slice(-context);
    // Always as long as the context: one shape, and a causal model does not see what follows.
    const padded = new Int32Array(context);
    padded.set(seen);
    const ids = tensor(backend, padded, [1, context]);
    const logits = model.apply(contextOf(parameters), ids, seen.length - 1);
    try {
      written.push(drawn(await logits.data(), temperature, random()));
    } finally {
      ids.dispose();
      logits.dispose();
    }
  }
  return written
    .slice(1)
    .map((id) => vocabulary[id] ?? '')
    .join('');
}

/** An index, drawn by the softmax of logits; `uniform` is in [0, 1). */
function drawn(logits: ArrayLike<number>, temperature: number, uniform: number): number {
  const scaled = Array.from(logits, (one) => one / temperature);
  const most = scaled.reduce((a, b) => Math.max(a, b));
  const weights = scaled.map((one) => Math.exp(one - most));
  let left = uniform * weights.reduce((a, b) => a + b);
  const at = weights.findIndex((weight) => {
    left -= weight;
    return left < 0;
  });
  return at < 0 ? weights.length - 1 : at;
}

/** Mulberry32. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
