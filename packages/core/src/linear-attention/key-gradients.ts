import type { Backend } from '../contract/backend.js';
import type { LinearAttentionRequest } from '../contract/linear-attention.js';
import { zeros } from '../ops/create.js';
import { add, mul, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { sum } from '../ops/reduce.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { finitePart, nanOfRows, type SeenPairs, visiblePairs } from './pairs.js';
import { groupsOf, headsPerGroup, type KeyBlock } from './parts.js';
import type { RowBlock } from './query-gradients.js';
import { factorsTo } from './sums.js';

/** Sums over the queries of later blocks, over exp(-peak) with the largest log scale at the end of the block. */
export interface QuerySums {
  /** [N, F, Dv]: phi(q) g^T. */
  readonly sums: Tensor;
  /** [N, F, 1]: phi(q) h; if normalised. */
  readonly total?: Tensor;
}

export function noQueries(request: LinearAttentionRequest, backend: Backend): QuerySums {
  const { features, valueDim, normalise } = request;
  const groups = groupsOf(request);
  return {
    sums: zeros(backend, [groups, features, valueDim]),
    ...(normalise && { total: zeros(backend, [groups, features, 1]) }),
  };
}

/** The queries of a block, with the gradients of their sums. */
export interface DifferentiatedRows extends RowBlock {
  /** [N, g, n, 1]; if normalised. */
  readonly dWeights?: Tensor;
}

/** The largest log scales [N, 1, 1] before and after a block. */
export interface Peaks {
  readonly before: Tensor;
  readonly after: Tensor;
}

export interface KeyGradients {
  /** [B, Hkv, n, F] */
  readonly features: Tensor;
  /** [B, Hkv, n, Dv] */
  readonly values: Tensor;
  /** [B, Hkv, n]; with log scales. */
  readonly logScales?: Tensor;
}

/** Gradients of a block's keys, from the queries of later blocks and those of their own that see them. */
export function keyGradients(
  request: LinearAttentionRequest,
  own: KeyBlock & Partial<SeenPairs>,
  row: DifferentiatedRows | undefined,
  later: QuerySums,
  peaks: Peaks | undefined,
): KeyGradients {
  const { batch, keyHeads, features: width } = request;
  const groups = groupsOf(request);
  const size = own.features.shape[1] as number;
  return scope(() => {
    const factors = own.logScales && peaks && factorsTo(own.logScales, peaks.after);
    const scaled = (x: Tensor): Tensor => (factors === undefined ? x : mul(x, factors));
    /** [B, Hkv, n, w], zeros for hidden keys. */
    const visible = (x: Tensor): Tensor => {
      const shaped = reshape(x, [batch, keyHeads, size, x.shape[2] as number]);
      return own.isVisible === undefined ? shaped : where(own.isVisible, shaped, 0);
    };
    const features = scope(() => {
      const ofLater = scope(() => {
        const products = matmul(own.values, later.sums, { transposeB: true });
        return scaled(later.total ? add(products, reshape(later.total, [groups, 1, width])) : products);
      });
      return visible(row === undefined ? ofLater : add(ofLater, ownFeatures(request, own, row)));
    });
    const values = scope(() => {
      const ofLater = scope(() => scaled(matmul(own.features, later.sums)));
      return visible(row === undefined ? ofLater : add(ofLater, ownValues(own, row)));
    });
    const logScales = scope(
      () =>
        own.logScales &&
        sum(mul(features, reshape(own.features, [batch, keyHeads, size, width])), { axes: [3] }),
    );
    return { features, values, ...(logScales && { logScales }) };
  });
}

/** sum over i that see j of (g_i . v_j + h_i) phi(q_i): [N, n, F]. */
function ownFeatures(
  request: LinearAttentionRequest,
  own: KeyBlock & Partial<SeenPairs>,
  { rows, dProducts, dWeights }: DifferentiatedRows,
): Tensor {
  const [groups, count] = rows.shape as readonly [number, number];
  const size = count / headsPerGroup(request);
  return scope(() => {
    // Most factors of a row are 0, and 0 times NaN is NaN: a bad row speaks through the pairs that it sees.
    const nan = reshape(nanOfRows(rows), [groups, -1, size, 1]);
    const added = dWeights === undefined ? nan : add(dWeights, nan);
    const pairs = visiblePairs(dProducts, own.values, own as SeenPairs, added);
    return matmul(reshape(pairs, [groups, count, size]), finitePart(rows), { transposeA: true });
  });
}

/** sum over i that see j of w_ij g_i: [N, n, Dv]. */
function ownValues(own: KeyBlock & Partial<SeenPairs>, { rows, dProducts }: DifferentiatedRows): Tensor {
  const [groups, count] = rows.shape as readonly [number, number];
  const size = own.values.shape[1] as number;
  return scope(() => {
    const nan = reshape(nanOfRows(dProducts), [groups, -1, size, 1]);
    const pairs = visiblePairs(rows, own.features, own as SeenPairs, nan);
    return matmul(reshape(pairs, [groups, count, size]), finitePart(dProducts), { transposeA: true });
  });
}

/** The sums with those of the block's queries, relative to the largest log scale before the block. */
export function querySumsWith(
  later: QuerySums,
  row: DifferentiatedRows | undefined,
  own: Partial<SeenPairs> | undefined,
  peaks: Peaks | undefined,
): QuerySums {
  return scope(() => {
    const factor = own && peaks && factorsTo(peaks.before, peaks.after);
    const old = (x: Tensor): Tensor => (factor === undefined ? x.alias() : mul(x, factor));
    if (row === undefined) {
      return { sums: old(later.sums), ...(later.total && { total: old(later.total) }) };
    }
    const { dProducts, dWeights } = row;
    const [groups, count, width] = row.rows.shape as readonly [number, number, number];
    const rows = scope(() => {
      const { scales } = own ?? {};
      if (scales === undefined) return row.rows.alias();
      const size = scales.earlier.shape[2] as number;
      const shaped = reshape(row.rows, [groups, count / size, size, width]);
      return reshape(mul(shaped, scales.earlier), [groups, count, width]);
    });
    const joined = (sums: Tensor, right: Tensor): Tensor =>
      scope(() => add(old(sums), matmul(rows, right, { transposeA: true })));
    return {
      sums: joined(later.sums, dProducts),
      ...(later.total && dWeights && { total: joined(later.total, reshape(dWeights, [groups, count, 1])) }),
    };
  });
}
