import type { FusedOperations } from '@topk-attention/core';
import type { Engine } from './engine.js';
import type { TensorExchange, TfjsTensor } from './tensor.js';

/** What runs as a whole instead of composed from primitives. */
export function fusedOperations(_engine: Engine, _exchange: TensorExchange): FusedOperations<TfjsTensor> {
  return {};
}
