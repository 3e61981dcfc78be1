import { TopKError } from '../contract/errors.js';
import { formatShape, sameShape } from '../contract/shape.js';
import * as ops from '../ops/index.js';
import { describeValue } from '../tensor/describe-value.js';
import { scope } from '../tensor/scope.js';
import { scopeKeeping } from '../tensor/scope-stack.js';
import { type RerunEntry, Tape, type TapeEntry, withTape } from '../tensor/tape.js';
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
  const { output, reverse, dispose } = record(f, parameters);
  return { output, backward: (cotangent) => reverse(cotangent, false), dispose };
}

interface Recorded<P, R> {
  readonly output: R;
  /** @param isLast whether the tape may free what it holds on the way */
  reverse(cotangent: R, isLast: boolean): P;
  dispose(): void;
}

function record<P extends Tree, R extends Tree>(f: (parameters: P) => R, parameters: P): Recorded<P, R> {
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
    reverse: (cotangent, isLast) => reverseTape(tape, parameters, outputs, leavesOf(cotangent), isLast),
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
    const pulled = record((p: P) => f(p, ...rest), parameters);
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
      const one = (): Tensor => ops.fill(value.backend, 1, value.shape, value.dtype);
      try {
        return { value, gradients: scope(() => pulled.reverse(one(), true)) };
      } catch (error) {
        value.dispose();
        throw error;
      }
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

function reverseTape<P extends Tree>(
  tape: Tape,
  parameters: P,
  outputs: readonly Value[],
  cotangents: readonly Tensor[],
  isLast: boolean,
): P {
  if (tape.isDisposed) {
    throw new TopKError('DISPOSED', 'pullback: backward() after dispose()', {
      fix: 'Call dispose() after the last backward()',
    });
  }
  return scope(() => {
    if (cotangents.length > outputs.length) {
      throw new TopKError('SHAPE_MISMATCH', 'pullback: the wrong number of cotangents', {
        expected: `${outputs.length} tensors`,
        got: String(cotangents.length),
      });
    }
    const sums = new GradientSums(leavesOf(parameters).map((leaf) => leaf.value));
    outputs.forEach((value, index) => {
      const cotangent = cotangents[index];
      if (cotangent === undefined || !sameShape(cotangent.shape, value.shape)) {
        throw new TopKError('SHAPE_MISMATCH', 'pullback: the cotangent has the wrong shape', {
          expected: formatShape(value.shape),
          got: cotangent === undefined ? 'nothing' : formatShape(cotangent.shape),
        });
      }
      sums.add(value, cotangent);
    });
    walk(tape, sums, isLast);
    return mapTree(parameters, (leaf) => {
      const g = sums.of(leaf.value);
      return g === undefined ? ops.zeros(leaf.backend, leaf.shape, leaf.dtype) : g.alias();
    });
  });
}

/** The gradients that have arrived so far, by value. */
class GradientSums {
  readonly #sums = new Map<Value, Tensor>();
  readonly #kept: ReadonlySet<Value>;

  /** @param kept values whose gradients are wanted at the end */
  constructor(kept: readonly Value[]) {
    this.#kept = new Set(kept);
  }

  of(value: Value): Tensor | undefined {
    return this.#sums.get(value);
  }

  add(value: Value, g: Tensor): void {
    const before = this.#sums.get(value);
    this.#sums.set(value, before === undefined ? g.alias() : ops.add(before, g));
    before?.dispose();
  }

  /** Frees the gradient of a value that no earlier op leads to. */
  drop(value: Value): void {
    if (this.#kept.has(value)) return;
    this.#sums.get(value)?.dispose();
    this.#sums.delete(value);
  }
}

/** Goes through the entries from the last to the first, each passing the gradients of its outputs on to its inputs. */
function walk(tape: Tape, sums: GradientSums, isLast: boolean): void {
  for (const entry of [...tape.entries].reverse()) {
    const arrived = entry.outputs.map((output) => sums.of(output));
    if (arrived.some((one) => one !== undefined)) {
      if ('rerun' in entry) rerun(entry, sums);
      else propagate(entry, arrived, tape, sums);
      for (const output of entry.outputs) sums.drop(output);
    }
    if (isLast) for (const one of entry.saved) one?.dispose();
  }
}

/**
 * Runs a function again, on a tape of its own, and goes through that one. The gradients are added up in the order in
 * which they would be if the function's ops were on the outer tape.
 */
function rerun(entry: RerunEntry, sums: GradientSums): void {
  const tape = new Tape();
  for (const input of entry.inputs) tape.track(input);
  try {
    const again = withTape(tape, () => scope(() => entry.rerun(entry.saved)));
    entry.outputs.forEach((output, index) => {
      const own = again[index];
      if (own === undefined || !sameShape(own.shape, output.shape)) {
        throw new TopKError('INVALID_OPTION', `${entry.name}: the function returned another result again`, {
          expected: formatShape(output.shape),
          got: own === undefined ? 'nothing' : formatShape(own.shape),
          fix: 'Pass a function whose result depends on its inputs alone',
        });
      }
      const arrived = sums.of(output);
      if (arrived === undefined) return;
      sums.add(own.value, arrived);
      sums.drop(output);
    });
    for (const own of again) own.dispose();
    walk(tape, sums, true);
  } finally {
    tape.dispose();
  }
}

/** @throws TopKError INVALID_OPTION */
export function requireFunction(where: string, f: unknown): void {
  if (typeof f === 'function') return;
  throw new TopKError('INVALID_OPTION', `${where}: bad function`, {
    expected: 'a function of the parameters',
    got: describeValue(f),
  });
}

function propagate(
  { inputs, backward, saved }: TapeEntry,
  arrived: readonly (Tensor | undefined)[],
  tape: Tape,
  sums: GradientSums,
): void {
  const wanted = inputs.map((input) => tape.tracks(input));
  const gradients = scopeKeeping(
    () => backward(ops, arrived, saved, wanted),
    (made) => made.filter((one) => one instanceof Tensor),
  );
  inputs.forEach((input, index) => {
    const g = gradients[index];
    if (g !== undefined && wanted[index]) sums.add(input, g);
  });
  for (const g of gradients) g?.dispose();
}
