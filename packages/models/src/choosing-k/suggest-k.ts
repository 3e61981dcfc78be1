import {
  aFunction,
  aNumber,
  describeValue,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  TopKError,
} from '@topk-attention/core';
import { aSignal } from '@topk-attention/nn';
import type { LayerChoices } from '../choices.js';
import { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';
import {
  type ComparableModel,
  type Comparison,
  choicesKeeping,
  EXACT,
  type LayerPart,
} from './comparison.js';
import { type Measure, noError, type OutputError, worse } from './output-error.js';
import {
  type Chosen,
  checkSamples,
  comparisonOf,
  type ExactSample,
  errorOf,
  outputOf,
  partsOf,
} from './samples.js';

export interface SuggestKOptions {
  /**
   * The largest error that is accepted, of the sample that fares worst: of 'kl' in nats for each token (0.01 is hardly
   * noticed, 0.1 changes words), of 'argmax' a share of tokens, of 'cosine' 1 - cosine.
   */
  readonly tolerance: number;
  /** What the tolerance bounds. Default 'kl' for models that give logits, 'cosine' for others. */
  readonly measure?: Measure;
  /** Whose k is searched: 'attention', over the source too, or 'feedForward'. Default 'attention'. */
  readonly of?: Chosen;
  /** Stops between two runs of the model: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Stage 'compare': how many of the searches are done, one for the model and one for each layer. */
  readonly onProgress?: (progress: Progress) => void;
}

export interface SuggestedK {
  /** The smallest k for all layers alike; 'exact' where none below the length of the samples is within the tolerance. */
  readonly k: number | 'exact';
  /** With that k in all layers. */
  readonly error: OutputError;
  /** The smallest k of each layer, which shares the tolerance with the others. */
  readonly layers: readonly SuggestedLayer[];
  /** The ks of `layers`, as `loadT5` and `generate` take them: together within the tolerance. */
  readonly choices: LayerChoices;
  /** With those choices. */
  readonly choicesError: OutputError;
  /** Keys, or units, of the longest sample: a k says nothing about longer texts. */
  readonly most: number;
}

export interface SuggestedLayer extends Pick<LayerPart, 'path' | 'part'> {
  readonly k: number | 'exact';
  /** With that k in this part alone. */
  readonly error: OutputError;
}

const kinds: OptionKinds<SuggestKOptions> = {
  tolerance: required(aNumber),
  measure: oneOf('kl', 'argmax', 'cosine'),
  of: oneOf('attention', 'feedForward'),
  signal: aSignal,
  onProgress: aFunction(),
};

/** By how much ks grow that are too small together. */
const GROWTH = 1.25;

/**
 * The smallest k that keeps a bound on the user's own texts: one k for the whole model, and one for each layer. It runs the
 * model, exact and with top-k, on each sample, some ten times for each layer. Errors are taken to fall as k grows; a k
 * above 8 is the smallest to within an eighth.
 *
 * @param samples such as the model will be used on, of the lengths that it will be used on
 * @throws TopKError INVALID_OPTION; EMPTY_SEQUENCE without samples and for an empty one; INVALID_K for samples of which no
 * k leaves anything out; NAN_FOUND, ABORTED, DISPOSED.
 *
 * @example
 * const model = await loadT5({ backend, source: './model' });
 * const { k, choices } = await suggestK(model, ['where is ann? \\n ann went to the garden.'], { tolerance: 0.01 });
 * const answer = await model.generate('where is bill? \\n bill is at home.', choices);
 */
export async function suggestK<Sample>(
  model: ComparableModel<Sample>,
  samples: readonly Sample[],
  options: SuggestKOptions,
): Promise<SuggestedK> {
  const given = readOptions('suggestK', options, kinds);
  const { tolerance, of = 'attention', signal, onProgress } = given;
  if (!(tolerance >= 0 && Number.isFinite(tolerance))) {
    throw new TopKError('INVALID_OPTION', 'suggestK: bad tolerance', {
      expected: 'a number from 0',
      got: describeValue(tolerance),
    });
  }
  checkSamples('suggestK', samples);
  const interruption = new Interruption('suggestK', signal);
  const exact: ExactSample[] = [];
  for (const [index, sample] of samples.entries()) {
    const own = await comparisonOf('suggestK', model, sample, index, signal);
    exact.push({ comparison: own, exact: await outputOf(own.run(EXACT)) });
    await interruption.yieldToEvents();
  }
  const { comparison } = exact[0] as ExactSample;
  const measure = measureOf(comparison, given.measure);
  const parts = partsOf(
    exact.map((sample) => sample.comparison),
    of,
  );
  const most = Math.max(1, ...parts.map((part) => part.most));
  if (most === 1) {
    throw new TopKError('INVALID_K', 'suggestK: no k leaves anything out of these samples', {
      expected: 'a sample of at least 2 tokens',
      got: '1',
      fix: 'Pass texts of the length that the model will be used on',
    });
  }

  const none = noError(comparison.outputs === 'logits');
  let done = 0;
  const report = (): void => onProgress?.({ stage: 'compare', done: ++done, total: parts.length + 2 });
  const within = (bound: number) => async (kept: readonly (readonly [LayerPart, number])[]) => {
    const choices = choicesKeeping(kept, comparison.parts);
    let error = none;
    for (const sample of exact) {
      error = worse(await errorOf(sample, choices, interruption), error);
      // The worst sample decides: once it is beyond the bound, the others are of no interest.
      if ((error[measure] as number) > bound) return undefined;
    }
    return error;
  };

  const whole = await smallest(most, none, (k) => within(tolerance)(parts.map((part) => [part, k])));
  report();
  const share = within(tolerance / parts.length);
  const layers: (SuggestedLayer & { readonly most: number })[] = [];
  for (const part of parts) {
    const { k, error } = await smallest(part.most, none, (k) => share([[part, k]]));
    layers.push({ path: part.path, part: part.part, k, error, most: part.most });
    report();
  }
  const together = await growTogether(layers, none, within(tolerance));
  report();
  return {
    k: whole.k,
    error: whole.error,
    layers: together.layers.map(({ most: _, ...layer }) => layer),
    choices: choicesKeeping(keptBy(together.layers), comparison.parts),
    choicesError: together.error,
    most,
  };
}

function measureOf({ outputs }: Comparison, given: Measure | undefined): Measure {
  if (outputs === 'logits') return given ?? 'kl';
  if (given === undefined || given === 'cosine') return 'cosine';
  throw new TopKError('INVALID_OPTION', 'suggestK: bad measure', {
    expected: "'cosine' for a model that gives no logits",
    got: `'${given}'`,
  });
}

/** The smallest k below `most` that is accepted, and its error: doubling, then halving what lies between. */
async function smallest(
  most: number,
  none: OutputError,
  accepted: (k: number) => Promise<OutputError | undefined>,
): Promise<{ readonly k: number | 'exact'; readonly error: OutputError }> {
  let [refused, k] = [0, 1];
  let best: { readonly k: number; readonly error: OutputError } | undefined;
  while (k < most) {
    const error = await accepted(k);
    if (error !== undefined) {
      best = { k, error };
      break;
    }
    refused = k;
    k = refused < most - 1 ? Math.min(2 * k, most - 1) : most;
  }
  if (best === undefined) return { k: 'exact', error: none };
  while (best.k - refused > Math.max(1, best.k / 8)) {
    const middle = Math.floor((refused + best.k) / 2);
    const error = await accepted(middle);
    if (error === undefined) refused = middle;
    else best = { k: middle, error };
  }
  return best;
}

/** Each layer alone keeps its share; if all together do not keep the whole, every k grows until they do. */
async function growTogether<Layer extends SuggestedLayer & { readonly most: number }>(
  layers: readonly Layer[],
  none: OutputError,
  accepted: (kept: ReturnType<typeof keptBy<Layer>>) => Promise<OutputError | undefined>,
): Promise<{ readonly layers: readonly Layer[]; readonly error: OutputError }> {
  for (let grown = layers; ; ) {
    const kept = keptBy(grown);
    if (kept.length === 0) return { layers: grown, error: none };
    const error = await accepted(kept);
    if (error !== undefined) return { layers: grown, error };
    grown = grown.map((layer) => {
      const k = layer.k === 'exact' ? layer.most : Math.ceil(layer.k * GROWTH);
      return { ...layer, k: k < layer.most ? k : 'exact' };
    });
  }
}

function keptBy<Layer extends SuggestedLayer>(layers: readonly Layer[]): (readonly [Layer, number])[] {
  return layers.flatMap((layer) => (layer.k === 'exact' ? [] : [[layer, layer.k] as const]));
}
