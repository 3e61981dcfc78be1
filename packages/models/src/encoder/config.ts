import {
  type Activation,
  aString,
  type OptionKinds,
  oneOf,
  readOptions,
  TopKError,
} from '@topk-attention/core';
import { activationNames, activationOf } from '../checkpoint/activations.js';
import { type ConfigReader, MOST_LAYERS, readConfig } from '../checkpoint/config-reader.js';
import { type EncoderTask, encoderTasks, taskOf } from './task.js';

/** How weights and settings are named, and what differs in the arithmetic. */
export type EncoderFamily = 'bert' | 'distilbert' | 'roberta';

/** What a config.json of BERT, DistilBERT or RoBERTa says about the arithmetic. */
export interface EncoderConfig {
  readonly family: EncoderFamily;
  /** The head: what `logits` gives. */
  readonly task: EncoderTask;
  readonly vocabSize: number;
  /** Width of the hidden states. */
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  /** Hidden units of a feed-forward layer. */
  readonly hidden: number;
  /** Rows of the table of positions. */
  readonly positions: number;
  /** Longest sequence in tokens, special ones included. */
  readonly maxTokens: number;
  /** Token types (segments); 0 where the family has none. */
  readonly types: number;
  readonly epsilon: number;
  readonly activation: Activation;
  readonly padId: number;
  /** Of embeddings and outputs of feed-forward layers, in training. */
  readonly dropoutRate: number;
  /** Of attention weights, in training. */
  readonly attentionDropoutRate: number;
  /** Of the outputs of attention layers, in training. */
  readonly attentionOutputDropoutRate: number;
  /** Of what the head reads, in training. */
  readonly headDropoutRate: number;
  /** Names of the classes, in the order of their logits. */
  readonly labels: readonly string[];
  readonly problem: 'single-label' | 'multi-label' | 'regression';
  /** Whether the projection of a masked language model is the embedding of the words. */
  readonly tiedEmbeddings: boolean;
}

export interface EncoderConfigOptions {
  /** The head. Default: what `architectures` names. */
  readonly task?: EncoderTask;
  /** For messages. Default 'config.json'. */
  readonly file?: string;
}

const optionKinds: OptionKinds<EncoderConfigOptions> = { task: oneOf(...encoderTasks), file: aString };

/** Families by model_type. XLM-RoBERTa and CamemBERT are RoBERTa with other tokenizers. */
const families: { readonly [type: string]: EncoderFamily } = {
  bert: 'bert',
  distilbert: 'distilbert',
  roberta: 'roberta',
  'xlm-roberta': 'roberta',
  camembert: 'roberta',
};

/** The `model_type`s that `loadEncoder` loads. */
export const encoderTypes: readonly string[] = Object.keys(families);

/**
 * Reads the contents of a config.json.
 *
 * @throws TopKError FILE_CORRUPT when it is not a JSON object, UNKNOWN_MODEL_TYPE, INVALID_CONFIG for a missing or
 * impossible value, UNSUPPORTED for a head that is not there.
 */
export function parseEncoderConfig(text: string, options?: EncoderConfigOptions): EncoderConfig {
  const { task, file = 'config.json' } = readOptions('parseEncoderConfig', options, optionKinds);
  const read = readConfig(text, file);
  const type = read.value('model_type');
  const family = typeof type === 'string' && Object.hasOwn(families, type) ? families[type] : undefined;
  if (family === undefined) {
    throw new TopKError('UNKNOWN_MODEL_TYPE', `${file}: unknown model_type`, {
      expected: Object.keys(families).join(', '),
      got: JSON.stringify(type) ?? 'nothing',
      fix: 'Load a checkpoint of BERT, DistilBERT or RoBERTa',
    });
  }
  refuseVariants(read);
  const own = task ?? taskOf(read.value('architectures'), file);
  const labels = labelsOf(read, own);
  const config: EncoderConfig = {
    family,
    task: own,
    vocabSize: read.whole('vocab_size', 1),
    ...(family === 'distilbert' ? distilSettings(read, own) : bertSettings(read, family, own)),
    labels,
    problem: problemOf(read, labels),
    tiedEmbeddings: read.boolean('tie_word_embeddings', true),
  };
  check(config, read);
  return config;
}

type Settings = Omit<
  EncoderConfig,
  'family' | 'task' | 'vocabSize' | 'labels' | 'problem' | 'tiedEmbeddings'
>;

