import type { SavedLists } from '../attention/list-gradients.js';
import type {
  GraphAttentionGradients,
  GraphAttentionInputs,
  GraphAttentionOutputs,
  GraphAttentionRequest,
} from '../contract/graph-attention.js';
import type { DifferentiableOperation } from '../operation/define.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  backwardBytes,
  composedBackwardScratch,
  composedJoining,
  composedLargest,
  composedScratch,
  forwardBytes,
} from './bytes.js';
import { composedGraphAttention, composedGraphAttentionBackward } from './composed.js';

/** Attention of each query over the keys that a graph lists for it. */
export const graphAttentionOperation: DifferentiableOperation<
  GraphAttentionRequest,
  GraphAttentionInputs<Tensor>,
  GraphAttentionOutputs<Tensor>,
  GraphAttentionGradients<Tensor>
> = {
  name: 'graphAttention',
  title: 'graph attention',
  chunks: {
    option: 'queryChunk',
    title: 'query chunk',
    remedy: 'a smaller batch or fewer heads at a time',
    length: ({ queryLength }) => queryLength,
    range({ queryLength }, limits) {
      const most = Math.max(1, Math.min(limits.maxQueryChunk, queryLength));
      return { least: Math.min(limits.minQueryChunk, most), most, targetBytes: limits.targetScratchBytes };
    },
  },
  isEmpty: ({ batch, entries }) => batch * entries === 0,
  outputs({ batch, queryHeads, queryLength, valueDim, dtype, entries, saves }) {
    const output = { shape: [batch, queryHeads, queryLength, valueDim], dtype };
    if (!saves) return { output };
    const shape = [batch, queryHeads, queryLength, entries];
    return { output, indices: { shape, dtype: 'i32' }, scores: { shape, dtype: 'f32' } };
  },
  forward: {
    bytes: forwardBytes,
    composed: (request, limits) => ({
      describe: () => ({ entries: `${request.entries} per query` }),
      scratchBytes: (chunk) => composedScratch(request, chunk, limits),
      largestBytes: (chunk) => composedLargest(request, chunk),
      joiningBytes: (chunk) => composedJoining(request, chunk, limits),
      run: (inputs, chunk) => composedGraphAttention(request, inputs, chunk),
    }),
  },
  backward: {
    roles: ['q', 'k', 'v', 'bias'],
    bytes: backwardBytes,
    composed: (request, limits) => ({
      scratchBytes: (chunk) => composedBackwardScratch(request, chunk, limits),
      largestBytes: (chunk) => composedLargest(request, chunk),
      run: ({ indices, scores, dOutput, ...inputs }, chunk) =>
        composedGraphAttentionBackward(request, inputs, { indices, scores } as SavedLists, dOutput, chunk),
    }),
  },
};
