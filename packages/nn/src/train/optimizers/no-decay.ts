import type { ParameterGroup } from './optimizer.js';

/**
 * A group without weight decay for biases and norm weights, as in Hugging Face's trainer: names that contain `bias`, so
 * that T5's table of relative biases is one of them, names that contain `norm`, and GPT-2's norms (`ln_1`, `ln_f`), which
 * that trainer knows by their type. Embeddings decay.
 */
export function noDecay(): ParameterGroup<{ readonly weightDecay: number }> {
  return { match: (name) => /bias|norm|(^|\.)ln_/i.test(name), weightDecay: 0 };
}
