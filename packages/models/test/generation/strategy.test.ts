import { TopKError } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { defaultsOf, noDefaults, parseGenerationConfig } from '../../src/generation/generation-config.js';
import type { GenerationSettings } from '../../src/generation/settings.js';
import { type StrategyContext, strategyOf } from '../../src/generation/strategy.js';
import { batchCall, strategy } from './support.js';

/** What a call with these settings is refused with. */
function refusal(
  given: GenerationSettings,
  changes: Partial<StrategyContext> = {},
  defaults = noDefaults,
): string {
  try {
    strategyOf(given, defaults, { ...batchCall, ...changes });
  } catch (error) {
    if (error instanceof TopKError && error.code === 'INVALID_OPTION') return error.message;
    throw error;
  }
  return 'accepted';
}

describe('a call without settings', () => {
  test("has transformers' defaults", () => {
    const { sampling, ...rest } = strategy({ doSample: true });
    expect(rest).toEqual({
      mode: 'sampling',
      limits: { maxNewTokens: 20, maxLength: undefined, minNewTokens: undefined, minLength: undefined },
      stopStrings: [],
      eosIds: [1],
      numReturnSequences: 1,
      repetitionPenalty: 1,
      noRepeatNgramSize: 0,
      beams: { numBeams: 1, lengthPenalty: 1, earlyStopping: false },
    });
    expect(sampling).toMatchObject({ temperature: 1, topK: 50, topP: 1, minP: 0 });
    expect(sampling.seed).not.toBe(strategy({ doSample: true }).sampling.seed);
    expect(strategy({}).mode).toBe('greedy');
  });

  test('does what the checkpoint says', () => {
    const defaults = defaultsOf({ doSample: true, temperature: 0.6, maxNewTokens: 7, stopStrings: 'end' });
    const got = strategyOf({}, defaults, batchCall);
    expect(got.mode).toBe('sampling');
    expect(got.sampling.temperature).toBe(0.6);
    expect(got.limits.maxNewTokens).toBe(7);
    expect(got.stopStrings).toEqual(['end']);
  });
});

describe('a call with settings', () => {
  test('overrides the checkpoint, one by one', () => {
    const defaults = defaultsOf({
      doSample: true,
      temperature: 0.6,
      topK: 3,
      maxNewTokens: 7,
      eosTokenId: 5,
    });
    const got = strategyOf({ temperature: 2, eosTokenId: [6, 7] }, defaults, batchCall);
    expect(got.sampling).toMatchObject({ temperature: 2, topK: 3 });
    expect(got.eosIds).toEqual([6, 7]);
    expect(strategyOf({ doSample: false }, defaults, batchCall).mode).toBe('greedy');
  });

  test('may say a length by its other name', () => {
    const defaults = defaultsOf({ maxNewTokens: 7, minNewTokens: 2 });
    expect(strategyOf({ maxLength: 9, minLength: 4 }, defaults, batchCall).limits).toEqual({
      maxNewTokens: undefined,
      maxLength: 9,
      minNewTokens: undefined,
      minLength: 4,
    });
    // As in transformers, new tokens win where a checkpoint says both.
    expect(strategyOf({}, defaultsOf({ maxNewTokens: 7, maxLength: 9 }), batchCall).limits).toMatchObject({
      maxNewTokens: 7,
      maxLength: undefined,
    });
  });

  test.each<[GenerationSettings, string, Partial<StrategyContext>?]>([
    [{ maxNewTokens: 3, maxLength: 4 }, 'maxNewTokens with maxLength'],
    [{ minNewTokens: 3, minLength: 4 }, 'minNewTokens with minLength'],
    [{ numBeams: 2, doSample: true }, 'doSample with numBeams'],
    [{ temperature: 0.5 }, 'temperature without doSample'],
    [{ seed: 1 }, 'seed without doSample'],
    [{ topK: 5, numBeams: 3 }, 'topK without doSample'],
    [{ lengthPenalty: 2 }, 'lengthPenalty without beams'],
    [{ earlyStopping: true, doSample: true }, 'earlyStopping without beams'],
    [{ numBeams: 2 }, 'tokens as they come, of beams', { isStreamed: true }],
    [{ numReturnSequences: 2 }, 'which would all be equal'],
    [{ numReturnSequences: 3, numBeams: 2 }, 'numBeams, 2'],
    [{ numReturnSequences: 2, doSample: true }, 'generateBatch', { isBatch: false }],
    [{ stopStrings: 'x' }, 'without a tokenizer', { hasTokenizer: false }],
    [{ eosTokenId: 100 }, 'below the vocabulary'],
  ])('is refused where it makes no sense: %o', (given, words, changes) => {
    expect(refusal(given, changes)).toContain(words);
  });

  test('of the checkpoint, what has no effect passes', () => {
    const defaults = defaultsOf({ temperature: 0.7, lengthPenalty: 2, topP: 0.9 });
    expect(refusal({}, {}, defaults)).toBe('accepted');
    expect(refusal({ numBeams: 2 }, {}, defaults)).toBe('accepted');
  });
});

