import type { AttentionGradients, AttentionOutputs, AttentionRequest } from '../contract/attention.js';
import { chooseAttention, describeSelection } from '../contract/choices.js';
import type { DifferentiableOperation } from '../operation/define.js';
import type { Tensor } from '../tensor/tensor.js';
import {
  backwardBytes,
  composedAttentionLargest,
  composedAttentionScratch,
  composedBackwardLargest,
  composedBackwardTransient,
  composedJoining,
  forwardBytes,
} from './bytes.js';
import { composedAttentionBackward } from './composed-backward.js';
import { composedAttention } from './composed-forward.js';
import type { AttentionTensors } from './request.js';

/** Top-k and exact attention: `k` of the request says which. */
export const attention: DifferentiableOperation<
  AttentionRequest,
  AttentionTensors,
  AttentionOutputs<Tensor>,
  AttentionGradients<Tensor>
> = {
  name: 'attention',
  title: 'attention',
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
  isEmpty: ({ batch }) => batch === 0,
  outputs({ batch, queryHeads, queryLength, valueDim, dtype, k, saves }) {
    const output = { shape: [batch, queryHeads, queryLength, valueDim], dtype };
    if (k === 'all' || !saves) return { output };
    const shape = [batch, queryHeads, queryLength, k];
    return { output, indices: { shape, dtype: 'i32' }, scores: { shape, dtype: 'f32' } };
  },
  forward: {
    bytes: forwardBytes,
    composed(request, limits) {
      const chosen = chooseAttention(request, limits);
      return {
        describe: () => ({
          selection: request.k === 'all' ? 'all keys' : describeSelection(chosen.selection),
        }),
        scratchBytes: (chunk) => composedAttentionScratch(chosen, chunk, limits.boolBytes),
        largestBytes: (chunk) => composedAttentionLargest(request, chunk),
        joiningBytes: (chunk) => composedJoining(request, chunk, limits),
        run: (inputs, chunk) => composedAttention(chosen, inputs, chunk),
      };
    },
  },
  backward: {
    roles: ['q', 'k', 'v', 'bias', 'relativeTable'],
    bytes: backwardBytes,
    composed: (request, limits) => ({
      scratchBytes: (chunk) => composedBackwardTransient(request, chunk, limits),
      largestBytes: (chunk) => composedBackwardLargest(request, chunk),
      run({ indices, scores, dOutput, ...inputs }, chunk) {
        const lists = indices && scores && { indices, scores };
        return composedAttentionBackward(request, inputs, lists, dOutput, chunk);
      },
    }),
  },
};
