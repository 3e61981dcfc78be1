import { aBoolean, aNumber, anArray, type OptionKinds, optionsWithin, required } from '@topk-attention/core';
import { type Trace, traceKinds } from '@topk-attention/nn';
import { anObjectWith, type LoadCheckpointOptions, loadCheckpointKinds } from '../checkpoint/load-options.js';
import { type StackChoices, stackChoiceKinds } from '../choices.js';
import { type GenerateOptions, generateKinds } from '../generation/options.js';
import { type GenerationSettings, settingKinds } from '../generation/settings.js';
import type { TextTokenizer } from '../text/tokenizer.js';

/** Where there is a generation_config.json, its ids are used, and by `loadCausalLM` its settings. */
export interface LoadCausalLMParametersOptions extends LoadCheckpointOptions {}

export interface LoadCausalLMOptions extends LoadCausalLMParametersOptions, StackChoices {
  /** False loads without tokenizer.json: the model then accepts and returns token ids only. Default true. */
  readonly tokenizer?: boolean;
  /** Settings of `generate` where a call says nothing, in place of those of generation_config.json; {} for none. */
  readonly generationConfig?: GenerationSettings;
}

export interface CreateCausalLMOptions extends StackChoices {
  /** Default: none, and the model accepts and returns token ids only. */
  readonly tokenizer?: TextTokenizer;
  /** Settings of `generate` where a call says nothing. Default: none. */
  readonly generationConfig?: GenerationSettings;
}

/** As for T5, without what a model of one stack has not. */
export interface CausalLMGenerateOptions
  extends Omit<GenerateOptions, 'encoder' | 'decoder' | 'crossAttention' | 'layers'>,
    StackChoices {}

export interface CausalLMLogitsOptions extends StackChoices {
  /** How many tokens at the left of each row are padding. Default: none. Padding on the right needs nothing. */
  readonly leftPadding?: readonly number[];
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Default: none. */
  readonly trace?: Trace;
}

export interface CausalLMExplainOptions extends StackChoices {
  /** Tokens of the prompt. */
  readonly length: number;
  /** Default 1. */
  readonly batch?: number;
  /** Upper bound in bytes of each call beyond its inputs, as `generate` takes it. Default: none. */
  readonly budgetBytes?: number;
}

export const loadKinds: OptionKinds<LoadCausalLMOptions> = {
  ...loadCheckpointKinds,
  tokenizer: aBoolean,
  generationConfig: optionsWithin(settingKinds),
  ...stackChoiceKinds,
};

export const createKinds: OptionKinds<CreateCausalLMOptions> = {
  tokenizer: anObjectWith<TextTokenizer>('a tokenizer', 'encodeAsync'),
  generationConfig: optionsWithin(settingKinds),
  ...stackChoiceKinds,
};

const { encoder: _e, decoder: _d, crossAttention: _c, ...plainKinds } = generateKinds;

export const causalGenerateKinds: OptionKinds<CausalLMGenerateOptions> = {
  ...plainKinds,
  ...stackChoiceKinds,
};

export const logitsKinds: OptionKinds<CausalLMLogitsOptions> = {
  leftPadding: anArray(),
  budgetBytes: aNumber,
  trace: optionsWithin(traceKinds),
  ...stackChoiceKinds,
};

export const explainKinds: OptionKinds<CausalLMExplainOptions> = {
  length: required(aNumber),
  batch: aNumber,
  budgetBytes: aNumber,
  ...stackChoiceKinds,
};
