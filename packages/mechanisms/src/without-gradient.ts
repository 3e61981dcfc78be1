import { custom, type Tensor } from '@topk-attention/core';

/** What `make` computes of tensors, as one operation without a gradient: no tape keeps anything of it. */
export function withoutGradient<Made extends readonly Tensor[]>(
  name: string,
  inputs: readonly Tensor[],
  make: () => Made,
): Made {
  return custom(
    name,
    inputs,
    () => ({ outputs: make(), saved: [] }),
    () => [],
  ) as readonly Tensor[] as Made;
}

/** x without a gradient. */
export function detached(x: Tensor): Tensor {
  const [made] = withoutGradient('detached', [x], () => [x] as const);
  return made;
}
