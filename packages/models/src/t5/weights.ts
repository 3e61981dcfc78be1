import type { FeedForwardWeights, Tensor } from '@topk-attention/core';
import type { ParameterSpec, ParameterTree } from '@topk-attention/nn';
import type { T5Config } from './config.js';

/** Projections [dModel, inner] and output [inner, dModel] of one attention, after its norm [dModel]. */
export interface AttentionWeights {
  readonly norm: Tensor;
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly o: Tensor;
}

export interface FeedForwardLayerWeights {
  readonly norm: Tensor;
  readonly weights: FeedForwardWeights;
}

interface EncoderLayerWeights {
  readonly attention: AttentionWeights;
  readonly feedForward: FeedForwardLayerWeights;
}

export interface DecoderLayerWeights extends EncoderLayerWeights {
  readonly crossAttention: AttentionWeights;
}

interface StackWeights<Layer> {
  readonly layers: readonly Layer[];
  readonly finalNorm: Tensor;
  /** [buckets, heads]: the first layer's, which every layer of the stack uses. */
  readonly relativeTable: Tensor;
}

/** The weights by what they do. The tensors are those of `parameters`, which owns them. */
export interface T5Weights {
  readonly parameters: ParameterTree;
  /** [vocabSize, dModel] */
  readonly embedding: Tensor;
  readonly encoder: StackWeights<EncoderLayerWeights>;
  readonly decoder: StackWeights<DecoderLayerWeights>;
  /** [vocabSize, dModel]; the embedding itself where they are tied. */
  readonly output: Tensor;
}

type Stack = 'encoder' | 'decoder';

const EMBEDDING = 'shared.weight';
const OUTPUT = 'lm_head.weight';

/** Copies of the shared embedding that some checkpoints store, and may store alone. */
const EMBEDDING_COPIES = ['encoder.embed_tokens.weight', 'decoder.embed_tokens.weight'];

/** Every weight of a configuration by its Hugging Face name. Linear layers are turned to [in, out] when uploaded. */
export function t5ParameterSpecs(config: T5Config): readonly ParameterSpec[] {
  const { vocabSize, dModel, heads, buckets, tiedEmbeddings } = config;
  const shape = [vocabSize, dModel];
  const aliases = hasHead(config) ? EMBEDDING_COPIES : [...EMBEDDING_COPIES, OUTPUT];
  const specs: ParameterSpec[] = [{ name: EMBEDDING, aliases, shape }];
  if (hasHead(config)) {
    specs.push({
      name: OUTPUT,
      shape,
      ...(tiedEmbeddings && { aliases: [EMBEDDING, ...EMBEDDING_COPIES] }),
    });
  }
  for (const stack of ['encoder', 'decoder'] as const) {
    specs.push(
      { name: relativeTableName(stack), shape: [buckets, heads] },
      { name: `${stack}.final_layer_norm.weight`, shape: [dModel] },
    );
    for (let layer = 0; layer < depthOf(config, stack); layer++) {
      specs.push(...attentionSpecs(config, partOf(stack, layer, 0), 'SelfAttention'));
      if (stack === 'decoder')
        specs.push(...attentionSpecs(config, partOf(stack, layer, 1), 'EncDecAttention'));
      specs.push(...feedForwardSpecs(config, partOf(stack, layer, stack === 'encoder' ? 1 : 2)));
    }
  }
  return specs;
}

/**
 * v1.1 has a head of its own. transformers 5 saves such models as tied, with outputs that are not scaled: then the head is there
 * only if it differs from the embedding.
 */
function hasHead({ tiedEmbeddings, scaledOutputs }: T5Config): boolean {
  return !(tiedEmbeddings && scaledOutputs);
}

/** A table that old conversions give the cross-attention, which has no use for it. */
export function isIgnorableWeight(name: string): boolean {
  return name === 'decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight';
}

export function t5Weights(config: T5Config, parameters: ParameterTree): T5Weights {
  const get = (name: string): Tensor => parameters[name] as Tensor;
  const attention = (part: string, kind: string): AttentionWeights => ({
    norm: get(`${part}.layer_norm.weight`),
    q: get(`${part}.${kind}.q.weight`),
    k: get(`${part}.${kind}.k.weight`),
    v: get(`${part}.${kind}.v.weight`),
    o: get(`${part}.${kind}.o.weight`),
  });
  const feedForward = (part: string): FeedForwardLayerWeights => ({
    norm: get(`${part}.layer_norm.weight`),
    weights: config.gated
      ? {
          wIn: get(`${part}.DenseReluDense.wi_0.weight`),
          wGate: get(`${part}.DenseReluDense.wi_1.weight`),
          wOut: get(`${part}.DenseReluDense.wo.weight`),
        }
      : { wIn: get(`${part}.DenseReluDense.wi.weight`), wOut: get(`${part}.DenseReluDense.wo.weight`) },
  });
  const stack = <Layer>(name: Stack, layerOf: (layer: number) => Layer): StackWeights<Layer> => ({
    layers: Array.from({ length: depthOf(config, name) }, (_, layer) => layerOf(layer)),
    finalNorm: get(`${name}.final_layer_norm.weight`),
    relativeTable: get(relativeTableName(name)),
  });
  return {
    parameters,
    embedding: get(EMBEDDING),
    output: get(hasHead(config) ? OUTPUT : EMBEDDING),
    encoder: stack('encoder', (layer) => ({
      attention: attention(partOf('encoder', layer, 0), 'SelfAttention'),
      feedForward: feedForward(partOf('encoder', layer, 1)),
    })),
    decoder: stack('decoder', (layer) => ({
      attention: attention(partOf('decoder', layer, 0), 'SelfAttention'),
      crossAttention: attention(partOf('decoder', layer, 1), 'EncDecAttention'),
      feedForward: feedForward(partOf('decoder', layer, 2)),
    })),
  };
}

function depthOf(config: T5Config, stack: Stack): number {
  return stack === 'encoder' ? config.encoderLayers : config.decoderLayers;
}

function partOf(stack: Stack, layer: number, part: number): string {
  return `${stack}.block.${layer}.layer.${part}`;
}

function relativeTableName(stack: Stack): string {
  return `${partOf(stack, 0, 0)}.SelfAttention.relative_attention_bias.weight`;
}

function attentionSpecs({ dModel, dKv, heads }: T5Config, part: string, kind: string): ParameterSpec[] {
  const inner = heads * dKv;
  return [
    { name: `${part}.layer_norm.weight`, shape: [dModel] },
    ...['q', 'k', 'v'].map((role) => ({
      name: `${part}.${kind}.${role}.weight`,
      shape: [inner, dModel],
      transposed: true,
    })),
    { name: `${part}.${kind}.o.weight`, shape: [dModel, inner], transposed: true },
  ];
}

function feedForwardSpecs({ dModel, dFf, gated }: T5Config, part: string): ParameterSpec[] {
  const names = gated ? ['wi_0', 'wi_1'] : ['wi'];
  return [
    { name: `${part}.layer_norm.weight`, shape: [dModel] },
    ...names.map((name) => ({
      name: `${part}.DenseReluDense.${name}.weight`,
      shape: [dFf, dModel],
      transposed: true,
    })),
    { name: `${part}.DenseReluDense.wo.weight`, shape: [dModel, dFf], transposed: true },
  ];
}
