import { anArray, describeValue, TopKError } from '@topk-attention/core';
import type { Interruption } from '../interruption.js';
import type { ComparableModel, Comparison, LayerPart } from './comparison.js';
import { errorBetween, type Output, type OutputError } from './output-error.js';

/** Whose k is chosen: attention, over the source too, or feed-forward layers. */
export type Chosen = 'attention' | 'feedForward';

/** A sample with what the exact model makes of it. */
export interface ExactSample {
  readonly comparison: Comparison;
  readonly exact: Output;
}

/** Reads an output, of which it disposes. */
export async function outputOf(output: ReturnType<Comparison['run']>): Promise<Output> {
  try {
    return { width: output.shape.at(-1) as number, values: await output.data() };
  } finally {
    output.dispose();
  }
}

/** The error of one sample with these choices. */
export async function errorOf(
  { comparison, exact }: ExactSample,
  choices: Parameters<Comparison['run']>[0],
  interruption: Interruption,
): Promise<OutputError> {
  interruption.check();
  const { values } = await outputOf(comparison.run(choices));
  await interruption.yieldToEvents();
  return errorBetween(exact, values, comparison.outputs === 'logits');
}

/** A sample, ready to be run. @throws TopKError EMPTY_SEQUENCE, which names the sample, and as `comparison`. */
export async function comparisonOf<Sample>(
  where: string,
  model: ComparableModel<Sample>,
  sample: Sample,
  index: number,
  signal: AbortSignal | undefined,
): Promise<Comparison> {
  if (typeof (model as Partial<ComparableModel<Sample>> | undefined)?.comparison !== 'function') {
    throw new TopKError('INVALID_OPTION', `${where}: bad model`, {
      expected: 'a model with a method comparison, as those of loadModel have',
      got: describeValue(model),
    });
  }
  try {
    return await model.comparison(sample, signal);
  } catch (error) {
    if (!(error instanceof TopKError) || error.code !== 'EMPTY_SEQUENCE') throw error;
    throw new TopKError('EMPTY_SEQUENCE', `${where}: sample ${index} is empty`, {
      expected: 'at least one token',
      got: '0',
      cause: error,
    });
  }
}

/** @throws TopKError INVALID_OPTION, EMPTY_SEQUENCE for anything but a list with samples. */
export function checkSamples(where: string, samples: readonly unknown[]): void {
  if (!anArray().is(samples)) {
    throw new TopKError('INVALID_OPTION', `${where}: bad samples`, {
      expected: 'a list of samples',
      got: describeValue(samples),
    });
  }
  if (samples.length > 0) return;
  throw new TopKError('EMPTY_SEQUENCE', `${where}: no samples`, {
    expected: 'at least one text such as the model will be used on',
    got: '0',
  });
}

/** The parts of one kind, each with the most keys (or units) that any of the samples has. */
export function partsOf(samples: readonly Comparison[], of: Chosen): readonly LayerPart[] {
  const [first] = samples as readonly [Comparison];
  return first.parts
    .map((part, at) => ({
      ...part,
      most: Math.max(...samples.map(({ parts }) => (parts[at] as LayerPart).most)),
    }))
    .filter(({ part }) => (part === 'feedForward') === (of === 'feedForward'));
}
