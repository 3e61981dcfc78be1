import { TopKError } from '../contract/errors.js';
import { formatShape, sameShape } from '../contract/shape.js';
import * as ops from '../ops/index.js';
import { describeValue } from '../tensor/describe-value.js';
import { scope } from '../tensor/scope.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import { Tape, withTape } from '../tensor/tape.js';
import { Tensor, type Value } from '../tensor/tensor.js';
import { leavesOf, mapTree, type Tree } from '../tensor/tree.js';

export interface Pullback<P, R> {
  /** What the function returned. The caller disposes of it. */
  readonly output: R;
  /**
   * Gradients of sum(output * cotangent) for every parameter tensor, in the parameters' form; zeros for one that the
   * output does not depend on. May be called more than once until `dispose()`; DISPOSED afterwards.
   */
  backward(cotangent: R): P;
  /** Frees what the tape holds. */
  dispose(): void;
}

/** Runs and records `f`, for gradients with any cotangent the caller chooses. */
export function pullback<P extends Tree, R extends Tree>(
  f: (parameters: P) => R,
  parameters: P,
): Pullback<P, R> {
  requireFunction('pullback', f);
  const tape = new Tape();
  for (const leaf of leavesOf(parameters)) tape.track(leaf.value);
  let output: R;
  try {
    // Aliases: a tensor that `f` did not make itself, such as a parameter, stays the caller's.
    output = withTape(tape, () => scope(() => mapTree(f(parameters), (leaf) => leaf.alias())));
  } catch (error) {
    tape.dispose();
    throw error;
  }
  const outputs = leavesOf(output).map((leaf) => leaf.value);
  return {
    output,
    backward: (cotangent) => reverse(tape, parameters, outputs, leavesOf(cotangent)),
    dispose: () => tape.dispose(),
  };
}

/** The default parameter type of a function that does not declare one: an object of tensors. */
export interface NamedTensors {
  readonly [name: string]: Tensor;
}

/**
 * (parameters, ...rest) -> the loss and its gradients in the form of `parameters` (a tensor, or arrays and objects of
 * tensors). `f` returns one scalar tensor. Attention and feed-forward layers have first-order gradients only: a
 * gradient of their gradient is NOT_DIFFERENTIABLE. Through other ops, calls may be nested.
 *
 * @throws TopKError NOT_DIFFERENTIABLE where `f` does not return one number.
 */
export function valueAndGrad<P extends Tree = NamedTensors, Rest extends readonly unknown[] = readonly []>(
  f: (parameters: P, ...rest: Rest) => Tensor,
): (parameters: P, ...rest: Rest) => { value: Tensor; gradients: P } {
  requireFunction('grad', f);
  return (parameters, ...rest) => {
    const pulled = pullback((p: P) => f(p, ...rest), parameters);
    try {
      const value: unknown = pulled.output;
      if (!(value instanceof Tensor) || value.size !== 1) {
        for (const leaf of leavesOf(value)) leaf.dispose();
        throw new TopKError('NOT_DIFFERENTIABLE', 'grad: the function does not return a scalar', {
          expected: 'a tensor of one element',
          got: describeValue(value),
          fix: 'Sum or average the result, or use pullback() with a cotangent',
        });
      }
      const gradients = scope(() => pulled.backward(ops.fill(value.backend, 1, value.shape, value.dtype)));
      return { value, gradients };
    } finally {
      pulled.dispose();
    }
  };
}

/** Like valueAndGrad without the value. */
export function grad<P extends Tree = NamedTensors, Rest extends readonly unknown[] = readonly []>(
  f: (parameters: P, ...rest: Rest) => Tensor,
): (parameters: P, ...rest: Rest) => P {
  const both = valueAndGrad(f);
  return (parameters, ...rest) => {
    const { value, gradients } = both(parameters, ...rest);
    value.dispose();
    return gradients;
  };
}

function reverse<P extends Tree>(
  tape: Tape,
  parameters: P,
  outputs: readonly Value[],
  cotangents: readonly Tensor[],
): P {
  if (tape.isDisposed) {
    throw new TopKError('DISPOSED', 'pullback: backward() after dispose()', {
      fix: 'Call dispose() after the last backward()',
    });
  }
  return scope(() => {
    const sums = new Map<Value, Tensor>();
    const accumulate = (value: Value, g: Tensor): void => {
      const before = sums.get(value);
      sums.set(value, before === undefined ? g.alias() : ops.add(before, g));
      before?.dispose();
    };
    if (cotangents.length > outputs.length) {
      throw new TopKError('SHAPE_MISMATCH', 'pullback: the wrong number of cotangents', {
        expected: `${outputs.length} tensors`,
        got: String(cotangents.length),
      });
    }
    outputs.forEach((value, index) => {
      const cotangent = cotangents[index];
      if (cotangent === undefined || !sameShape(cotangent.shape, value.shape)) {
        throw new TopKError('SHAPE_MISMATCH', 'pullback: the cotangent has the wrong shape', {
          expected: formatShape(value.shape),
          got: cotangent === undefined ? 'nothing' : formatShape(cotangent.shape),
        });
      }
      accumulate(value, cotangent);
    });
    const isParameter = new Set(leavesOf(parameters).map((leaf) => leaf.value));
    for (const entry of [...tape.entries].reverse()) {
      const arrived = entry.outputs.map((output) => sums.get(output));
      if (arrived.every((one) => one === undefined)) continue;
      propagate(entry.inputs, tape, () => entry.backward(ops, arrived, entry.saved), accumulate);
      entry.outputs.forEach((output, index) => {
        if (isParameter.has(output)) return;
        arrived[index]?.dispose();
        sums.delete(output);
      });
    }
    return mapTree(parameters, (leaf) => {
      const g = sums.get(leaf.value);
      return g === undefined ? ops.zeros(leaf.backend, leaf.shape, leaf.dtype) : g.alias();
    });
  });
}

function requireFunction(where: string, f: unknown): void {
  if (typeof f === 'function') return;
  throw new TopKError('INVALID_OPTION', `${where}: bad function`, {
    expected: 'a function of the parameters',
    got: describeValue(f),
  });
}

function propagate(
  inputs: readonly Value[],
  tape: Tape,
  rule: () => readonly (Tensor | undefined)[],
  accumulate: (value: Value, g: Tensor) => void,
): void {
  const gradients = scopeKeeping(rule, (made) => made.filter((one) => one instanceof Tensor));
  gradients.forEach((g, index) => {
    const input = inputs[index];
    if (g !== undefined && input !== undefined && tape.tracks(input)) accumulate(input, g);
  });
  for (const g of gradients) g?.dispose();
}