describe('generation_config.json', () => {
  const parse = (content: object) => parseGenerationConfig(JSON.stringify(content));

  test('is read whole', () => {
    const { settings, unsupported } = parse({
      bos_token_id: 1,
      eos_token_id: [2, 3],
      do_sample: true,
      temperature: 0.6,
      top_k: 20,
      top_p: 0.95,
      min_p: 0.1,
      repetition_penalty: 1.05,
      no_repeat_ngram_size: 3,
      max_length: 4096,
      max_new_tokens: 64,
      min_length: 2,
      min_new_tokens: 1,
      num_beams: 4,
      length_penalty: 0.8,
      early_stopping: 'never',
      num_return_sequences: 2,
      stop_strings: ['###'],
      transformers_version: '5.18.0',
    });
    expect(unsupported).toEqual([]);
    expect(settings).toEqual({
      doSample: true,
      temperature: 0.6,
      topK: 20,
      topP: 0.95,
      minP: 0.1,
      repetitionPenalty: 1.05,
      noRepeatNgramSize: 3,
      maxLength: 4096,
      maxNewTokens: 64,
      minLength: 2,
      minNewTokens: 1,
      numBeams: 4,
      lengthPenalty: 0.8,
      earlyStopping: 'never',
      numReturnSequences: 2,
      stopStrings: ['###'],
    });
  });

  test('values that mean "off" pass, as does what changes no text', () => {
    const { settings, unsupported } = parse({
      _from_model_config: true,
      typical_p: 1.0,
      epsilon_cutoff: 0.0,
      eta_cutoff: 0.0,
      diversity_penalty: 0.0,
      num_beam_groups: 1,
      encoder_repetition_penalty: 1.0,
      encoder_no_repeat_ngram_size: 0,
      bad_words_ids: null,
      suppress_tokens: [],
      begin_suppress_tokens: null,
      forced_bos_token_id: null,
      forced_eos_token_id: null,
      guidance_scale: null,
      renormalize_logits: false,
      penalty_alpha: null,
      max_time: null,
      use_cache: false,
      cache_implementation: 'static',
      return_dict_in_generate: true,
      output_attentions: true,
      num_assistant_tokens: 20,
      exponential_decay_length_penalty: null,
    });
    expect(settings).toEqual({});
    expect(unsupported).toEqual([]);
  });

  test.each([
    { typical_p: 0.9 },
    { epsilon_cutoff: 0.1 },
    { num_beam_groups: 2 },
    { diversity_penalty: 0.5 },
    { bad_words_ids: [[5]] },
    { suppress_tokens: [1] },
    { forced_eos_token_id: 1 },
    { forced_bos_token_id: 7 },
    { max_time: 3 },
    { penalty_alpha: 0.6 },
    { guidance_scale: 2 },
    { cache_implementation: 'quantized' },
    { dola_layers: 'low' },
    { something_new: 1 },
  ])('what is not supported is refused by name when it would matter: %o', (content) => {
    const [key] = Object.keys(content) as [string];
    const defaults = parse(content);
    const isOfSampling = /^(typical|epsilon)/.test(key);
    const isOfBeams = /beam|diversity/.test(key);
    const modes = { greedy: {}, sampling: { doSample: true }, beams: { numBeams: 2 } };
    for (const [mode, given] of Object.entries(modes)) {
      const matters = isOfSampling ? mode === 'sampling' : isOfBeams ? mode === 'beams' : true;
      const message = refusal(given, {}, defaults);
      if (matters) expect(message).toContain(`${key} of generation_config.json`);
      else expect(message).toBe('accepted');
    }
  });

  test.each([
    { temperature: 0 },
    { temperature: 'hot' },
    { top_k: -1 },
    { top_p: 1.5 },
    { num_beams: 0 },
    { num_beams: 1_000_000_000 },
    { num_return_sequences: 1001 },
    { do_sample: 1 },
    { early_stopping: 'always' },
    { stop_strings: [''] },
    { repetition_penalty: -1 },
    { max_new_tokens: 2.5 },
  ])('an impossible value is an error of the file: %o', (content) => {
    const [key] = Object.keys(content) as [string];
    expect(() => parse(content)).toThrow(
      expect.objectContaining({ code: 'INVALID_CONFIG', message: expect.stringContaining(key) }),
    );
  });
});
