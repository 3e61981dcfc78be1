import { aBoolean, aNumber, anArray, type OptionKinds, optionsWithin, required } from '@topk-attention/core';
import { type Trace, traceKinds } from '@topk-attention/nn';
import { anObjectWith, type LoadCheckpointOptions, loadCheckpointKinds } from '../checkpoint/load-options.js';
import { choiceKinds, type LayerChoices } from '../choices.js';
import { type GenerationSettings, settingKinds } from '../generation/settings.js';
import type { TextTokenizer } from '../text/tokenizer.js';

/** Where there is a generation_config.json, its ids are used, and by `loadT5` its settings. */
export interface LoadT5ParametersOptions extends LoadCheckpointOptions {}

export interface LoadT5Options extends LoadT5ParametersOptions, LayerChoices {
  /** False loads without a tokenizer: the model then accepts and returns token ids only. Default true. */
  readonly tokenizer?: boolean;
  /** Settings of `generate` where a call says nothing, in place of those of generation_config.json; {} for none. */
  readonly generationConfig?: GenerationSettings;
}

export interface CreateT5Options extends LayerChoices {
  /** Default: none, and the model accepts and returns token ids only. */
  readonly tokenizer?: TextTokenizer;
  /** Settings of `generate` where a call says nothing. Default: none. */
  readonly generationConfig?: GenerationSettings;
}

export interface LogitsOptions extends LayerChoices {
  /** Valid tokens of each row of right-padded sources. Default: all. */
  readonly sourceLengths?: readonly number[];
  /** Upper bound in bytes of each attention and each feed-forward call beyond its inputs. Default: none. */
  readonly budgetBytes?: number;
  /** Hooks. Default: none. */
  readonly trace?: Trace;
}

export interface ExplainOptions extends LayerChoices {
  readonly sourceLength: number;
  /** Default 1. */
  readonly batch?: number;
  /** Upper bound in bytes of each call beyond its inputs, as `generate` takes it. Default: none. */
  readonly budgetBytes?: number;
}

export const loadKinds: OptionKinds<LoadT5Options> = {
  ...loadCheckpointKinds,
  tokenizer: aBoolean,
  generationConfig: optionsWithin(settingKinds),
  ...choiceKinds,
};

export const createKinds: OptionKinds<CreateT5Options> = {
  tokenizer: anObjectWith<TextTokenizer>('a tokenizer', 'encodeAsync'),
  generationConfig: optionsWithin(settingKinds),
  ...choiceKinds,
};

export const logitsKinds: OptionKinds<LogitsOptions> = {
  sourceLengths: anArray(),
  budgetBytes: aNumber,
  trace: optionsWithin(traceKinds),
  ...choiceKinds,
};

export const explainKinds: OptionKinds<ExplainOptions> = {
  sourceLength: required(aNumber),
  batch: aNumber,
  budgetBytes: aNumber,
  ...choiceKinds,
};
