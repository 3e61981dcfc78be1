import { explainToeplitzProduct, toeplitzProduct } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { bad } from './bad.js';

type Shape = readonly number[];

const badShapes: readonly (readonly [name: string, factors: Shape, x: Shape, code: string])[] = [
  ['factors of other distances', [2, 6], [1, 2, 3, 4], 'SHAPE_MISMATCH'],
  ['factors of one head for two', [1, 5], [1, 2, 3, 4], 'SHAPE_MISMATCH'],
  ['factors of rank 1', [5], [1, 1, 3, 4], 'SHAPE_MISMATCH'],
  ['x of rank 3', [2, 5], [2, 3, 4], 'RANK_MISMATCH'],
  ['no tokens', [2, 1], [1, 2, 0, 4], 'EMPTY_SEQUENCE'],
];

export const toeplitzBadInputCases: readonly ConformanceCase[] = [
  ...badShapes.map(([name, factors, x, code]) =>
    bad(`toeplitzProduct, ${name}`, code, (t) => toeplitzProduct(t.zeros(...factors), t.zeros(...x))),
  ),
  bad('toeplitzProduct, factors of i32', 'DTYPE_MISMATCH', (t) =>
    toeplitzProduct(t.ints(2, 5), t.zeros(1, 2, 3, 4)),
  ),
  bad('explainToeplitzProduct, factors of other distances', 'SHAPE_MISMATCH', ({ backend }) =>
    explainToeplitzProduct(backend, { factors: [2, 6], x: [1, 2, 3, 4] }),
  ),
  bad('explainToeplitzProduct, a budget of one byte', 'DOES_NOT_FIT', ({ backend }) =>
    explainToeplitzProduct(backend, { factors: [2, 5], x: [1, 2, 3, 4] }, { budgetBytes: 1 }),
  ),
];
