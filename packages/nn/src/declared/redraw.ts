import type { ParameterTree } from '../parameters.js';
import { requireWhole } from '../require.js';
import type { Declared } from './declaration.js';
import { initializeNamed } from './initialize.js';

export interface Redrawn {
  /** The parameters to continue with. */
  readonly parameters: ParameterTree;
  /** The replaced parameters: dispose of them when nothing needs them any more. Empty if none was due. */
  readonly replaced: ParameterTree;
}

/**
 * Draws new random features for a layer when due: those declared with `redrawEvery: n` after every n steps. Depends
 * only on seed and step, so a resumed training draws the same.
 *
 * @param step optimiser steps made so far
 * @param seed the seed of `initialize`, or any other
 * @throws TopKError INVALID_OPTION
 *
 * @example
 * const layer = attentionLayer({ width: 8, heads: 2, mechanism: performer({ features: 16 }) });
 * const first = initialize(backend, layer, 42);
 * const { parameters, replaced } = redraw(layer, first, 1000, 42);
 * disposeParameters(replaced);
 */
export function redraw(layer: Declared, parameters: ParameterTree, step: number, seed: number): Redrawn {
  requireWhole('redraw', 'step', step, 0);
  const replaced = Object.fromEntries(
    Object.entries(parameters).filter(([name]) => {
      const { redrawEvery = 0 } = layer.parameters[name] ?? {};
      return redrawEvery > 0 && step > 0 && step % redrawEvery === 0;
    }),
  );
  const [first] = Object.values(replaced);
  if (first === undefined) return { parameters, replaced };
  const fresh = initializeNamed(first.backend, layer, (seed + step) % 2 ** 53, Object.keys(replaced));
  return { parameters: { ...parameters, ...fresh }, replaced };
}
