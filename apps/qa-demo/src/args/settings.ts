import type { EngineSettings } from '../engine/types.js';
import type { modelOptions, Values } from './command.js';
import { seeHelp } from './parse.js';
import { UsageError } from './usage-error.js';
import { backendChoice, byteCount, oneOf, tfjsEngines, wholeNumber } from './values.js';

/** The engine that the options ask for. @throws UsageError. */
export function engineSettings(values: Values<typeof modelOptions>): EngineSettings {
  const { model = 'embedded', backend = 'auto', engine, threads } = values;
  const chosen = backendChoice('backend', backend);
  if (engine !== undefined && chosen !== 'tfjs') {
    throw new UsageError(`--engine goes with --backend tfjs, got --backend ${chosen}`, seeHelp());
  }
  return {
    model,
    backend: chosen,
    ...(engine !== undefined && { engine: oneOf('engine', tfjsEngines, engine) }),
    ...(threads !== undefined && { threads: wholeNumber('threads', threads) }),
  };
}

/** `--budget-bytes`, if given. @throws UsageError. */
export function budgetOf(values: Values<typeof modelOptions>): { readonly budgetBytes?: number } {
  const text = values['budget-bytes'];
  return text === undefined ? {} : { budgetBytes: byteCount('budget-bytes', text) };
}
