import type { ParameterGroup } from './optimizer.js';

/**
 * A group without weight decay for biases and norm weights, as in Hugging Face's trainer: names that end in `bias`, and
 * names that contain `norm`. Embeddings decay.
 */
export function noDecay(): ParameterGroup<{ readonly weightDecay: number }> {
  return { match: (name) => /(^|[._])bias$|norm/i.test(name), weightDecay: 0 };
}
