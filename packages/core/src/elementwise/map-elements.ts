import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseRequest,
} from '../contract/elementwise.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, type Shape, sameShape, sizeOf } from '../contract/shape.js';
import { defineOperation } from '../operation/define.js';
import { mapRoles } from '../operation/roles.js';
import { runOperation } from '../operation/run.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ProgramNumbers } from './program-numbers.js';
import { runByOps } from './run-by-ops.js';

interface Request extends ElementwiseRequest {
  /** The numbers one by one, for the program's ops. */
  readonly numberAt: (index: number) => Tensor;
}

/** Elementwise programs as an operation: one pass on backends that support it, elsewhere the program's ops. */
const elementwise = defineOperation<Request, ElementwiseInputs<Tensor>, ElementwiseOutputs<Tensor>>({
  name: 'elementwise',
  title: 'elementwise program',
  outputs: ({ program, shape }) => mapRoles(program.outputs, () => ({ shape, dtype: 'f32' as const })),
  isEmpty: ({ shape }) => sizeOf(shape) === 0,
  forward: {
    bytes: ({ program, shape }) => ({
      inputs: 4 * sizeOf(shape) * program.inputs.length,
      output: 4 * sizeOf(shape) * Object.keys(program.outputs).length,
      saved: 0,
    }),
    composed: ({ program, shape, numberAt }) => ({
      scratchBytes: () => 8 * sizeOf(shape),
      run: (inputs) => runByOps(program, inputs, numberAt),
    }),
  },
});

/**
 * Runs a program over the elements of tensors of one shape: `outputs[name][i] = f(inputs.x[i], inputs.y[i], ..., numbers)`.
 * Differentiable through the program's ops; runs in one pass over memory only if no gradient is tracked.
 *
 * @param inputs f32, all of one shape, under the program's names
 * @param numbers if the program has any; they may change from call to call, even in a recorded step
 * @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH
 *
 * @example
 * const program = elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({ product: terms.mul(x, y) }));
 * const { product } = mapElements(program, { x: tensor(backend, [1, 2]), y: tensor(backend, [3, 4]) });
 */
export function mapElements<Output extends string>(
  program: ElementwiseProgram<Output>,
  inputs: { readonly [name: string]: Tensor },
  numbers?: ProgramNumbers,
): { readonly [output in Output]: Tensor } {
  const { shape, named } = checkedInputs('mapElements', program, inputs);
  checkNumbers('mapElements', program, numbers);
  const isUsed = program.numbers > 0 && numbers !== undefined;
  return runOperation(elementwise, {
    where: 'mapElements',
    request: { program, shape, numberAt: (index) => (numbers as ProgramNumbers).at(index) },
    inputs: { ...named, ...(isUsed && { numbers: numbers.vector }) },
  }) as { readonly [output in Output]: Tensor };
}

/** The inputs of a program by name, and their shape. @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH */
export function checkedInputs(
  where: string,
  program: ElementwiseProgram,
  inputs: { readonly [name: string]: Tensor },
): { readonly shape: Shape; readonly named: { readonly [name: string]: Tensor } } {
  const given = program.inputs.map((name) => {
    const one: unknown = inputs[name];
    requireTensor(where, name, one);
    return one;
  });
  const { shape } = given[0] as Tensor;
  for (const [at, one] of given.entries()) requireFit(where, program.inputs[at] as string, one, shape);
  return { shape, named: Object.fromEntries(given.map((one, at) => [program.inputs[at] as string, one])) };
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
  if (sameShape(shape, expected) && dtype === 'f32') return;
  throw new TopKError(
    dtype === 'f32' ? 'SHAPE_MISMATCH' : 'DTYPE_MISMATCH',
    `${where}: ${name} has the wrong dtype or shape`,
    { expected: `f32 ${formatShape(expected)}`, got: `${dtype} ${formatShape(shape)}` },
  );
}
