import type { ConformanceCase } from './case.js';
import { elementwiseCases } from './primitives/elementwise.js';
import { layoutCases } from './primitives/layout.js';
import { matmulCases } from './primitives/matmul.js';
import { memoryCases } from './primitives/memory.js';
import { randomBitsCases } from './primitives/random-bits.js';
import { reductionCases } from './primitives/reductions.js';
import { selectionCases } from './primitives/selection.js';
import { trapCases } from './traps.js';

/** Every case, in the order in which a new backend meets them. Reads the golden values once. */
export async function conformanceCases(): Promise<readonly ConformanceCase[]> {
  return [
    ...memoryCases,
    ...layoutCases,
    ...elementwiseCases,
    ...reductionCases,
    ...matmulCases,
    ...selectionCases,
    ...randomBitsCases,
    ...trapCases,
  ];
}
