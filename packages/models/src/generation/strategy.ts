import { describeValue, TopKError } from '@topk-attention/core';
import type { GenerationDefaults } from './generation-config.js';
import type { GenerationSettings } from './settings.js';

/** How a call chooses tokens: settings of the call over those of the checkpoint over the defaults, checked together. */
export interface Strategy {
  readonly mode: 'greedy' | 'sampling' | 'beams';
  readonly limits: Limits;
  readonly stopStrings: readonly string[];
  readonly eosIds: readonly number[];
  readonly numReturnSequences: number;
  readonly repetitionPenalty: number;
  readonly noRepeatNgramSize: number;
  readonly sampling: Sampling;
  readonly beams: Beams;
}

/** Lengths of a row; those of the whole sequence count its prefix. */
export interface Limits {
  readonly maxNewTokens: number | undefined;
  readonly maxLength: number | undefined;
  readonly minNewTokens: number | undefined;
  readonly minLength: number | undefined;
}

export interface Sampling {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly seed: number;
}

export interface Beams {
  readonly numBeams: number;
  readonly lengthPenalty: number;
  readonly earlyStopping: boolean | 'never';
}

/** What a call is, as far as settings must know. */
export interface StrategyContext {
  readonly where: string;
  /** Whether the call may return several sequences of a source. */
  readonly isBatch: boolean;
  /** Whether tokens are wanted as they come. */
  readonly isStreamed: boolean;
  readonly hasTokenizer: boolean;
  readonly vocabSize: number;
  /** Of the model's configuration. */
  readonly eosIds: readonly number[];
}

const MAX_NEW_TOKENS = 20;
const TOP_K = 50;

const SAMPLING_ONLY = ['temperature', 'topK', 'topP', 'minP', 'seed'] as const;
const BEAMS_ONLY = ['lengthPenalty', 'earlyStopping'] as const;

/**
 * @param given settings of the call
 * @throws TopKError INVALID_OPTION for settings that exclude each other, that would have no effect, or that are not
 * supported, those of the checkpoint among them.
 */
export function strategyOf(
  given: GenerationSettings,
  defaults: GenerationDefaults,
  context: StrategyContext,
): Strategy {
  const { where } = context;
  checkTogether(where, given);
  const all: GenerationSettings = { ...withoutOverruled(defaults.settings, given), ...given };
  const { numBeams = 1, doSample = false, numReturnSequences = 1 } = all;
  const mode = numBeams > 1 ? 'beams' : doSample ? 'sampling' : 'greedy';
  if (numBeams > 1 && doSample) throw excluded(where, 'doSample with numBeams above 1', 'one of the two');
  for (const name of SAMPLING_ONLY) {
    if (mode !== 'sampling' && given[name] !== undefined)
      throw excluded(where, `${name} without doSample`, `doSample: true, or no ${name}`);
  }
  for (const name of BEAMS_ONLY) {
    if (mode !== 'beams' && given[name] !== undefined)
      throw excluded(where, `${name} without beams`, `numBeams above 1, or no ${name}`);
  }
  if (mode === 'beams' && context.isStreamed)
    throw excluded(where, 'tokens as they come, of beams', 'generate() without onToken, or numBeams: 1');
  checkReturned(context, numReturnSequences, mode, numBeams);
  for (const { key, value, matters } of defaults.unsupported) {
    if (matters !== 'always' && matters !== mode) continue;
    throw new TopKError('INVALID_OPTION', `${where}: ${key} of generation_config.json is not supported`, {
      expected: 'settings that this package has',
      got: `${key}: ${JSON.stringify(value)}`,
      fix: 'Load with generationConfig: {}, or with the settings that you want',
    });
  }
  const stopStrings = listOf(all.stopStrings ?? []);
  if (stopStrings.length > 0 && !context.hasTokenizer)
    throw excluded(where, 'stopStrings without a tokenizer', 'a model loaded with its tokenizer');
  return {
    mode,
    limits: limitsOf(all),
    stopStrings,
    eosIds: eosIdsOf(context, all),
    numReturnSequences,
    repetitionPenalty: all.repetitionPenalty ?? 1,
    noRepeatNgramSize: all.noRepeatNgramSize ?? 0,
    sampling: {
      temperature: all.temperature ?? 1,
      topK: all.topK ?? TOP_K,
      topP: all.topP ?? 1,
      minP: all.minP ?? 0,
      seed: all.seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER),
    },
    beams: {
      numBeams,
      lengthPenalty: all.lengthPenalty ?? 1,
      earlyStopping: all.earlyStopping ?? false,
    },
  };
}

/** Two names for one thing in the same call. */
function checkTogether(where: string, given: GenerationSettings): void {
  for (const [one, other] of [
    ['maxNewTokens', 'maxLength'],
    ['minNewTokens', 'minLength'],
  ] as const) {
    if (given[one] !== undefined && given[other] !== undefined)
      throw excluded(where, `${one} with ${other}`, 'one of the two');
  }
}

/** Settings of the checkpoint without those that a call says by their other name. */
function withoutOverruled(settings: GenerationSettings, given: GenerationSettings): GenerationSettings {
  const { maxNewTokens, minNewTokens, ...rest } = settings;
  return {
    ...rest,
    ...(maxNewTokens !== undefined && given.maxLength === undefined && { maxNewTokens }),
    ...(minNewTokens !== undefined && given.minLength === undefined && { minNewTokens }),
  };
}

/** As in transformers, the numbers of new tokens win where a checkpoint says both. */
function limitsOf({ maxNewTokens, maxLength, minNewTokens, minLength }: GenerationSettings): Limits {
  return {
    maxNewTokens: maxNewTokens ?? (maxLength === undefined ? MAX_NEW_TOKENS : undefined),
    maxLength: maxNewTokens === undefined ? maxLength : undefined,
    minNewTokens,
    minLength: minNewTokens === undefined ? minLength : undefined,
  };
}

function checkReturned(
  { where, isBatch }: StrategyContext,
  wanted: number,
  mode: Strategy['mode'],
  numBeams: number,
): void {
  if (wanted === 1) return;
  if (!isBatch)
    throw excluded(where, `numReturnSequences: ${wanted}`, '1, or generateBatch([source], { ... })');
  if (mode === 'greedy')
    throw excluded(where, `numReturnSequences: ${wanted}, which would all be equal`, 'doSample or numBeams');
  if (mode === 'beams' && wanted > numBeams)
    throw excluded(where, `numReturnSequences: ${wanted}`, `at most numBeams, ${numBeams}`);
}

function eosIdsOf(
  { where, eosIds, vocabSize }: StrategyContext,
  { eosTokenId }: GenerationSettings,
): readonly number[] {
  if (eosTokenId === undefined) return eosIds;
  const ids = typeof eosTokenId === 'number' ? [eosTokenId] : eosTokenId;
  const bad = ids.find((id) => id >= vocabSize);
  if (bad === undefined) return ids;
  throw new TopKError('INVALID_OPTION', `${where}: bad eosTokenId`, {
    expected: `ids below the vocabulary's size, ${vocabSize}`,
    got: describeValue(bad),
  });
}

function listOf(given: string | readonly string[]): readonly string[] {
  return typeof given === 'string' ? [given] : given;
}

function excluded(where: string, got: string, expected: string): TopKError {
  return new TopKError('INVALID_OPTION', `${where}: settings that do not go together`, { expected, got });
}
