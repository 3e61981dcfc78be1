import type { ParameterSpec } from '@topk-attention/nn';
import { depthOf, type Stack, type T5Config } from './config.js';

export const EMBEDDING = 'shared.weight';
const HEAD = 'lm_head.weight';

/** Copies of the shared embedding that some checkpoints store, sometimes without the original. */
const EMBEDDING_COPIES = ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'];

/** Where the checkpoint keeps the sublayers of a block. */
export const SUBLAYERS = {
  encoder: { attention: 0, feedForward: 1 },
  decoder: { attention: 0, crossAttention: 1, feedForward: 2 },
} as const;

/** Every weight of a configuration by its Hugging Face name. Linear layers become [in, out] when uploaded. */
export function t5ParameterSpecs(config: T5Config): readonly ParameterSpec[] {
  const { vocabSize, dModel, heads, buckets, tiedEmbeddings } = config;
  const shape = [vocabSize, dModel];
  const aliases = hasHead(config) ? EMBEDDING_COPIES : [...EMBEDDING_COPIES, HEAD];
  const specs: ParameterSpec[] = [{ name: EMBEDDING, aliases, shape }];
  if (hasHead(config)) {
    specs.push({
      name: HEAD,
      shape,
      ...(tiedEmbeddings && { aliases: [EMBEDDING, ...EMBEDDING_COPIES] }),
    });
  }
  for (const stack of ['encoder', 'decoder'] as const) {
    specs.push(
      { name: relativeTableName(stack), shape: [buckets, heads] },
      { name: finalNormName(stack), shape: [dModel] },
    );
    for (let block = 0; block < depthOf(config, stack); block++) {
      specs.push(...attentionSpecs(config, sublayerName(stack, block, 0), 'SelfAttention'));
      if (stack === 'decoder')
        specs.push(...attentionSpecs(config, sublayerName(stack, block, 1), 'EncDecAttention'));
      specs.push(...feedForwardSpecs(config, sublayerName(stack, block, SUBLAYERS[stack].feedForward)));
    }
  }
  return specs;
}

/**
 * v1.1 has its own head. transformers 5 saves such models as tied, with outputs that are not scaled: the head is then
 * stored only if it differs from the embedding.
 */
function hasHead({ tiedEmbeddings, scaledOutputs }: T5Config): boolean {
  return !(tiedEmbeddings && scaledOutputs);
}

/** The output projection [vocabSize, dModel]. */
export function outputName(config: T5Config): string {
  return hasHead(config) ? HEAD : EMBEDDING;
}

/** [buckets, heads], stored with the first block and used by all blocks of the stack. */
export function relativeTableName(stack: Stack): string {
  return `${sublayerName(stack, 0, 0)}.SelfAttention.relative_attention_bias.weight`;
}

export function finalNormName(stack: Stack): string {
  return `${stack}.final_layer_norm.weight`;
}

export function sublayerName(stack: Stack, block: number, sublayer: number): string {
  return `${stack}.block.${block}.layer.${sublayer}`;
}

/** A bias table that old conversions store for cross-attention, which does not use one. */
export function isIgnorableWeight(name: string): boolean {
  return name === 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight';
}

function attentionSpecs({ dModel, dKv, heads }: T5Config, sublayer: string, kind: string): ParameterSpec[] {
  const inner = heads * dKv;
  return [
    { name: `${sublayer}.layer_norm.weight`, shape: [dModel] },
    ...['q', 'k', 'v'].map((role) => ({
      name: `${sublayer}.${kind}.${role}.weight`,
      shape: [inner, dModel],
      transposed: true,
    })),
    { name: `${sublayer}.${kind}.o.weight`, shape: [dModel, inner], transposed: true },
  ];
}

function feedForwardSpecs({ dModel, dFf, gated }: T5Config, sublayer: string): ParameterSpec[] {
  const names = gated ? ['wi_0', 'wi_1'] : ['wi'];
  return [
    { name: `${sublayer}.layer_norm.weight`, shape: [dModel] },
    ...names.map((name) => ({
      name: `${sublayer}.DenseReluDense.${name}.weight`,
      shape: [dFf, dModel],
      transposed: true,
    })),
    { name: `${sublayer}.DenseReluDense.wo.weight`, shape: [dModel, dFf], transposed: true },
  ];
}
