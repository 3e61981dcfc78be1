import { describe, expect, test } from 'vitest';
import { parseCausalLMConfig } from '../../src/index.js';

const gpt2 = { model_type: 'gpt2', vocab_size: 50257, n_embd: 768, n_layer: 12, n_head: 12 };
const llama = {
  model_type: 'llama',
  vocab_size: 49152,
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 30,
  num_attention_heads: 9,
};
const parse = (of: object, changes: object = {}) =>
  parseCausalLMConfig(JSON.stringify({ ...of, ...changes }));

describe('parseCausalLMConfig', () => {
  test('fills in what the published GPT-2 leaves out', () => {
    expect(parse(gpt2)).toEqual({
      layout: 'gpt2',
      vocabSize: 50257,
      dModel: 768,
      dFf: 3072,
      layers: 12,
      heads: 12,
      keyValueHeads: 12,
      headDim: 64,
      maxPositions: 1024,
      rotary: undefined,
      norm: 'layerNorm',
      epsilon: 1e-5,
      activation: 'gelu_tanh',
      attentionBias: { input: true, output: true },
      headNorms: false,
      scoreScale: { byWidth: true, byLayer: false },
      dropout: { embedding: 0.1, attention: 0.1, residual: 0.1 },
      tiedEmbeddings: true,
      padId: 50256,
      eosIds: [50256],
    });
  });

  test('fills in what an old Llama leaves out', () => {
    expect(parse(llama)).toEqual({
      layout: 'llama',
      vocabSize: 49152,
      dModel: 576,
      dFf: 1536,
      layers: 30,
      heads: 9,
      keyValueHeads: 9,
      headDim: 64,
      maxPositions: 2048,
      rotary: { base: 10000 },
      norm: 'rmsNorm',
      epsilon: 1e-6,
      activation: 'silu',
      attentionBias: { input: false, output: false },
      headNorms: false,
      scoreScale: { byWidth: true, byLayer: false },
      dropout: { embedding: 0, attention: 0, residual: 0 },
      tiedEmbeddings: false,
      padId: 2,
      eosIds: [2],
    });
  });

  test.each([
    ['qwen2', {}, { attentionBias: { input: true, output: false }, eosIds: [], padId: 0, headNorms: false }],
    ['qwen3', {}, { attentionBias: { input: false, output: false }, headNorms: true, headDim: 128 }],
    ['qwen3', { attention_bias: true }, { attentionBias: { input: true, output: true } }],
    [
      'mistral',
      { sliding_window: null },
      { attentionBias: { input: false, output: false }, keyValueHeads: 8 },
    ],
    ['mistral', { sliding_window: null, num_key_value_heads: null }, { keyValueHeads: 32 }],
  ])('%s %o', (model_type, changes, expected) => {
    const heads = { num_attention_heads: 32, hidden_size: 1024 };
    expect(parse(llama, { model_type, ...heads, ...changes })).toMatchObject(expected);
  });

  const llama3 = {
    factor: 32,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  };
  const scaling = { kind: 'llama3', factor: 32, lowFactor: 1, highFactor: 4, originalPositions: 8192 };
  test.each([
    [{ rope_theta: 5e5 }, { base: 5e5 }],
    [{ rope_theta: 5e5, rope_scaling: null }, { base: 5e5 }],
    [{ rope_scaling: { type: 'linear', factor: 2 } }, { base: 1e4, scaling: { kind: 'linear', factor: 2 } }],
    [
      { rope_theta: 5e5, rope_scaling: { rope_type: 'llama3', ...llama3 } },
      { base: 5e5, scaling },
    ],
    [{ rope_parameters: { rope_type: 'llama3', rope_theta: 5e5, ...llama3 } }, { base: 5e5, scaling }],
    [{ rope_parameters: { rope_type: 'default', rope_theta: 7 }, rope_theta: 9 }, { base: 7 }],
  ])('rotary positions of %o', (changes, expected) => {
    expect(parse(llama, changes).rotary).toEqual(expected);
  });

  test('special ids: none, several, -1', () => {
    expect(parse(llama, { eos_token_id: null })).toMatchObject({ eosIds: [], padId: 0 });
    expect(parse(llama, { eos_token_id: [7, 9] })).toMatchObject({ eosIds: [7, 9], padId: 7 });
    expect(parse(llama, { pad_token_id: -1 })).toMatchObject({ eosIds: [2], padId: 2 });
    expect(parse(llama, { pad_token_id: 5 })).toMatchObject({ eosIds: [2], padId: 5 });
  });

  test.each<[string, object, object]>([
    ['heads that do not divide the width', gpt2, { n_head: 11 }],
    ['a missing width', llama, { hidden_size: undefined }],
    ['groups that do not fit', llama, { num_key_value_heads: 2 }],
    ['an odd head', llama, { head_dim: 7 }],
    ['an unknown activation', llama, { hidden_act: 'toString' }],
    ['an end beyond the vocabulary', llama, { eos_token_id: 49152 }],
    ['padding beyond the vocabulary', gpt2, { pad_token_id: 50257 }],
    ['a base of 0', llama, { rope_theta: 0 }],
    ['a factor of 0', llama, { rope_scaling: { type: 'linear', factor: 0 } }],
    ['a scaling that is no object', llama, { rope_scaling: [2] }],
    [
      'frequencies in the wrong order',
      llama,
      { rope_scaling: { type: 'llama3', ...llama3, low_freq_factor: 4 } },
    ],
  ])('%s is INVALID_CONFIG', (_, of, changes) => {
    expect(() => parse(of, changes)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });

  test.each<[string, object, RegExp]>([
    ['cross-attention', { ...gpt2, add_cross_attention: true }, /add_cross_attention/],
    ['a sliding window', { ...llama, model_type: 'mistral', num_key_value_heads: 9 }, /sliding_window/],
    [
      'a window that is on',
      { ...llama, model_type: 'qwen2', use_sliding_window: true, sliding_window: 8 },
      /sliding_window/,
    ],
    [
      'layers of other kinds',
      { ...llama, layer_types: ['full_attention', 'sliding_attention'] },
      /layer_types.*sliding_attention/,
    ],
    ['biases of feed-forward layers', { ...llama, mlp_bias: true }, /mlp_bias/],
    ['a part of each head', { ...llama, partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    ['yarn', { ...llama, rope_scaling: { type: 'yarn', factor: 4 } }, /rope_scaling of type "yarn"/],
    [
      'dynamic',
      { ...llama, rope_parameters: { rope_type: 'dynamic', factor: 4 } },
      /rope_parameters of type "dynamic"/,
    ],
  ])('%s is UNSUPPORTED, by name', (_, config, name) => {
    expect(() => parse(config)).toThrow(expect.objectContaining({ code: 'UNSUPPORTED' }));
    expect(() => parse(config)).toThrow(name);
  });

  test.each(['t5', 'gpt_neo', undefined, 5, 'toString'])(
    'model_type %s is UNKNOWN_MODEL_TYPE',
    (model_type) => {
      expect(() => parse(llama, { model_type })).toThrow(
        expect.objectContaining({ code: 'UNKNOWN_MODEL_TYPE' }),
      );
    },
  );
});
