import type { LinearAttentionInputs, LinearAttentionRequest } from '../contract/linear-attention.js';
import { arange } from '../ops/create.js';
import { cast, eq, logicalAnd, logicalNot, lt, where } from '../ops/elementwise.js';
import { narrow, reshape } from '../ops/layout.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Range } from './blocks.js';

/** N: sequences times key heads. */
export const groupsOf = ({ batch, keyHeads }: LinearAttentionRequest): number => batch * keyHeads;

/** g: query heads that share a key head. */
export const headsPerGroup = ({ queryHeads, keyHeads }: LinearAttentionRequest): number =>
  queryHeads / keyHeads;

/** Keys of a block in f32; hidden ones have features and values of 0. */
export interface KeyBlock {
  /** [N, n, F] */
  readonly features: Tensor;
  /** [N, n, Dv] */
  readonly values: Tensor;
  /** [N, n, 1], -inf for hidden keys; with log scales. */
  readonly logScales?: Tensor;
  /** bool [N, n, 1] or [1, n, 1] or [B, 1, n, 1] seen from [B, Hkv, n, width]; absent if no key may be hidden. */
  readonly isVisible?: Tensor;
}

/** Features and values of hidden keys may hold NaN, and 0 times NaN is NaN: both become 0. */
export function keyBlock(
  request: LinearAttentionRequest,
  inputs: LinearAttentionInputs<Tensor>,
  { start, size }: Range,
): KeyBlock {
  const groups = groupsOf(request);
  return scope(() => {
    const { keyLogScale } = inputs;
    const given = keyLogScale && narrow(keyLogScale, 2, start, size);
    const isVisible = visibleKeys(request, inputs, given, { start, size });
    const part = (x: Tensor): Tensor =>
      scope(() => {
        const own = cast(narrow(x, 2, start, size), 'f32');
        const kept = isVisible === undefined ? own : where(isVisible, own, 0);
        return reshape(kept, [groups, size, x.shape[3] as number]);
      });
    const logScales = scope(() => {
      if (given === undefined) return undefined;
      const column = reshape(given, [request.batch, request.keyHeads, size, 1]);
      const kept = isVisible === undefined ? column : where(isVisible, column, Number.NEGATIVE_INFINITY);
      return reshape(kept, [groups, size, 1]);
    });
    return {
      features: part(inputs.keyFeatures),
      values: part(inputs.value),
      ...(logScales && { logScales }),
      ...(isVisible && { isVisible }),
    };
  });
}

/** bool, broadcastable to [B, Hkv, size, width]; undefined if every key is visible. */
function visibleKeys(
  { batch, keyHeads }: LinearAttentionRequest,
  { keyLengths, keyMask, keyFeatures }: LinearAttentionInputs<Tensor>,
  logScale: Tensor | undefined,
  { start, size }: Range,
): Tensor | undefined {
  const conditions: Tensor[] = [];
  if (keyLengths !== undefined) {
    const positions = reshape(arange(keyFeatures.backend, size, start), [1, 1, size, 1]);
    conditions.push(lt(positions, reshape(keyLengths, [batch, 1, 1, 1])));
  }
  if (keyMask !== undefined) {
    conditions.push(reshape(narrow(keyMask, 1, start, size), [keyMask.shape[0] as number, 1, size, 1]));
  }
  if (logScale !== undefined) {
    const column = reshape(logScale, [batch, keyHeads, size, 1]);
    conditions.push(logicalNot(eq(column, Number.NEGATIVE_INFINITY)));
  }
  return conditions.length === 0 ? undefined : conditions.reduce(logicalAnd);
}

/** Rows of queries of a tensor [B, Hq, Lq, width] in f32, heads that share keys one after the other: [N, g n, width]. */
export function queryRows(request: LinearAttentionRequest, x: Tensor, { start, size }: Range): Tensor {
  return scope(() =>
    reshape(cast(narrow(x, 2, start, size), 'f32'), [
      groupsOf(request),
      headsPerGroup(request) * size,
      x.shape[3] ?? 1,
    ]),
  );
}
