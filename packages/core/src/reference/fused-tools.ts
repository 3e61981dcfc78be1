import { mapRoles, type Roles } from '../operation/roles.js';
import { type Numbers, numbersOf, type ReferenceMemory, type ReferenceTensor } from './storage.js';

/** Each tensor as its numbers, under the same role. */
export function arraysOf<Inputs extends object>(inputs: Inputs): Roles<Inputs, Numbers> {
  return mapRoles(inputs, numbersOf);
}

/** The variant shared by all fused operations, for `explain()`. */
export const describe = (): { readonly variant: string } => ({ variant: 'plain loops' });

/** A tensor of computed numbers. */
export function stored(
  memory: ReferenceMemory,
  values: Numbers,
  shape: readonly number[],
  dtype: ReferenceTensor['dtype'],
): ReferenceTensor {
  return memory.make(shape, dtype, (out) => {
    for (let i = 0; i < out.length; i++) out[i] = values[i] as number;
  });
}

/** Gradients as tensors shaped like the inputs, under the same roles. */
export function gradientsOf<Inputs extends object>(
  memory: ReferenceMemory,
  inputs: Inputs,
  gradients: { readonly [Role in keyof Inputs]-?: Numbers },
): Roles<Inputs, ReferenceTensor> {
  return mapRoles(inputs, (one: ReferenceTensor, role) =>
    stored(memory, gradients[role as keyof Inputs], one.shape, one.dtype),
  );
}
