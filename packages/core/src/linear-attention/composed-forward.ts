import type {
  LinearAttentionInputs,
  LinearAttentionOutputs,
  LinearAttentionRequest,
} from '../contract/linear-attention.js';
import { add, cast, div, eq, lt, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { blocksOf, flushOf } from './blocks.js';
import { Joined } from './joined.js';
import { cornerOf, lowerTriangle, type SeenPairs, seenPairs, visiblePairs, weighedValues } from './pairs.js';
import { groupsOf, headsPerGroup, type KeyBlock, keyBlock, queryRows } from './parts.js';
import { disposeAll, type KeySums, sumsBefore, sumsWith } from './sums.js';

/** Linear attention from primitives, block by block, with running sums over the keys. */
export function composedLinearAttention(
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<Tensor>,
  chunk: number,
): LinearAttentionOutputs<Tensor> {
  const { backend } = inputs.queryFeatures;
  const { batch, queryHeads, keyHeads, queryLength, features, valueDim } = request;
  const output = new Joined(backend, queryLength);
  const denominators = new Joined(backend, queryLength);
  return scope(() => {
    const triangle = request.causal ? lowerTriangle(backend, Math.min(chunk, queryLength)) : undefined;
    let sums = sumsBefore(request, inputs);
    const blocks = blocksOf(request, chunk);
    const flush = flushOf(request, chunk, backend);
    flush();
    for (const [at, { queries, keys }] of blocks.entries()) {
      const before = sums;
      // No block and no state takes the sums after the last block.
      const isRead = request.returnsState || at < blocks.length - 1;
      const made = scope(() => {
        const own = keys && keyBlock(request, inputs, keys);
        const rows = queries && queryRows(request, inputs.queryFeatures, queries);
        const seen =
          queries && own && triangle
            ? { ...own, ...seenPairs(cornerOf(triangle, queries.size), own.logScales, before.peak) }
            : undefined;
        const row = rows && rowsOf(request, rows, before, seen);
        return { ...(row && { row }), ...(own && isRead && { sums: sumsWith(before, own) }) };
      });
      if (made.row !== undefined && queries !== undefined) {
        output.put(queries.start, made.row.output);
        if (made.row.denominators !== undefined) denominators.put(queries.start, made.row.denominators);
      }
      if (made.sums !== undefined) {
        sums = made.sums;
        disposeAll(before);
      }
      flush();
    }
    const state = request.returnsState && {
      sums: reshape(sums.sums, [batch, keyHeads, features, valueDim]),
      total: reshape(sums.total, [batch, keyHeads, features]),
      ...(sums.peak && { logScale: reshape(sums.peak, [batch, keyHeads]) }),
    };
    const divisors = denominators.take();
    return {
      output: output.take() as Tensor,
      ...state,
      ...(divisors && { denominators: reshape(divisors, [batch, queryHeads, queryLength]) }),
    };
  });
}

/** Output [B, Hq, n, Dv] of a block's queries, and what it was divided by, [B, Hq, n, 1]. */
function rowsOf(
  request: LinearAttentionRequest,
  rows: Tensor,
  before: KeySums,
  own: (KeyBlock & SeenPairs) | undefined,
): { readonly output: Tensor; readonly denominators?: Tensor } {
  const { batch, queryHeads, valueDim, dtype, normalise, saves } = request;
  const size = (rows.shape[1] as number) / headsPerGroup(request);
  return scope(() => {
    const { products, weights } = rowSums(request, rows, before, own);
    if (weights === undefined) {
      return { output: cast(reshape(products, [batch, queryHeads, size, valueDim]), dtype) };
    }
    const denominators = denominatorsOf(request, weights);
    const quotients = where(eq(denominators, 0), 0, div(products, denominators));
    return {
      output: cast(reshape(quotients, [batch, queryHeads, size, valueDim]), dtype),
      ...(normalise && saves && { denominators: reshape(denominators, [batch, queryHeads, size, 1]) }),
    };
  });
}

/** Sums of weights times values [N, g, n, Dv] and, if normalised, of weights [N, g, n, 1]. */
function rowSums(
  request: LinearAttentionRequest,
  rows: Tensor,
  before: KeySums,
  own: (KeyBlock & SeenPairs) | undefined,
): { readonly products: Tensor; readonly weights?: Tensor } {
  const { valueDim, normalise } = request;
  const groups = groupsOf(request);
  const heads = headsPerGroup(request);
  const size = (rows.shape[1] as number) / heads;
  const earlierOf = (sums: Tensor, width: number): Tensor =>
    scope(() => reshape(matmul(rows, sums), [groups, heads, size, width]));
  if (own === undefined) {
    return {
      products: earlierOf(before.sums, valueDim),
      ...(normalise && { weights: earlierOf(before.total, 1) }),
    };
  }
  return scope(() => {
    const { scales } = own;
    const pairs = visiblePairs(rows, own.features, own);
    const joined = (ofOwn: Tensor, sums: Tensor, width: number): Tensor =>
      scope(() => {
        const earlier = earlierOf(sums, width);
        return add(ofOwn, scales === undefined ? earlier : mul(earlier, scales.earlier));
      });
    return {
      products: joined(weighedValues(pairs, own), before.sums, valueDim),
      ...(normalise && {
        weights: joined(sum(pairs, { axes: [3], keepDims: true }), before.total, 1),
      }),
    };
  });
}

/** What sums of weights stand for as divisors; a row whose divisor is 0 becomes zeros. NaN stays NaN. */
function denominatorsOf({ epsilon, leastDenominator }: LinearAttentionRequest, weights: Tensor): Tensor {
  return scope(() => {
    const raised = epsilon === 0 ? weights : add(weights, epsilon);
    if (leastDenominator === Number.NEGATIVE_INFINITY) return raised.alias();
    return where(lt(raised, leastDenominator), leastDenominator, raised);
  });
}
