import { type Backend, type Tensor, tensor } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import { seedsFrom } from '../seeds.js';
import { type Declared, requireDeclared } from './declaration.js';

/**
 * Initial values of all parameters of a layer, on a backend. Each depends only on its name, its shape and the seed: the
 * same bits on every backend, whatever other layers exist.
 *
 * @param seed a whole number from 0 to 2^53 - 1
 * @throws TopKError INVALID_OPTION for another seed or what is no layer, OUT_OF_MEMORY. Nothing stays on the backend then.
 *
 * @example
 * const layer = linearLayer(3, 2);
 * const parameters = initialize(backend, layer, 42);
 */
export function initialize(backend: Backend, layer: Declared, seed: number): ParameterTree {
  return initializeNamed(backend, layer, seed, Object.keys(requireDeclared('initialize', layer)));
}

/** The same for only some of the names. */
export function initializeNamed(
  backend: Backend,
  { parameters }: Declared,
  seed: number,
  names: readonly string[],
): ParameterTree {
  const seeds = seedsFrom(seed);
  const made: { [name: string]: Tensor } = {};
  try {
    for (const name of names) {
      const declaration = parameters[name];
      if (declaration === undefined) continue;
      const { shape, initializer } = declaration;
      made[name] = tensor(backend, initializer(shape, seeds(name)), shape);
      // A failed upload poisons its tensor; report it here, not in the first result.
      void made[name].handle;
    }
    return made;
  } catch (error) {
    disposeParameters(made);
    throw error;
  }
}
