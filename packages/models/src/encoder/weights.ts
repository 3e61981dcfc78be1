import type { ParameterSpec } from '@topk-attention/nn';
import type { EncoderConfig, EncoderFamily } from './config.js';

/** Names of the modules of one block; a weight and a bias each. */
export interface BlockNames {
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly o: string;
  readonly attentionNorm: string;
  readonly wIn: string;
  readonly wOut: string;
  readonly outputNorm: string;
}

/** The names of the modules of block `index`. */
export function blockNames(family: EncoderFamily, index: number): BlockNames {
  if (family === 'distilbert') {
    const block = `distilbert.transformer.layer.${index}`;
    return {
      q: `${block}.attention.q_lin`,
      k: `${block}.attention.k_lin`,
      v: `${block}.attention.v_lin`,
      o: `${block}.attention.out_lin`,
      attentionNorm: `${block}.sa_layer_norm`,
      wIn: `${block}.ffn.lin1`,
      wOut: `${block}.ffn.lin2`,
      outputNorm: `${block}.output_layer_norm`,
    };
  }
  const block = `${family}.encoder.layer.${index}`;
  return {
    q: `${block}.attention.self.query`,
    k: `${block}.attention.self.key`,
    v: `${block}.attention.self.value`,
    o: `${block}.attention.output.dense`,
    attentionNorm: `${block}.attention.output.LayerNorm`,
    wIn: `${block}.intermediate.dense`,
    wOut: `${block}.output.dense`,
    outputNorm: `${block}.output.LayerNorm`,
  };
}

/** Names of the tables and the norm of the embeddings. */
export function embeddingNames(family: EncoderFamily): {
  readonly words: string;
  readonly positions: string;
  readonly types: string;
  readonly norm: string;
} {
  const place = `${family}.embeddings`;
  return {
    words: `${place}.word_embeddings.weight`,
    positions: `${place}.position_embeddings.weight`,
    types: `${place}.token_type_embeddings.weight`,
    norm: `${place}.LayerNorm`,
  };
}

/** Modules of the heads. */
const POOLER = 'bert.pooler.dense';
export const CLASSIFIER = 'classifier';
export const QA_OUTPUTS = 'qa_outputs';

/** The dense layer in front of the classifier of texts; the classifier itself. */
export function textClassifierNames(family: EncoderFamily): {
  readonly dense: string;
  readonly output: string;
} {
  if (family === 'bert') return { dense: POOLER, output: CLASSIFIER };
  if (family === 'distilbert') return { dense: 'pre_classifier', output: CLASSIFIER };
  return { dense: 'classifier.dense', output: 'classifier.out_proj' };
}

/** Names in the head of a masked language model. */
export interface MaskHeadNames {
  readonly dense: string;
  readonly norm: string;
  /** [vocabSize, width] */
  readonly projection: string;
  readonly bias: string;
  /** Where some checkpoints have the bias. */
  readonly biasCopy?: string;
}

export function maskHeadNames(family: EncoderFamily): MaskHeadNames {
  if (family === 'bert') {
    const place = 'cls.predictions';
    return {
      dense: `${place}.transform.dense`,
      norm: `${place}.transform.LayerNorm`,
      projection: `${place}.decoder.weight`,
      bias: `${place}.bias`,
      biasCopy: `${place}.decoder.bias`,
    };
  }
  if (family === 'distilbert') {
    return {
      dense: 'vocab_transform',
      norm: 'vocab_layer_norm',
      projection: 'vocab_projector.weight',
      bias: 'vocab_projector.bias',
    };
  }
  return {
    dense: 'lm_head.dense',
    norm: 'lm_head.layer_norm',
    projection: 'lm_head.decoder.weight',
    bias: 'lm_head.bias',
    biasCopy: 'lm_head.decoder.bias',
  };
}

