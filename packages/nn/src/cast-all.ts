import { elementwiseProgram, mapElementsOfAll, type Tensor } from '@topk-attention/core';
import type { ParameterTree } from './parameters.js';

const same = elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: x }));

/** Float tensors in another dtype, in few launches; in none if all of them have it. */
export function castAll(xs: readonly Tensor[], dtype: 'f32' | 'f16'): readonly Tensor[] {
  if (xs.every((x) => x.dtype === dtype)) return xs.map((x) => x.alias());
  const given = xs.map((x) => ({ x }));
  return mapElementsOfAll(same, given, undefined, { dtype }).map(({ y }) => y);
}

/** `castAll` of a tree's tensors, under their names. */
export function castTree(tree: ParameterTree, dtype: 'f32' | 'f16'): ParameterTree {
  const made = castAll(Object.values(tree), dtype);
  return Object.fromEntries(Object.keys(tree).map((name, at) => [name, made[at] as Tensor]));
}
