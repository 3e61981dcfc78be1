import {
  aFunction,
  anArray,
  describeValue,
  div,
  mul,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import { aSignal, type Trace } from '@topk-attention/nn';
import { Interruption } from '../interruption.js';
import type { Progress } from '../progress.js';
import {
  type ComparableModel,
  type Comparison,
  choicesKeeping,
  EXACT,
  type LayerPart,
} from './comparison.js';
import { errorBetween, noError, type Output, type OutputError, worse } from './output-error.js';
import { type Chosen, checkSamples, comparisonOf, outputOf, partsOf } from './samples.js';

export interface KErrorsOptions {
  /** The ks to be tried, each below the length of a sample. */
  readonly ks: readonly number[];
  /** Whose k: 'attention', over the source too, or 'feedForward'. Default 'attention'. */
  readonly of?: Chosen;
  /** Stops between two runs of the model: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Stage 'compare': how many runs of the model are done. */
  readonly onProgress?: (progress: Progress) => void;
}

/** What top-k in one part of one layer, all others exact, does to the samples. */
export interface LayerError extends Pick<LayerPart, 'path' | 'part'> {
  readonly k: number;
  /** Where the layer's block ends: the length of the difference of the residual streams, by that of the exact one. */
  readonly residual: number;
  /** At the model's output. */
  readonly output: OutputError;
}

const kinds: OptionKinds<KErrorsOptions> = {
  ks: required(anArray()),
  of: oneOf('attention', 'feedForward'),
  signal: aSignal,
  onProgress: aFunction(),
};

/**
 * A report, layer by layer: what each k costs on the user's own texts, at the layer and at the model's output. Of several
 * samples the largest errors. One run of the model for each layer, k and sample.
 *
 * @throws TopKError as `suggestK`; INVALID_K for a k of which no sample has more keys (or a layer more units).
 *
 * @example
 * const model = await loadT5({ backend, source: './model' });
 * const errors = await kErrors(model, ['where is ann? \\n ann went to the garden.'], { ks: [2, 4] });
 * for (const { path, part, k, residual } of errors) console.log(path, part, k, residual);
 */
export async function kErrors<Sample>(
  model: ComparableModel<Sample>,
  samples: readonly Sample[],
  options: KErrorsOptions,
): Promise<readonly LayerError[]> {
  const { ks, of = 'attention', signal, onProgress } = readOptions('kErrors', options, kinds);
  checkSamples('kErrors', samples);
  const interruption = new Interruption('kErrors', signal);
  const comparisons: Comparison[] = [];
  for (const [index, sample] of samples.entries())
    comparisons.push(await comparisonOf('kErrors', model, sample, index, signal));
  const parts = partsOf(comparisons, of);
  checkKs(ks, Math.max(...parts.map(({ most }) => most)));

  const none = noError(comparisons[0]?.outputs === 'logits');
  const errors = parts.flatMap(({ path, part, most }) =>
    ks.map((k) => ({ path, part, k, most, residual: 0, output: none })),
  );
  const total = comparisons.length * (1 + errors.length);
  let done = 0;
  const report = (): void => onProgress?.({ stage: 'compare', done: ++done, total });
  for (const comparison of comparisons) {
    const residuals = new Map<string, Tensor>();
    try {
      const exact = await outputOf(
        comparison.run(EXACT, { onResidual: (path, x) => void residuals.set(path, x) }),
      );
      report();
      for (const error of errors) {
        if (error.k < error.most) {
          const own = await layerError(comparison, exact, residuals, error);
          error.residual = Math.max(error.residual, own.residual);
          error.output = worse(own.output, error.output);
        }
        await interruption.yieldToEvents();
        report();
      }
    } finally {
      for (const one of residuals.values()) one.dispose();
    }
  }
  return errors.map(({ most: _, ...error }) => error);
}

async function layerError(
  comparison: Comparison,
  exact: Output,
  residuals: ReadonlyMap<string, Tensor>,
  { path, part, k }: Pick<LayerError, 'path' | 'part' | 'k'>,
): Promise<Pick<LayerError, 'residual' | 'output'>> {
  let seen: Tensor | undefined;
  const onResidual: Trace['onResidual'] = (at, x) => {
    if (at === path && seen === undefined) seen = x;
    else x.dispose();
  };
  try {
    const choices = choicesKeeping([[{ path, part }, k]], comparison.parts);
    const { values } = await outputOf(comparison.run(choices, { onResidual }));
    const output = errorBetween(exact, values, comparison.outputs === 'logits');
    const before = residuals.get(path);
    if (seen === undefined || before === undefined) return { residual: 0, output };
    return { residual: await relativeDifference(seen, before), output };
  } finally {
    seen?.dispose();
  }
}

/** |x - exact| / |exact| */
async function relativeDifference(x: Tensor, exact: Tensor): Promise<number> {
  const ratio = scope(() => {
    const difference = sub(x, exact);
    return div(sum(mul(difference, difference)), sum(mul(exact, exact)));
  });
  try {
    return Math.sqrt(Number((await ratio.data())[0]));
  } finally {
    ratio.dispose();
  }
}

/** @throws TopKError INVALID_OPTION, INVALID_K */
function checkKs(ks: readonly number[], most: number): void {
  if (ks.length === 0) {
    throw new TopKError('INVALID_OPTION', 'kErrors: no ks', { expected: 'at least one', got: '0' });
  }
  const bad = ks.findIndex((k) => !(Number.isSafeInteger(k) && k > 0 && k < most));
  if (bad === -1) return;
  throw new TopKError('INVALID_K', 'kErrors: a k that leaves nothing out of these samples', {
    expected: most > 1 ? `whole numbers from 1 to ${most - 1}` : 'a sample of at least 2 tokens',
    got: describeValue(ks[bad]),
    fix: 'Pass smaller ks, or texts of the length that the model will be used on',
  });
}
