import {
  type BackendOptions,
  backendCommand,
  backendSettings,
  byteCount,
  type Command,
} from '@topk-attention/app-kit/node';
import type { EngineSettings, Kept } from '../engine/protocol.js';

export const DEFAULT_ATTENTION_K: Kept = 64;
export const DEFAULT_MAX_NEW_TOKENS = 20;

/** The options of every command that runs a model. */
export type ModelOptions = BackendOptions & { model: string; offline?: true; budgetBytes?: number };

/** A command with the options of all commands that run a model; the caller adds further ones. */
export function modelCommand(name: string): Command<[], ModelOptions> {
  return backendCommand(name)
    .optionsGroup('Model:')
    .option(
      '--model <embedded|DIR|NAME>',
      'the included model, a Hugging Face folder of a T5, or its name on the Hub (organisation/name)',
      'embedded',
    )
    .option('--offline', 'take a model of the Hub from the cache, without a request')
    .option(
      '--budget-bytes <BYTES>',
      'upper bound of each attention and feed-forward call beyond its inputs, such as 64MiB (default: none)',
      byteCount,
    )
    .optionsGroup('Options:');
}

/** The engine that the options ask for. */
export function engineSettings(options: ModelOptions): EngineSettings {
  return {
    model: options.model,
    ...(options.offline && { isOffline: true }),
    ...backendSettings(options),
  };
}

/** `--budget-bytes`, if given. */
export function budgetOf({ budgetBytes }: ModelOptions): { readonly budgetBytes?: number } {
  return budgetBytes === undefined ? {} : { budgetBytes };
}
