import { aFunction, aNumber, type OptionKinds, optionsWithin } from '@topk-attention/core';
import { aSignal, type Trace, traceKinds } from '@topk-attention/nn';
import { choiceKinds, type LayerChoices } from '../choices.js';
import type { Progress } from '../progress.js';
import type { GeneratedToken } from './continuation.js';
import { type GenerationSettings, settingKinds } from './settings.js';

export interface GenerateOptions extends LayerChoices, GenerationSettings {
  /**
   * Upper bound in bytes of each attention and each feed-forward call beyond its inputs: chunks shrink to fit, and a
   * call that cannot fit rejects with TopKError DOES_NOT_FIT. Default: none.
   */
  readonly budgetBytes?: number;
  /** Stops between tokens, between layers of the encoder and in long texts: the call rejects with TopKError ABORTED. */
  readonly signal?: AbortSignal;
  /** Called with each token as soon as it is known, which beam search cannot tell before its end. */
  readonly onToken?: (token: GeneratedToken) => void;
  readonly onProgress?: (progress: Progress) => void;
  /** Hooks, called for the prompt and again for each token. Default: none. */
  readonly trace?: Trace;
}

export const generateKinds: OptionKinds<GenerateOptions> = {
  ...settingKinds,
  budgetBytes: aNumber,
  signal: aSignal,
  onToken: aFunction(),
  onProgress: aFunction(),
  trace: optionsWithin(traceKinds),
  ...choiceKinds,
};