function bertSettings(read: ConfigReader, family: EncoderFamily, task: EncoderTask): Settings {
  const positions = read.whole('max_position_embeddings', 1, 512);
  const padId = read.whole('pad_token_id', 0, family === 'roberta' ? 1 : 0);
  const dropoutRate = read.within('hidden_dropout_prob', 0, 1, 0.1);
  return {
    width: read.whole('hidden_size', 1),
    layers: read.count('num_hidden_layers', MOST_LAYERS),
    heads: read.whole('num_attention_heads', 1),
    hidden: read.whole('intermediate_size', 1),
    positions,
    // RoBERTa's positions begin behind that of padding.
    maxTokens: family === 'roberta' ? positions - padId - 1 : positions,
    types: read.whole('type_vocab_size', 1, 2),
    epsilon: read.within('layer_norm_eps', 0, 1, 1e-12, true),
    activation: activation(read, 'hidden_act'),
    padId,
    dropoutRate,
    attentionDropoutRate: read.within('attention_probs_dropout_prob', 0, 1, 0.1),
    attentionOutputDropoutRate: dropoutRate,
    headDropoutRate: isClassifier(task) ? read.within('classifier_dropout', 0, 1, dropoutRate) : 0,
  };
}

function distilSettings(read: ConfigReader, task: EncoderTask): Settings {
  const dropoutRate = read.within('dropout', 0, 1, 0.1);
  const [key, rate] = headDropout[task];
  const positions = read.whole('max_position_embeddings', 1, 512);
  return {
    width: read.whole('dim', 1),
    layers: read.count('n_layers', MOST_LAYERS),
    heads: read.whole('n_heads', 1),
    hidden: read.whole('hidden_dim', 1),
    positions,
    maxTokens: positions,
    types: 0,
    epsilon: 1e-12,
    activation: activation(read, 'activation'),
    padId: read.whole('pad_token_id', 0, 0),
    dropoutRate,
    attentionDropoutRate: read.within('attention_dropout', 0, 1, 0.1),
    attentionOutputDropoutRate: 0,
    headDropoutRate: key === undefined ? 0 : read.within(key, 0, 1, rate),
  };
}

function isClassifier(task: EncoderTask): boolean {
  return task === 'text-classification' || task === 'token-classification';
}

/** Where DistilBERT's configuration has the rate of each head, and its default. */
const headDropout: { readonly [task in EncoderTask]: readonly [key: string | undefined, rate: number] } = {
  'feature-extraction': [undefined, 0],
  'text-classification': ['seq_classif_dropout', 0.2],
  'token-classification': ['dropout', 0.1],
  'fill-mask': [undefined, 0],
  'question-answering': ['qa_dropout', 0.1],
};

/** Settings that change the arithmetic in ways that are not there. */
function refuseVariants(read: ConfigReader): void {
  const position = read.value('position_embedding_type') ?? 'absolute';
  if (position !== 'absolute') throw read.invalid('position_embedding_type', '"absolute"', position);
  for (const key of ['is_decoder', 'add_cross_attention']) {
    if (read.boolean(key, false)) throw read.invalid(key, 'false: decoders are not supported', true);
  }
}

function activation(read: ConfigReader, key: string): Activation {
  const name = read.value(key) ?? 'gelu';
  const found = activationOf(name);
  if (found !== undefined) return found;
  throw read.invalid(key, `one of ${activationNames}`, name);
}

/** Each gets a name. */
const MOST_LABELS = 1_000_000;

function labelsOf(read: ConfigReader, task: EncoderTask): readonly string[] {
  const names = read.value('id2label');
  if (task === 'question-answering') return ['start', 'end'];
  if (typeof names !== 'object' || names === null) {
    return Array.from({ length: read.count('num_labels', MOST_LABELS, 2) }, (_, id) => `LABEL_${id}`);
  }
  const entries = new Map(Object.entries(names));
  return Array.from({ length: entries.size }, (_, id) => {
    const name: unknown = entries.get(String(id));
    if (typeof name === 'string') return name;
    throw read.invalid('id2label', `names of the ids from 0 to ${entries.size - 1}`, names);
  });
}

function problemOf(read: ConfigReader, labels: readonly string[]): EncoderConfig['problem'] {
  const given = read.value('problem_type') ?? undefined;
  switch (given) {
    // As transformers: one label alone is a probability of its own.
    case undefined:
      return labels.length === 1 ? 'multi-label' : 'single-label';
    case 'single_label_classification':
      return 'single-label';
    case 'multi_label_classification':
      return 'multi-label';
    case 'regression':
      return 'regression';
    default:
      throw read.invalid(
        'problem_type',
        'single_label_classification, multi_label_classification or regression',
        given,
      );
  }
}

function check(
  { width, heads, padId, vocabSize, maxTokens, positions }: EncoderConfig,
  read: ConfigReader,
): void {
  if (width % heads !== 0) throw read.invalid('number of heads', `a divisor of the width ${width}`, heads);
  if (padId >= vocabSize) throw read.invalid('pad_token_id', `an id below vocab_size ${vocabSize}`, padId);
  if (maxTokens < 1) {
    throw read.invalid(
      'max_position_embeddings',
      `at least ${padId + 2} with pad_token_id ${padId}`,
      positions,
    );
  }
}

/** Path of every block: 'encoder.0', ... */
export function encoderPaths({ layers }: EncoderConfig): readonly string[] {
  return Array.from({ length: layers }, (_, index) => `encoder.${index}`);
}
