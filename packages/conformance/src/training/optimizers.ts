import type { NamedTensors } from '@topk-attention/core';

/** What an optimiser remembers between steps. */
export interface TrainingState {
  readonly steps: { readonly [parameter: string]: number };
  readonly tensors: NamedTensors;
}

/** As @topk-attention/nn defines it: new parameters and new state from old ones, which the caller disposes of. */
export interface TrainingOptimizer {
  init(parameters: NamedTensors): TrainingState;
  step(
    parameters: NamedTensors,
    gradients: NamedTensors,
    state: TrainingState,
  ): { readonly parameters: NamedTensors; readonly state: TrainingState };
}

/** The optimisers of @topk-attention/nn, with its options. This package depends on core only, so they are handed in. */
export interface TrainingOptimizers {
  adamW(options: object): TrainingOptimizer;
  adam(options: object): TrainingOptimizer;
  sgd(options: object): TrainingOptimizer;
  adafactor(options: object): TrainingOptimizer;
}

/** Frees every tensor of a tree. */
export function disposeTree(tree: NamedTensors): void {
  for (const one of Object.values(tree)) one.dispose();
}
