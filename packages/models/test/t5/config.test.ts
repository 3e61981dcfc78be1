import { describe, expect, test } from 'vitest';
import { parseT5Config } from '../../src/index.js';

const required = {
  model_type: 't5',
  vocab_size: 32128,
  d_model: 512,
  d_kv: 64,
  d_ff: 2048,
  num_layers: 6,
  num_heads: 8,
};
const parse = (changes: object = {}) => parseT5Config(JSON.stringify({ ...required, ...changes }));

describe('parseT5Config', () => {
  test('fills in what the first T5 checkpoints leave out', () => {
    expect(parse()).toEqual({
      vocabSize: 32128,
      dModel: 512,
      dKv: 64,
      dFf: 2048,
      encoderLayers: 6,
      decoderLayers: 6,
      heads: 8,
      buckets: 32,
      maxDistance: 128,
      epsilon: 1e-6,
      dropoutRate: 0.1,
      activation: 'relu',
      gated: false,
      tiedEmbeddings: true,
      scaledOutputs: true,
      padId: 0,
      eosIds: [1],
      decoderStartId: 0,
    });
  });

  test.each([
    ['relu', 'relu', false],
    ['gelu', 'gelu', false],
    ['gelu_new', 'gelu_tanh', false],
    ['gated-gelu', 'gelu_tanh', true],
    ['gated-relu', 'relu', true],
    ['gated-silu', 'silu', true],
  ] as const)('feed_forward_proj %s', (name, activation, gated) => {
    expect(parse({ feed_forward_proj: name })).toMatchObject({ activation, gated });
  });

  test.each([
    [{ tie_word_embeddings: false }, { tiedEmbeddings: false, scaledOutputs: false }],
    [{ scale_decoder_outputs: false }, { tiedEmbeddings: true, scaledOutputs: false }],
    [
      { tie_word_embeddings: true, scale_decoder_outputs: true },
      { tiedEmbeddings: true, scaledOutputs: true },
    ],
  ])('%o', (changes, expected) => {
    expect(parse(changes)).toMatchObject(expected);
  });

  test.each([
    [{}, { gated: true, activation: 'gelu_tanh', scaledOutputs: false, tiedEmbeddings: true }],
    [
      { tie_word_embeddings: false, feed_forward_proj: 'relu' },
      { gated: false, scaledOutputs: false },
    ],
    [{ scale_decoder_outputs: true }, { scaledOutputs: false }],
  ])('mt5 with %o', (changes, expected) => {
    expect(parse({ model_type: 'mt5', ...changes })).toMatchObject(expected);
  });

  test('several ids may end a sequence', () => {
    expect(parse({ eos_token_id: [1, 5] }).eosIds).toEqual([1, 5]);
  });

  test.each([
    ['a missing width', { d_model: undefined }],
    ['a width of 0', { d_kv: 0 }],
    ['half a layer', { num_layers: 1.5 }],
    ['no layers', { num_decoder_layers: 0 }],
    ['a string for a number', { vocab_size: '32128' }],
    ['a size beyond whole numbers', { d_ff: Number.MAX_VALUE }],
    ['an unknown activation', { feed_forward_proj: 'swoosh' }],
    ['an activation from the prototype', { feed_forward_proj: 'toString' }],
    ['a negative epsilon', { layer_norm_epsilon: -1 }],
    ['a dropout rate of 1', { dropout_rate: 1 }],
    ['a negative dropout rate', { dropout_rate: -0.1 }],
    ['a tie that is no boolean', { tie_word_embeddings: 'yes' }],
    ['an end beyond the vocabulary', { eos_token_id: 32128 }],
    ['no end at all', { eos_token_id: [] }],
    ['a start beyond the vocabulary', { decoder_start_token_id: 99999 }],
    ['a distance that the buckets do not fit', { relative_attention_max_distance: 16 }],
  ])('%s is INVALID_CONFIG', (_, changes) => {
    expect(() => parse(changes)).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }));
  });

  test.each(['bert', 't6', 'umt5', undefined, 5])('model_type %s is UNKNOWN_MODEL_TYPE', (name) => {
    expect(() => parse({ model_type: name })).toThrow(
      expect.objectContaining({ code: 'UNKNOWN_MODEL_TYPE' }),
    );
  });
});
