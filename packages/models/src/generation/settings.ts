import { aBoolean, aValue, type OptionKinds } from '@topk-attention/core';

/**
 * How tokens are chosen and when a text ends: transformers' names in camelCase, its meanings and its defaults. What a call
 * leaves out is as generation_config.json says; where that says nothing either, the default holds.
 */
export interface GenerationSettings {
  /** Default 20. */
  readonly maxNewTokens?: number;
  /** The same with the tokens that the sequence begins with: the prompt, or the start token of an encoder-decoder. */
  readonly maxLength?: number;
  /** No end of sequence before so many new tokens. Default 0. */
  readonly minNewTokens?: number;
  /** The same with the tokens that the sequence begins with. */
  readonly minLength?: number;
  /** Texts that end a text, without being part of it. Default: none. */
  readonly stopStrings?: string | readonly string[];
  /** Ids that end a sequence. Default: those of the checkpoint. */
  readonly eosTokenId?: number | readonly number[];
  /** Whether tokens are drawn at random by their probabilities, in place of the best one. Default false. */
  readonly doSample?: boolean;
  /** Logits are divided by it, above 0; only with `doSample`, as the next four. Default 1. */
  readonly temperature?: number;
  /** Draws among the so many best, and their ties; 0: among all. Default 50. */
  readonly topK?: number;
  /** Draws among the fewest tokens whose probabilities add up to this. Default 1: all. */
  readonly topP?: number;
  /** Draws among tokens of at least this share of the best one's probability. Default 0: all. */
  readonly minP?: number;
  /** Same seed, same text (on the same backend). Default: another one in each call. */
  readonly seed?: number;
  /** Above 1, tokens of the sequence so far become less likely. Default 1. */
  readonly repetitionPenalty?: number;
  /** No so many tokens in a row occur twice. Default 0: no such rule. */
  readonly noRepeatNgramSize?: number;
  /** Above 1, beam search; at most 1,000. Default 1. */
  readonly numBeams?: number;
  /** A beam's score is its log-probability / length ** lengthPenalty: above 0 favours long texts. Default 1. */
  readonly lengthPenalty?: number;
  /**
   * When beam search ends: true, with `numBeams` complete sequences; false, when better ones are unlikely; 'never', when
   * there can be none. Default false.
   */
  readonly earlyStopping?: boolean | 'never';
  /** Sequences of each source, beside each other in the result: beams, best first, or draws; at most 1,000. Default 1. */
  readonly numReturnSequences?: number;
}

const isWhole = (value: unknown): value is number => typeof value === 'number' && Number.isSafeInteger(value);
const isFinite = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

const positive = aValue<number>('a positive whole number', (value) => isWhole(value) && value > 0);
const natural = aValue<number>('a whole number from 0', (value) => isWhole(value) && value >= 0);
const share = aValue<number>('a number from 0 to 1', (value) => isFinite(value) && value >= 0 && value <= 1);
const aboveZero = aValue<number>('a number above 0', (value) => isFinite(value) && value > 0);
/** Each takes a cache of its own: a file must not ask for more than fits in memory. */
const MOST_SEQUENCES = 1000;
const sequences = aValue<number>(
  `a whole number from 1 to ${MOST_SEQUENCES}`,
  (value) => isWhole(value) && value >= 1 && value <= MOST_SEQUENCES,
);
const isId = (value: unknown): boolean => isWhole(value) && value >= 0;

/** What each setting may be, in a call as in a file. */
export const settingKinds: OptionKinds<GenerationSettings> = {
  maxNewTokens: positive,
  maxLength: positive,
  minNewTokens: natural,
  minLength: natural,
  stopStrings: aValue('a text that is not empty, or a list of them', (value) =>
    (Array.isArray(value) ? value : [value]).every((one) => typeof one === 'string' && one !== ''),
  ),
  eosTokenId: aValue('a token id, or a list of them', (value) =>
    (Array.isArray(value) ? value : [value]).every(isId),
  ),
  doSample: aBoolean,
  temperature: aValue('a number above 0 (for the best token alone: doSample: false)', aboveZero.is),
  topK: natural,
  topP: share,
  minP: share,
  seed: natural,
  repetitionPenalty: aboveZero,
  noRepeatNgramSize: natural,
  numBeams: sequences,
  lengthPenalty: aValue('a number', isFinite),
  earlyStopping: aValue("true, false or 'never'", (value) => typeof value === 'boolean' || value === 'never'),
  numReturnSequences: sequences,
};

/** The settings among the options of a call. */
export function settingsAmong(options: GenerationSettings): GenerationSettings {
  const given = Object.entries(options).filter(
    ([name, value]) => Object.hasOwn(settingKinds, name) && value !== undefined,
  );
  return Object.fromEntries(given);
}
