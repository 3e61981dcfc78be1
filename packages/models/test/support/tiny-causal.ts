import { type Backend, sizeOf, tensor } from '@topk-attention/core';
import type { ParameterTree } from '@topk-attention/nn';
import { randomBelow } from '@topk-attention/vitest-preset/random';
import { type CausalLMConfig, causalLMParameterSpecs, parseCausalLMConfig } from '../../src/index.js';

/** Decoder-only models of a few hundred weights. */
const tiny = {
  gpt2: {
    model_type: 'gpt2',
    ...{ vocab_size: 11, n_embd: 6, n_inner: 8, n_layer: 2, n_head: 2, n_positions: 16 },
    ...{ embd_pdrop: 0, attn_pdrop: 0, resid_pdrop: 0, eos_token_id: 1 },
  },
  llama: {
    model_type: 'llama',
    ...{ vocab_size: 11, hidden_size: 6, intermediate_size: 8, num_hidden_layers: 2 },
    ...{ num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4, eos_token_id: 1 },
  },
  qwen3: {
    model_type: 'qwen3',
    ...{ vocab_size: 11, hidden_size: 6, intermediate_size: 8, num_hidden_layers: 1 },
    ...{ num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4, eos_token_id: 1 },
    ...{ attention_bias: true, tie_word_embeddings: true },
  },
} as const;

export type TinyFamily = keyof typeof tiny;

export function tinyCausalConfig(
  family: TinyFamily,
  changes: { readonly [key: string]: unknown } = {},
): CausalLMConfig {
  return parseCausalLMConfig(JSON.stringify({ ...tiny[family], ...changes }));
}

/** Random parameters in [-0.5, 0.5), norms around 1. */
export function tinyCausalParameters(backend: Backend, config: CausalLMConfig, seed = 1): ParameterTree {
  const random = randomBelow(seed);
  const number = (): number => random(1_000_000) / 1_000_000 - 0.5;
  return Object.fromEntries(
    causalLMParameterSpecs(config).map(({ name, shape, transposed }) => {
      const middle = /(norm|ln_\w+)\.weight$/.test(name) ? 1 : 0;
      const values = Float64Array.from({ length: sizeOf(shape) }, () => middle + number());
      return [name, tensor(backend, values, transposed ? [...shape].reverse() : shape)];
    }),
  );
}
