import { bytesPerElement, isFloat } from '../contract/dtype.js';
import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseRequest,
  ElementwiseStorage,
  Expression,
} from '../contract/elementwise.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, type Shape, sameShape, sizeOf } from '../contract/shape.js';
import { defineOperation } from '../operation/define.js';
import { mapRoles } from '../operation/roles.js';
import { runOperation } from '../operation/run.js';
import { cast } from '../ops/elementwise.js';
import { type OptionKinds, oneOf, readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { inputsOf } from './program.js';
import type { ProgramNumbers } from './program-numbers.js';
import { runByOps } from './run-by-ops.js';

export interface MapElementsOptions {
  /** Of the outputs. Default 'f32'. */
  readonly dtype?: ElementwiseStorage['outputs'];
}

export const mapElementsKinds: OptionKinds<MapElementsOptions> = { dtype: oneOf('f32', 'f16') };

interface Request extends ElementwiseRequest {
  /** The numbers one by one, for the program's ops. */
  readonly numberAt: (index: number) => Tensor;
}

/** Elementwise programs as an operation: one pass on backends that support it, elsewhere the program's ops. */
const elementwise = defineOperation<Request, ElementwiseInputs<Tensor>, ElementwiseOutputs<Tensor>>({
  name: 'elementwise',
  title: 'elementwise program',
  outputs: ({ program, shape, storage }) =>
    mapRoles(program.outputs, () => ({ shape, dtype: storage?.outputs ?? 'f32' })),
  isEmpty: ({ shape }) => sizeOf(shape) === 0,
  forward: {
    bytes: ({ program, shape, storage, rowInputs }) => ({
      ...programBytes(program, sizeOf(shape), storage, rowInputs, sizeOf(shape.slice(0, -1))),
      saved: 0,
    }),
    composed: ({ program, shape, storage, numberAt }) => ({
      scratchBytes: () => 8 * sizeOf(shape),
      run: (inputs) => runStored(program, inputs, numberAt, storage),
    }),
  },
});

/** Bytes of a program's inputs and outputs, of that many elements each but for inputs of rows. */
export function programBytes(
  program: ElementwiseProgram,
  elements: number,
  { halfInputs, outputs }: ElementwiseStorage = { halfInputs: [], outputs: 'f32' },
  rowInputs: readonly string[] = [],
  rows = 0,
): { readonly inputs: number; readonly output: number } {
  const bytesOf = (name: string): number =>
    (halfInputs.includes(name) ? 2 : 4) * (rowInputs.includes(name) ? rows : elements);
  return {
    inputs: program.inputs.reduce((sum, name) => sum + bytesOf(name), 0),
    output: elements * bytesPerElement(outputs) * Object.keys(program.outputs).length,
  };
}

/** By ops, in f32 between casts. */
function runStored(
  program: ElementwiseProgram,
  inputs: ElementwiseInputs<Tensor>,
  numberAt: (index: number) => Tensor,
  storage: ElementwiseStorage | undefined,
): ElementwiseOutputs<Tensor> {
  if (storage === undefined) return runByOps(program, inputs, numberAt);
  return scope(() => {
    const wide = mapRoles(inputs, (one: Tensor) => cast(one, 'f32'));
    return mapRoles(runByOps(program, wide, numberAt), (one: Tensor) => cast(one, storage.outputs));
  });
}

/**
 * Runs a program over the elements of tensors of one shape: `outputs[name][i] = f(inputs.x[i], inputs.y[i], ..., numbers)`.
 * Differentiable through the program's ops; runs in one pass over memory only if no gradient is tracked.
 *
 * @param inputs f32 or f16 under the program's names; computed in f32. All have the shape of the first or, if that has two
 * axes or more, 1 as the last extent: such an element goes with a whole row. Every output reads an input that is not of rows.
 * @param numbers if the program has any; they may change from call to call, even in a recorded step
 * @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH, INVALID_OPTION
 *
 * @example
 * const program = elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({ product: terms.mul(x, y) }));
 * const { product } = mapElements(program, { x: tensor(backend, [1, 2]), y: tensor(backend, [3, 4]) });
 */
export function mapElements<Output extends string>(
  program: ElementwiseProgram<Output>,
  inputs: { readonly [name: string]: Tensor },
  numbers?: ProgramNumbers,
  options?: MapElementsOptions,
): { readonly [output in Output]: Tensor } {
  const { dtype = 'f32' } = readOptions('mapElements', options, mapElementsKinds);
  const { shape, named, rowInputs } = checkedInputs('mapElements', program, inputs, 'rows too');
  checkNumbers('mapElements', program, numbers);
  const isUsed = program.numbers > 0 && numbers !== undefined;
  return runOperation(elementwise, {
    where: 'mapElements',
    request: {
      ...{ program, shape, ...storageOf(program, named, dtype) },
      ...(rowInputs.length > 0 && { rowInputs }),
      numberAt: (index) => (numbers as ProgramNumbers).at(index),
    },
    inputs: { ...named, ...(isUsed && { numbers: numbers.vector }) },
  }) as { readonly [output in Output]: Tensor };
}

/** Where tensors of f16 are among a program's inputs and outputs; nothing if there are none. */
export function storageOf(
  program: ElementwiseProgram,
  inputs: { readonly [name: string]: Tensor },
  outputs: ElementwiseStorage['outputs'],
): { readonly storage?: ElementwiseStorage } {
  const halfInputs = program.inputs.filter((name) => inputs[name]?.dtype === 'f16');
  return halfInputs.length === 0 && outputs === 'f32' ? {} : { storage: { halfInputs, outputs } };
}

/**
 * The inputs of a program by name, their shape, and the names of those of rows.
 *
 * @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH
 */
export function checkedInputs(
  where: string,
  program: ElementwiseProgram,
  inputs: { readonly [name: string]: Tensor },
  takes: 'one shape' | 'rows too' = 'one shape',
): {
  readonly shape: Shape;
  readonly named: { readonly [name: string]: Tensor };
  readonly rowInputs: readonly string[];
} {
  const given = program.inputs.map((name) => {
    const one: unknown = inputs[name];
    requireTensor(where, name, one);
    return one;
  });
  const { shape } = given[0] as Tensor;
  const rowShape = [...shape.slice(0, -1), 1];
  const isOfRows = (one: Tensor): boolean =>
    takes === 'rows too' &&
    shape.length > 1 &&
    !sameShape(one.shape, shape) &&
    sameShape(one.shape, rowShape);
  for (const [at, one] of given.entries()) {
    requireFit(where, program.inputs[at] as string, one, isOfRows(one) ? rowShape : shape);
  }
  const rowInputs = program.inputs.filter((_, at) => isOfRows(given[at] as Tensor));
  if (rowInputs.length > 0) requireWholeInputs(where, program, rowInputs);
  const named = Object.fromEntries(given.map((one, at) => [program.inputs[at] as string, one]));
  return { shape, named, rowInputs };
}

/** An output that reads rows alone would have their shape. */
function requireWholeInputs(where: string, program: ElementwiseProgram, rowInputs: readonly string[]): void {
  for (const [name, output] of Object.entries<Expression>(program.outputs)) {
    const read = inputsOf(output);
    if (read.some((input) => !rowInputs.includes(input))) continue;
    throw new TopKError('SHAPE_MISMATCH', `${where}: output ${name} reads rows alone`, {
      expected: 'an input that has an element for each of the output',
      got: read.join(', '),
    });
  }
}

/** @throws TopKError SHAPE_MISMATCH */
export function checkNumbers(
  where: string,
  program: ElementwiseProgram,
  numbers: ProgramNumbers | undefined,
): void {
  const size = numbers?.vector.size ?? 0;
  if (size >= program.numbers) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: too few numbers`, {
    expected: String(program.numbers),
    got: String(size),
  });
}

function requireFit(where: string, name: string, { shape, dtype }: Tensor, expected: Shape): void {
  if (sameShape(shape, expected) && isFloat(dtype)) return;
  throw new TopKError(
    isFloat(dtype) ? 'SHAPE_MISMATCH' : 'DTYPE_MISMATCH',
    `${where}: ${name} has the wrong dtype or shape`,
    { expected: `f32 or f16 ${formatShape(expected)}`, got: `${dtype} ${formatShape(shape)}` },
  );
}
