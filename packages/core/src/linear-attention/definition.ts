import type {
  LinearAttentionGradients,
  LinearAttentionInputs,
  LinearAttentionOutputs,
  LinearAttentionRequest,
} from '../contract/linear-attention.js';
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
import { composedLinearAttentionBackward } from './composed-backward.js';
import { composedLinearAttention } from './composed-forward.js';

/** Longer causal chunks compare more pairs than they save in sums: pairs grow with the square of the chunk. */
const CAUSAL_CHUNK = 128;

/** Attention whose weights are products of features. */
export const linearAttentionOperation: DifferentiableOperation<
  LinearAttentionRequest,
  LinearAttentionInputs<Tensor>,
  LinearAttentionOutputs<Tensor>,
  LinearAttentionGradients<Tensor>
> = {
  name: 'linearAttention',
  title: 'linear attention',
  chunks: {
    option: 'chunk',
    title: 'chunk',
    remedy: 'a smaller batch or fewer heads at a time',
    length: ({ queryLength, keyLength }) => Math.max(queryLength, keyLength),
    range({ causal, queryLength, keyLength }, { targetScratchBytes }) {
      const length = Math.max(queryLength, keyLength);
      const most = causal ? Math.min(CAUSAL_CHUNK, length) : length;
      return { least: Math.min(16, most), most, targetBytes: targetScratchBytes };
    },
  },
  isEmpty: ({ batch }) => batch === 0,
  outputs(request) {
    const { batch, queryHeads, keyHeads, queryLength, features, valueDim, dtype } = request;
    const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;
    return {
      output: { shape: [batch, queryHeads, queryLength, valueDim], dtype },
      ...(request.returnsState && {
        sums: f32(batch, keyHeads, features, valueDim),
        total: f32(batch, keyHeads, features),
        ...(request.keyLogScale && { logScale: f32(batch, keyHeads) }),
      }),
      ...(request.saves && request.normalise && { denominators: f32(batch, queryHeads, queryLength) }),
    };
  },
  forward: {
    bytes: forwardBytes,
    composed: (request, limits) => ({
      describe: () => ({ sums: request.causal ? 'running, pairs within a chunk' : 'over all keys' }),
      scratchBytes: (chunk) => composedScratch(request, chunk, limits),
      largestBytes: (chunk) => composedLargest(request, chunk),
      joiningBytes: (chunk) => composedJoining(request, chunk, limits),
      run: (inputs, chunk) => composedLinearAttention(request, inputs, chunk),
    }),
  },
  backward: {
    roles: [
      'queryFeatures',
      'keyFeatures',
      'value',
      'keyLogScale',
      'sumsBefore',
      'totalBefore',
      'logScaleBefore',
    ],
    bytes: backwardBytes,
    composed: (request, limits) => ({
      scratchBytes: (chunk) => composedBackwardScratch(request, chunk, limits),
      largestBytes: (chunk) => composedLargest(request, chunk),
      run: (inputs, chunk) => composedLinearAttentionBackward(request, inputs, chunk),
    }),
  },
};
