import type { EngineSettings } from '../engine/types.js';
import type { modelOptions, Values } from './command.js';
import { backendChoice, byteCount, wholeNumber } from './values.js';

/** The engine that the options ask for. @throws UsageError. */
export function engineSettings(values: Values<typeof modelOptions>): EngineSettings {
  const { model = 'embedded', backend = 'auto', threads } = values;
  return {
    model,
    backend: backendChoice('backend', backend),
    ...(threads !== undefined && { threads: wholeNumber('threads', threads) }),
  };
}

/** `--budget-bytes`, if given. @throws UsageError. */
export function budgetOf(values: Values<typeof modelOptions>): { readonly budgetBytes?: number } {
  const text = values['budget-bytes'];
  return text === undefined ? {} : { budgetBytes: byteCount('budget-bytes', text) };
}
