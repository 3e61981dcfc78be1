import { linear as coreLinear, formatShape, type Tensor, TopKError } from '@topk-attention/core';
import { requireTensor } from '../require.js';

/**
 * x w + bias: x [..., in], w [in, out], bias [out] -> [..., out]. Core's `linear` also applies an activation.
 *
 * @throws TopKError RANK_MISMATCH, SHAPE_MISMATCH, INVALID_OPTION.
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor): Tensor {
  requireTensor('linear', 'x', x);
  requireTensor('linear', 'w', w, { rank: 2 });
  if (x.shape.at(-1) !== w.shape[0]) {
    throw new TopKError('SHAPE_MISMATCH', 'linear: x and w have incompatible shapes', {
      expected: `x [..., ${w.shape[0]}] for w ${formatShape(w.shape)}`,
      got: formatShape(x.shape),
      fix: 'w is [in, out]: load it with transposed: true if the checkpoint stores [out, in]',
    });
  }
  if (bias !== undefined) {
    requireTensor('linear', 'bias', bias, { rank: 1 });
    // A bias of one element would broadcast silently.
    if (bias.shape[0] !== w.shape[1]) {
      throw new TopKError('SHAPE_MISMATCH', 'linear: bias and w have incompatible shapes', {
        expected: `bias [${w.shape[1]}] for w ${formatShape(w.shape)}`,
        got: formatShape(bias.shape),
      });
    }
  }
  return coreLinear(x, w, bias);
}
