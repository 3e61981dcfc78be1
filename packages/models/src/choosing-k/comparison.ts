import type { Tensor } from '@topk-attention/core';
import type { Trace } from '@topk-attention/nn';
import type { LayerChoice, LayerChoices, LayerPattern } from '../choices.js';

/** What `suggestK` and `kErrors` ask of a model. */
export interface ComparableModel<Sample> {
  /**
   * A sample, ready to be run with any choices.
   *
   * @throws TopKError EMPTY_SEQUENCE, INVALID_OPTION, ABORTED, DISPOSED
   */
  comparison(sample: Sample, signal?: AbortSignal): Promise<Comparison>;
}

/** One sample on one model. */
export interface Comparison {
  /** Parts of layers in the order in which they run. */
  readonly parts: readonly LayerPart[];
  /** What the rows of the output are: logits of the next token or of a class, or vectors such as embeddings. */
  readonly outputs: 'logits' | 'vectors';
  /** The output [..., D] for choices that leave nothing to those of the load. The caller disposes of it. */
  run(choices: LayerChoices, trace?: Trace): Tensor;
}

/** A part of a layer that can keep k of something. */
export interface LayerPart {
  /** The block's: 'encoder.0' */
  readonly path: string;
  readonly part: 'attention' | 'crossAttention' | 'feedForward';
  /** Keys that a query of the sample sees at most, or hidden units. */
  readonly most: number;
}

/** Kept by each part: [part, k]. */
type Kept = readonly (readonly [part: Pick<LayerPart, 'path' | 'part'>, k: number])[];

/**
 * Choices that keep so much in these parts, and everything in the others.
 *
 * @param all every part of the model
 */
export function choicesKeeping(kept: Kept, all: readonly LayerPart[]): LayerChoices {
  const crossed = new Set(all.filter(({ part }) => part === 'crossAttention').map(({ path }) => path));
  const layers: { [pattern in LayerPattern]?: LayerChoice } = {};
  for (const [{ path, part }, k] of kept) {
    const pattern = path as LayerPattern;
    layers[pattern] = {
      // Named where there is one, because it would follow the attention of its level.
      ...(crossed.has(path) && { crossAttention: 'exact' }),
      ...layers[pattern],
      [part]: { k },
    };
  }
  return { ...EXACT, layers };
}

/** Everything in every layer, whatever the load said; cross-attention follows attention. */
export const EXACT: LayerChoices = { attention: 'exact', feedForward: 'exact' };
