import { describeValue, TopKError } from '@topk-attention/core';
import type { LayerChoices } from '../choices.js';
import type { Comparison, LayerPart } from '../choosing-k/comparison.js';
import type { SourceInput } from '../generation/prompts.js';
import { runOf } from '../run-of.js';
import { depthOf, type T5Config } from './config.js';
import { forward } from './forward.js';
import type { T5Layers } from './layers.js';

/** A source for `suggestK` and `kErrors`; with a target, what the model should answer. */
export type T5Sample =
  | SourceInput
  | {
      readonly source: SourceInput;
      /** Text, or token ids with the end-of-sequence id. Default: what the exact model answers, up to 32 tokens. */
      readonly target?: SourceInput;
    };

/** @throws TopKError INVALID_OPTION */
export function sourceAndTarget(sample: T5Sample): {
  readonly source: SourceInput;
  readonly target?: SourceInput;
} {
  if (typeof sample === 'string' || isIds(sample)) return { source: sample };
  if (typeof sample === 'object' && sample !== null && 'source' in sample) return sample;
  throw new TopKError('INVALID_OPTION', 'comparison: not a sample', {
    expected: 'a text, token ids, or { source, target } of them',
    got: describeValue(sample),
  });
}

function isIds(sample: Exclude<T5Sample, string>): sample is readonly number[] {
  return Array.isArray(sample) || ArrayBuffer.isView(sample);
}

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
