import type { LayerChoices } from '../choices.js';
import type { Comparison, LayerPart } from '../choosing-k/comparison.js';
import { runOf } from '../run-of.js';
import { depthOf, type T5Config } from './config.js';
import { forward } from './forward.js';
import type { T5Layers } from './layers.js';

/** Logits of each token of the target, as the model predicts it from the source and those before it. */
export function t5Comparison(
  config: T5Config,
  source: readonly number[],
  target: readonly number[],
  layersOf: (choices: LayerChoices) => T5Layers,
): Comparison {
  const targets = [[config.decoderStartId, ...target.slice(0, -1)]];
  return {
    outputs: 'logits',
    parts: partsOf(config, source.length, target.length),
    run: (choices, trace) =>
      forward('comparison', runOf('comparison', { trace }), layersOf(choices), {
        sources: [source],
        targets,
      }),
  };
}

function partsOf(config: T5Config, sourceLength: number, targetLength: number): readonly LayerPart[] {
  const parts = (
    stack: 'encoder' | 'decoder',
    most: { readonly [part in LayerPart['part']]?: number },
  ): LayerPart[] =>
    Array.from({ length: depthOf(config, stack) }, (_, block) =>
      Object.entries(most).map(([part, own]) => ({
        path: `${stack}.${block}`,
        part: part as LayerPart['part'],
        most: own,
      })),
    ).flat();
  return [
    ...parts('encoder', { attention: sourceLength, feedForward: config.dFf }),
    ...parts('decoder', { attention: targetLength, crossAttention: sourceLength, feedForward: config.dFf }),
  ];
}