/**
 * Every weight of a configuration, by the names of a checkpoint with a head: those of the encoder begin with its family.
 * A checkpoint may leave that prefix out. Linear layers become [in, out] when uploaded.
 */
export function encoderParameterSpecs(config: EncoderConfig): readonly ParameterSpec[] {
  const { family, vocabSize, width, hidden, positions, types, layers } = config;
  const { words, positions: places, types: segments, norm } = embeddingNames(family);
  const specs: ParameterSpec[] = [
    { name: words, shape: [vocabSize, width] },
    { name: places, shape: [positions, width] },
    ...(types > 0 ? [{ name: segments, shape: [types, width] }] : []),
    ...normSpecs(norm, width),
  ];
  for (let index = 0; index < layers; index++) {
    const { q, k, v, o, attentionNorm, wIn, wOut, outputNorm } = blockNames(family, index);
    for (const name of [q, k, v, o]) specs.push(...linearSpecs(name, width, width));
    specs.push(...normSpecs(attentionNorm, width));
    specs.push(...linearSpecs(wIn, width, hidden), ...linearSpecs(wOut, hidden, width));
    specs.push(...normSpecs(outputNorm, width));
  }
  specs.push(...headSpecs(config));
  return specs.map((spec) => withAliases(family, spec));
}

function headSpecs({
  family,
  task,
  width,
  vocabSize,
  labels,
  tiedEmbeddings,
}: EncoderConfig): ParameterSpec[] {
  switch (task) {
    case 'feature-extraction':
      return [];
    case 'text-classification': {
      const { dense, output } = textClassifierNames(family);
      return [...linearSpecs(dense, width, width), ...linearSpecs(output, width, labels.length)];
    }
    case 'token-classification':
      return linearSpecs(CLASSIFIER, width, labels.length);
    case 'question-answering':
      return linearSpecs(QA_OUTPUTS, width, labels.length);
    case 'fill-mask': {
      const { dense, norm, projection, bias, biasCopy } = maskHeadNames(family);
      return [
        ...linearSpecs(dense, width, width),
        ...normSpecs(norm, width),
        { name: bias, shape: [vocabSize], ...(biasCopy !== undefined && { aliases: [biasCopy] }) },
        ...(tiedEmbeddings ? [] : [{ name: projection, shape: [vocabSize, width] }]),
      ];
    }
    default:
      return task satisfies never;
  }
}

function linearSpecs(name: string, inputs: number, outputs: number): ParameterSpec[] {
  return [
    { name: `${name}.weight`, shape: [outputs, inputs], transposed: true },
    { name: `${name}.bias`, shape: [outputs] },
  ];
}

function normSpecs(name: string, width: number): ParameterSpec[] {
  return [
    { name: `${name}.weight`, shape: [width] },
    { name: `${name}.bias`, shape: [width] },
  ];
}

/** Without the family's prefix, as a bare encoder is saved; with the names that TensorFlow gave to norms. */
function withAliases(family: EncoderFamily, spec: ParameterSpec): ParameterSpec {
  const { name, aliases = [] } = spec;
  const own = [name, ...aliases];
  const bare = own.filter((one) => one.startsWith(`${family}.`)).map((one) => one.slice(family.length + 1));
  const all = [...own, ...bare];
  const older = all
    .filter((one) => /LayerNorm\.(weight|bias)$/.test(one))
    .map((one) => one.replace(/weight$/, 'gamma').replace(/bias$/, 'beta'));
  return { ...spec, aliases: [...all.slice(1), ...older] };
}

/** Heads that a checkpoint carries beside what the task needs, and a buffer that old versions stored. */
export function isIgnorableWeight(name: string): boolean {
  return /^((bert|distilbert|roberta)\.)?(embeddings\.position_ids$|pooler\.dense\.)|^(cls|classifier|pre_classifier|qa_outputs|lm_head|vocab_transform|vocab_layer_norm|vocab_projector)\./.test(
    name,
  );
}
