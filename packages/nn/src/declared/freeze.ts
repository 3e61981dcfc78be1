import { type Tensor, TopKError } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';
import { type Declared, requireDeclared } from './declaration.js';

/**
 * Which parameters an optimiser may move: all except buffers and those whose names match a pattern. Pass it to `train`
 * as `trainable`.
 *
 * @param frozen name patterns; `*` stands for any text: 'encoder.*', '*.bias'
 * @throws TopKError INVALID_OPTION for a pattern that matches no parameter, and for what is no layer.
 *
 * @example
 * const layer = encoderLayer({ width: 8, heads: 2, hidden: 16 });
 * const isTrainable = trainableExcept(layer, 'self_attn.*', '*.bias');
 */
export function trainableExcept(layer: Declared, ...frozen: readonly string[]): (name: string) => boolean {
  const parameters = requireDeclared('trainableExcept', layer);
  const names = Object.keys(parameters);
  const still = new Set(names.filter((name) => parameters[name]?.trainable === false));
  for (const pattern of frozen) {
    const fits = patternOf(pattern);
    const fitting = names.filter((name) => fits.test(name));
    if (fitting.length === 0) {
      throw new TopKError('INVALID_OPTION', 'trainableExcept: a pattern matches no parameter', {
        expected: `a pattern for names such as ${names[0] ?? '(none)'}`,
        got: `'${pattern}'`,
      });
    }
    for (const name of fitting) still.add(name);
  }
  return (name) => !still.has(name);
}

/** Splits off the parameters that a function accepts: gradients are taken for those, but the layer needs all. */
export function splitParameters(
  parameters: ParameterTree,
  isTrainable: (name: string) => boolean,
): { readonly trainable: ParameterTree; readonly frozen: ParameterTree } {
  const trainable: { [name: string]: Tensor } = {};
  const frozen: { [name: string]: Tensor } = {};
  for (const [name, one] of Object.entries(parameters)) (isTrainable(name) ? trainable : frozen)[name] = one;
  return { trainable, frozen };
}

function patternOf(pattern: string): RegExp {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`);
}
