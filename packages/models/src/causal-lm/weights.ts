import type { ParameterSpec } from '@topk-attention/nn';
import type { CausalLMConfig } from './config.js';

/** Where a checkpoint keeps what; those of a block follow its prefix. */
export interface Names {
  readonly embedding: string;
  /** Learned positions [maxPositions, dModel]. */
  readonly positions?: string;
  readonly block: (index: number) => string;
  readonly attentionNorm: string;
  readonly feedForwardNorm: string;
  readonly norm: string;
  readonly attention: string;
  readonly feedForward: string;
}

const HEAD = 'lm_head.weight';

const layouts: { readonly [layout in CausalLMConfig['layout']]: Names } = {
  gpt2: {
    embedding: 'transformer.wte.weight',
    positions: 'transformer.wpe.weight',
    block: (index) => `transformer.h.${index}`,
    attentionNorm: 'ln_1',
    feedForwardNorm: 'ln_2',
    norm: 'transformer.ln_f',
    attention: 'attn',
    feedForward: 'mlp',
  },
  llama: {
    embedding: 'model.embed_tokens.weight',
    block: (index) => `model.layers.${index}`,
    attentionNorm: 'input_layernorm',
    feedForwardNorm: 'post_attention_layernorm',
    norm: 'model.norm',
    attention: 'self_attn',
    feedForward: 'mlp',
  },
};

export const namesOf = ({ layout }: CausalLMConfig): Names => layouts[layout];

/** The output projection [vocabSize, dModel]. */
export function outputName(config: CausalLMConfig): string {
  return config.tiedEmbeddings ? namesOf(config).embedding : HEAD;
}

/**
 * Every weight of a configuration by its Hugging Face name. Linear layers are [in, out] once uploaded; GPT-2 stores them so.
 */
export function causalLMParameterSpecs(config: CausalLMConfig): readonly ParameterSpec[] {
  const { vocabSize, dModel, layers, maxPositions, tiedEmbeddings } = config;
  const names = namesOf(config);
  const specs: ParameterSpec[] = [
    { name: names.embedding, shape: [vocabSize, dModel], ...(tiedEmbeddings && { aliases: [HEAD] }) },
  ];
  if (!tiedEmbeddings) specs.push({ name: HEAD, shape: [vocabSize, dModel] });
  if (names.positions !== undefined) specs.push({ name: names.positions, shape: [maxPositions, dModel] });
  for (let index = 0; index < layers; index++) {
    const block = names.block(index);
    specs.push(
      ...normSpecs(config, `${block}.${names.attentionNorm}`, dModel),
      ...attentionSpecs(config, `${block}.${names.attention}`),
      ...normSpecs(config, `${block}.${names.feedForwardNorm}`, dModel),
      ...feedForwardSpecs(config, `${block}.${names.feedForward}`),
    );
  }
  specs.push(...normSpecs(config, names.norm, dModel));
  return specs.map((spec) => ({ ...spec, aliases: [...(spec.aliases ?? []), ...withoutHead(spec.name)] }));
}

/** Models saved without their head, as the published GPT-2 was, leave out the first part of each name. */
function withoutHead(name: string): string[] {
  const rest = name.replace(/^(transformer|model)\./, '');
  return rest === name ? [] : [rest];
}

/** Causal masks and rotary frequencies, which old checkpoints store. */
export function isIgnorableWeight(name: string): boolean {
  return /(^|\.)(attn\.(bias|masked_bias)|rotary_emb\.inv_freq)$/.test(name);
}

function normSpecs({ norm }: CausalLMConfig, name: string, width: number): ParameterSpec[] {
  const specs = [{ name: `${name}.weight`, shape: [width] }];
  return norm === 'layerNorm' ? [...specs, { name: `${name}.bias`, shape: [width] }] : specs;
}

function attentionSpecs(config: CausalLMConfig, name: string): ParameterSpec[] {
  const { layout, dModel, heads, keyValueHeads, headDim, attentionBias, headNorms } = config;
  if (layout === 'gpt2') {
    return [
      ...storedAsUsed(`${name}.c_attn`, dModel, 3 * dModel),
      ...storedAsUsed(`${name}.c_proj`, dModel, dModel),
    ];
  }
  const [inner, shared] = [heads * headDim, keyValueHeads * headDim];
  return [
    ...stored(`${name}.q_proj`, dModel, inner, attentionBias.input),
    ...stored(`${name}.k_proj`, dModel, shared, attentionBias.input),
    ...stored(`${name}.v_proj`, dModel, shared, attentionBias.input),
    ...stored(`${name}.o_proj`, inner, dModel, attentionBias.output),
    ...(headNorms ? ['q_norm', 'k_norm'].flatMap((one) => normSpecs(config, `${name}.${one}`, headDim)) : []),
  ];
}

function feedForwardSpecs({ layout, dModel, dFf }: CausalLMConfig, name: string): ParameterSpec[] {
  if (layout === 'gpt2') {
    return [...storedAsUsed(`${name}.c_fc`, dModel, dFf), ...storedAsUsed(`${name}.c_proj`, dFf, dModel)];
  }
  return [
    ...stored(`${name}.gate_proj`, dModel, dFf, false),
    ...stored(`${name}.up_proj`, dModel, dFf, false),
    ...stored(`${name}.down_proj`, dFf, dModel, false),
  ];
}

/** A linear layer as PyTorch stores it, [out, in]. */
function stored(name: string, inputs: number, outputs: number, bias: boolean): ParameterSpec[] {
  const weight = { name: `${name}.weight`, shape: [outputs, inputs], transposed: true };
  return bias ? [weight, { name: `${name}.bias`, shape: [outputs] }] : [weight];
}

/** A linear layer as GPT-2 stores it, [in, out], with a bias. */
function storedAsUsed(name: string, inputs: number, outputs: number): ParameterSpec[] {
  return [
    { name: `${name}.weight`, shape: [inputs, outputs] },
    { name: `${name}.bias`, shape: [outputs] },
  ];
}
