import {
  add,
  cast,
  custom,
  div,
  eq,
  fill,
  formatShape,
  isFloat,
  max,
  maxOver,
  mul,
  reshape,
  scope,
  sizeOf,
  sqrt,
  sub,
  sum,
  type Tensor,
  TopKError,
  where,
} from '@topk-attention/core';
import {
  defineOperation,
  type EntmaxGradientInputs,
  type EntmaxGradients,
  type EntmaxInputs,
  type EntmaxOutputs,
  type EntmaxRequest,
  entmaxSteps,
  runOperation,
} from '@topk-attention/core/backend';
import { paddedShape } from './padded-shape.js';

const rows = { axes: [-1], keepDims: true } as const;
const bytesOf = ({ shape }: EntmaxRequest): number => 4 * sizeOf(shape);
const isEmpty = ({ shape }: EntmaxRequest): boolean => sizeOf(shape) === 0;

/*
 * Two operations, as core's norms are: gradients of gradients go through the composed version of the second.
 */

const entmaxOperation = defineOperation<EntmaxRequest, EntmaxInputs<Tensor>, EntmaxOutputs<Tensor>>({
  name: 'entmax15',
  title: 'entmax',
  outputs: ({ shape }) => ({ weights: { shape, dtype: 'f32' } }),
  isEmpty,
  forward: {
    bytes: (request) => ({
      inputs: bytesOf(request) + (request.visible === undefined ? 0 : sizeOf(request.visible)),
      output: bytesOf(request),
      saved: 0,
    }),
    composed: (request) => ({
      // Halves, the part above tau, and its squares.
      scratchBytes: () => 3 * bytesOf(request),
      run: (inputs) => scope(() => ({ weights: weightsOf(inputs) })),
    }),
  },
});

const gradientOperation = defineOperation<
  EntmaxRequest,
  EntmaxGradientInputs<Tensor>,
  EntmaxGradients<Tensor>
>({
  name: 'entmax15Gradient',
  title: 'gradient of entmax',
  outputs: ({ shape }) => ({ scores: { shape, dtype: 'f32' } }),
  isEmpty,
  forward: {
    bytes: (request) => ({ inputs: 2 * bytesOf(request), output: bytesOf(request), saved: 0 }),
    composed: (request) => ({
      scratchBytes: () => 2 * bytesOf(request),
      run: ({ weights, dWeights }) =>
        scope(() => {
          const own = sqrt(weights);
          const along = scope(() => sum(mul(own, dWeights), rows));
          const total = sum(own, rows);
          const mean = div(along, where(eq(total, 0), 1, total));
          const rest = sub(dWeights, mean);
          return { scores: mul(own, rest) };
        }),
    }),
  },
});

/**
 * Entmax with alpha = 1.5 over the last axis: p = max(z / 2 - tau, 0)^2, with tau such that p sums to 1. Many entries are
 * exactly 0. -inf gives 0, a row of all -inf zeros, a row with NaN or +inf NaN. tau is found by Newton's method on the
 * length of max(z / 2 - tau, 0), which is convex in tau, so that it is approached from one side; each step solves rows of
 * equal entries at once. The gradient is exact: s (g - (s . g) / sum s) with s = sqrt(p); gradients of it are NaN where p
 * is 0. One launch each way on WebGPU; composed it takes three tensors of the size of the scores while it runs. The result
 * is kept for the gradient.
 *
 * @param scores float [..., n]
 * @param visible bool that broadcasts to the scores: what is hidden counts as -inf. Default: nothing is.
 * @returns [..., n] in the dtype of the scores, computed in f32 for f16 too
 * @throws TopKError DTYPE_MISMATCH, SHAPE_MISMATCH
 */
export function entmax15(scores: Tensor, visible?: Tensor): Tensor {
  return scope(() => {
    const wide = cast(scores, 'f32');
    checkInputs(scores, visible);
    const shown = visible && reshape(visible, paddedShape(visible.shape, scores.rank));
    const request: EntmaxRequest = { shape: wide.shape, ...(shown && { visible: shown.shape }) };
    const [weights] = custom(
      'entmax15',
      [wide],
      () => {
        const inputs = { scores: wide, ...(shown && { visible: shown }) };
        const made = runOperation(entmaxOperation, { where: 'entmax15', request, inputs }).weights;
        return { outputs: [made], saved: [made] };
      },
      (_ops, [dWeights], [made]) => {
        if (dWeights === undefined) return [];
        const inputs = { weights: made as Tensor, dWeights };
        const call = { where: 'entmax15.backward', request: { shape: request.shape }, inputs };
        return [runOperation(gradientOperation, call).scores];
      },
    );
    return cast(weights as Tensor, scores.dtype);
  });
}

function checkInputs(scores: Tensor, visible: Tensor | undefined): void {
  if (!isFloat(scores.dtype) || (visible !== undefined && visible.dtype !== 'bool')) {
    throw new TopKError('DTYPE_MISMATCH', 'entmax15: wrong dtype', {
      expected: 'scores of f32 or f16, visible of bool',
      got: visible === undefined ? scores.dtype : `${scores.dtype} and ${visible.dtype}`,
    });
  }
  const isFit = (extent: number, at: number): boolean => extent === 1 || extent === scores.shape[at];
  const isShown =
    visible === undefined ||
    (visible.rank <= scores.rank && paddedShape(visible.shape, scores.rank).every(isFit));
  if (scores.rank > 0 && isShown) return;
  throw new TopKError('SHAPE_MISMATCH', 'entmax15: wrong shape', {
    expected: 'scores [..., n], and visible with the same extents or 1',
    got: [scores, ...(visible === undefined ? [] : [visible])]
      .map((one) => formatShape(one.shape))
      .join(' and '),
  });
}

function weightsOf({ scores, visible }: EntmaxInputs<Tensor>): Tensor {
  return scope(() => {
    const halves = scope(() =>
      halvesBelowLargest(visible === undefined ? scores : where(visible, scores, Number.NEGATIVE_INFINITY)),
    );
    const threshold = thresholdOf(halves);
    const part = partAbove(halves, threshold);
    halves.dispose();
    const unit = scope(() => {
      const length = lengthOf(part);
      return div(part, where(eq(length, 0), 1, length));
    });
    part.dispose();
    return mul(unit, unit);
  });
}

/** z / 2 less the largest of its row. */
function halvesBelowLargest(scores: Tensor): Tensor {
  return scope(() => {
    const largest = maxOver(scores, rows);
    const level = where(eq(largest, Number.NEGATIVE_INFINITY), 0, largest);
    return mul(sub(scores, level), 0.5);
  });
}

/** tau of each row [..., 1]. The largest entry is 0, so that tau is at least -1. */
function thresholdOf(halves: Tensor): Tensor {
  let threshold = fill(halves.backend, -1, [...halves.shape.slice(0, -1), 1], halves.dtype);
  for (let step = entmaxSteps(halves.shape.at(-1) as number); step > 0; step--) {
    const next = scope(() => {
      const part = partAbove(halves, threshold);
      const total = sum(part, rows);
      const length = lengthOf(part);
      const change = div(mul(sub(length, 1), length), where(eq(total, 0), 1, total));
      return add(threshold, change);
    });
    threshold.dispose();
    threshold = next;
  }
  return threshold;
}

/** max(x - threshold, 0) */
function partAbove(x: Tensor, threshold: Tensor): Tensor {
  return scope(() => max(sub(x, threshold), 0));
}

function lengthOf(part: Tensor): Tensor {
  return scope(() => sqrt(sum(mul(part, part), rows)));
}
