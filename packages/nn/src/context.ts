import { describeValue, type Tensor, TopKError } from '@topk-attention/core';
import { joinNames } from './declared/declaration.js';
import type { ParameterTree } from './parameters.js';
import { inference, type Run } from './run.js';

/** What a layer value is applied with: its parameters, and how to run. Passed from layer to layer, never stored. */
export interface Context extends Run {
  /** Parameters of the whole network, by full names. */
  readonly parameters: ParameterTree;
  /** Place in the network: 'layers.0.self_attn', '' at the top. Parameter, seed and hook names begin with it. */
  readonly path: string;
  /** Called with the losses that layers add besides their output. The tensors belong to the hook: see `withLosses`. */
  readonly onLoss?: (path: string, loss: Tensor) => void;
}

/**
 * The context of a whole network.
 *
 * @param run default `inference`: no dropout, no hooks
 *
 * @example
 * const layer = dropoutLayer(0.1);
 * const step = 12;
 * const context = contextOf(initialize(backend, layer, 42), { training: true, seeds: seedsFrom(step) });
 */
export function contextOf(parameters: ParameterTree, run: Run = inference): Context {
  return { ...run, parameters, path: '' };
}

/** The context of a part. The part '' is the whole. */
export function within(context: Context, part: string): Context {
  return part === '' ? context : { ...context, path: joinNames(context.path, part) };
}

/**
 * A parameter of the layer at the context's path.
 *
 * @throws TopKError MISSING_WEIGHT; INVALID_OPTION for parameters in place of a context
 */
export function parameterOf(context: Context, name: string): Tensor {
  if (context.parameters === undefined || context.path === undefined) {
    throw new TopKError('INVALID_OPTION', `parameter ${name}: this is not a context`, {
      expected: 'a context',
      got: describeValue(context),
      fix: 'Wrap the parameters: layer.apply(contextOf(parameters), x)',
    });
  }
  const full = joinNames(context.path, name);
  const found = context.parameters[full];
  if (found !== undefined) return found;
  throw new TopKError('MISSING_WEIGHT', `parameter ${full} is missing`, {
    expected: 'the parameters that the layer declares',
    got: 'nothing',
    fix: 'Create them with initialize() or loadStateDict() for this same layer',
  });
}

/**
 * For a layer or mechanism with an additional loss, shape []: hands the loss to whoever collects it.
 *
 * @example
 * const layer = linearLayer(3, 2);
 * const penalised = defineLayer({ '': layer }, (context, x: Tensor) => {
 *   const y = layer.apply(context, x);
 *   addLoss(context, mul(sum(mul(y, y)), 1e-3));
 *   return y;
 * });
 */
export function addLoss({ onLoss, path }: Context, loss: Tensor): void {
  // An alias that no scope around the layer disposes of.
  onLoss?.(path, loss.unscopedAlias());
}
