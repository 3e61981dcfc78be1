import type { AttentionGradients, AttentionOutputs } from '../backend.js';
import { zeros } from '../ops/create.js';
import type { AttentionRequest } from '../plan/request.js';
import type { Tensor } from '../tensor.js';
import type { AttentionTensors } from './options.js';

/** What attention over a batch of 0 gives: empty tensors, made without asking an engine to attend. */
export function emptyOutputs(request: AttentionRequest, { q }: AttentionTensors): AttentionOutputs<Tensor> {
  const { queryHeads, queryLength, valueDim, dtype, k, saves } = request;
  const output = zeros(q.backend, [0, queryHeads, queryLength, valueDim], dtype);
  if (k === 'all' || !saves) return { output };
  const lists = [0, queryHeads, queryLength, k];
  return { output, indices: zeros(q.backend, lists, 'i32'), scores: zeros(q.backend, lists) };
}

/** Its gradients: zeros, of which those of a shared bias and of the relative table have elements. */
export function zeroGradients(tensors: AttentionTensors): AttentionGradients<Tensor> {
  const like = ({ backend, shape, dtype }: Tensor): Tensor => zeros(backend, shape, dtype);
  const { q, k, v, bias, relativeTable } = tensors;
  return {
    q: like(q),
    k: like(k),
    v: like(v),
    ...(bias && { bias: like(bias) }),
    ...(relativeTable && { relativeTable: like(relativeTable) }),
  };
}
