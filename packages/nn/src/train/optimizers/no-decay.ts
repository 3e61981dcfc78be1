import type { ParameterGroup } from './optimizer.js';

/**
 * The group of biases and of the weights of norms without weight decay, as Hugging Face's trainer has it: names that end
 * in `bias`, and those with `norm` in them. Embeddings decay.
 */
export function noDecay(): ParameterGroup<{ readonly weightDecay: number }> {
  return { match: (name) => /(^|[._])bias$|norm/i.test(name), weightDecay: 0 };
}
