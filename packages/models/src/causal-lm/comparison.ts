import type { LayerChoices } from '../choices.js';
import type { Comparison } from '../choosing-k/comparison.js';
import { runOf } from '../run-of.js';
import { blockPaths, type CausalLMConfig } from './config.js';
import { forward } from './forward.js';
import type { CausalLayers } from './layers.js';

/** Logits of each token of the target, as the model predicts it from the source and those before it. */
export function causalComparison(
  config: CausalLMConfig,
  source: readonly number[],
  target: readonly number[],
  layersOf: (choices: LayerChoices) => CausalLayers,
): Comparison {
  const row = [...source, ...target.slice(0, -1)];
  return {
    outputs: 'logits',
    parts: blockPaths(config).flatMap((path) => [
      { path, part: 'attention', most: row.length },
      { path, part: 'feedForward', most: config.dFf },
    ]),
    run: (choices, trace) => {
      const run = runOf('comparison', { trace });
      return forward('comparison', run, layersOf(choices), { tokens: [row] }, source.length - 1);
    },
  };
}
