import { describeValue, TopKError } from '@topk-attention/core';
import type { Decoder, DecoderState } from '../generation/decoder.js';
import { drain } from '../generation/drain.js';
import { type Generation, type GenerationModel, generate, generationTask } from '../generation/generate.js';
import { noDefaults } from '../generation/generation-config.js';
import { promptIds, type SourceInput } from '../generation/prompts.js';
import { checkIds } from '../generation/token-batch.js';
import type { Interruption } from '../interruption.js';

/**
 * A source, or a prompt, for `suggestK` and `kErrors`; with a target, what the model should answer, or how it should go on.
 */
export type AnswerSample =
  | SourceInput
  | {
      readonly source: SourceInput;
      /** Text, or token ids with the end-of-sequence id. Default: what the exact model answers, up to 32 tokens. */
      readonly target?: SourceInput;
    };

/** Of an exact answer that stands for a target. */
export const ANSWER_TOKENS = 32;

/** A model that answers, without what its checkpoint says about generation: exact answers are greedy. */
export type AnsweringModel = Omit<GenerationModel, 'defaults'>;

/**
 * Token ids of a sample.
 *
 * @throws TopKError INVALID_OPTION, EMPTY_SEQUENCE, ABORTED
 */
export async function sampleIds(
  { tokenizer, vocabSize, padId }: AnsweringModel,
  sample: AnswerSample,
  signal: AbortSignal | undefined,
): Promise<{ readonly source: readonly number[]; readonly target: readonly number[] | undefined }> {
  const { source, target } = sourceAndTarget(sample);
  const given = target === undefined ? [source] : [source, target];
  const ids = await promptIds('comparison', tokenizer, given, { ...(signal && { signal }) });
  checkIds('comparison', { vocabSize, padId }, ids);
  return { source: ids[0] as readonly number[], target: ids[1] };
}

function sourceAndTarget(sample: AnswerSample): Exclude<AnswerSample, SourceInput> {
  if (typeof sample === 'string' || isIds(sample)) return { source: sample };
  if (typeof sample === 'object' && sample !== null && 'source' in sample) return sample;
  throw new TopKError('INVALID_OPTION', 'comparison: not a sample', {
    expected: 'a text, token ids, or { source, target } of them',
    got: describeValue(sample),
  });
}

function isIds(sample: Exclude<AnswerSample, string>): sample is readonly number[] {
  return Array.isArray(sample) || ArrayBuffer.isView(sample);
}

/**
 * What a model answers.
 *
 * @param decoder of the exact model
 * @throws TopKError ABORTED, DISPOSED, NAN_FOUND
 */
export async function exactAnswer<State extends DecoderState>(
  model: AnsweringModel,
  decoder: Decoder<State>,
  source: readonly number[],
  maxNewTokens: number,
  interruption: Interruption,
): Promise<readonly number[]> {
  const task = generationTask('generate', { ...model, defaults: noDefaults }, { maxNewTokens });
  const [answer] = await drain(generate(decoder, [source], task, interruption, {}));
  return (answer as Generation).ids;
}
