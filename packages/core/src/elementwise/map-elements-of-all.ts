import type {
  ElementwiseInputs,
  ElementwiseListRequest,
  ElementwiseOutputs,
  ElementwiseProgram,
} from '../contract/elementwise.js';
import { sizeOf } from '../contract/shape.js';
import { defineOperation } from '../operation/define.js';
import { runOperation } from '../operation/run.js';
import { readOptions } from '../tensor/read-options.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  checkedInputs,
  checkNumbers,
  type MapElementsOptions,
  mapElements,
  mapElementsKinds,
  programBytes,
  storageOf,
} from './map-elements.js';
import type { ProgramNumbers } from './program-numbers.js';

interface Request extends ElementwiseListRequest {
  readonly values: ProgramNumbers | undefined;
}

const elements = ({ shapes }: Request): number => shapes.reduce((sum, shape) => sum + sizeOf(shape), 0);

/** Several tensors as one operation; elsewhere `mapElements` for one after the other. */
const elementwiseList = defineOperation<Request, ElementwiseInputs<Tensor>, ElementwiseOutputs<Tensor>>({
  name: 'elementwiseList',
  title: 'elementwise program of several tensors',
  outputs: ({ program, shapes, storage }) =>
    Object.fromEntries(
      shapes.flatMap((shape, at) =>
        Object.keys(program.outputs).map((name) => [
          `${at}:${name}`,
          { shape, dtype: storage?.outputs ?? 'f32' },
        ]),
      ),
    ),
  forward: {
    bytes: (request) => ({
      ...programBytes(request.program, elements(request), request.storage),
      saved: 0,
    }),
    composed: ({ program, shapes, values, storage }) => ({
      scratchBytes: () => 8 * shapes.reduce((most, shape) => Math.max(most, sizeOf(shape)), 0),
      run: (inputs) =>
        scope(() => {
          const made: { [role: string]: Tensor } = {};
          for (const at of shapes.keys()) {
            const own = program.inputs.map((name) => [name, inputs[`${at}:${name}`] as Tensor] as const);
            const dtype = storage?.outputs ?? 'f32';
            const results = mapElements(program, Object.fromEntries(own), values, { dtype });
            for (const [name, one] of Object.entries<Tensor>(results)) made[`${at}:${name}`] = one;
          }
          return made;
        }),
    }),
  },
});

/**
 * `mapElements` for several sets of inputs, each of its own shape, with the same numbers: the same results, in fewer
 * launches on backends that support it. An output under the name of an input is meant to take its place in the next
 * call, as in an optimiser's update. A backend may lay such outputs out for it, in memory that is freed with the last of
 * them.
 *
 * @throws TopKError SHAPE_MISMATCH, DTYPE_MISMATCH, INVALID_OPTION
 *
 * @example
 * const program = elementwiseProgram({ inputs: ['x', 'y'] }, ({ x, y }) => ({ x: terms.add(x, y) }));
 * const pairs = [[1, 2], [3]].map((values) => ({ x: tensor(backend, values), y: tensor(backend, values) }));
 * const [first, second] = mapElementsOfAll(program, pairs);
 */
export function mapElementsOfAll<Output extends string>(
  program: ElementwiseProgram<Output>,
  list: readonly { readonly [name: string]: Tensor }[],
  numbers?: ProgramNumbers,
  options?: MapElementsOptions,
): readonly { readonly [output in Output]: Tensor }[] {
  const where = 'mapElementsOfAll';
  const { dtype = 'f32' } = readOptions(where, options, mapElementsKinds);
  const checked = list.map((inputs) => checkedInputs(where, program, inputs));
  checkNumbers(where, program, numbers);
  const [first] = checked;
  const isUniform = program.inputs.every((name) =>
    checked.every(({ named }) => named[name]?.dtype === first?.named[name]?.dtype),
  );
  if (
    first === undefined ||
    list.length < 2 ||
    !isUniform ||
    checked.some(({ shape }) => sizeOf(shape) === 0)
  ) {
    return list.map((inputs) => mapElements(program, inputs, numbers, { dtype }));
  }
  const named = checked.flatMap(({ named: own }, at) =>
    Object.entries(own).map(([name, one]) => [`${at}:${name}`, one] as const),
  );
  const made = runOperation(elementwiseList, {
    where,
    request: {
      ...{ program, shapes: checked.map(({ shape }) => shape), values: numbers },
      ...storageOf(program, first.named, dtype),
    },
    inputs: {
      ...Object.fromEntries(named),
      ...(program.numbers > 0 && numbers !== undefined && { numbers: numbers.vector }),
    },
  });
  return list.map((_, at) => {
    const own = Object.keys(program.outputs).map((name) => [name, made[`${at}:${name}`] as Tensor]);
    return Object.fromEntries(own) as { readonly [output in Output]: Tensor };
  });
}
