import { add, matmul, scope, type Tensor } from '@topk-attention/core';

/** x w + bias: x [..., in], w [in, out], bias [out] -> [..., out]. */
export function linear(x: Tensor, w: Tensor, bias?: Tensor): Tensor {
  return scope(() => {
    const product = matmul(x, w);
    return bias === undefined ? product : add(product, bias);
  });
}
