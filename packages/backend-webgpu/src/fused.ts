import type { DType, FusedOperation, FusedOperations, Shape } from '@topk-attention/core/backend';
import { type FusedAttentionOptions, fusedAttention } from './attention/fused-attention.js';
import { fusedBackward } from './attention/fused-backward.js';
import { fusedFeedForward, fusedFeedForwardBackward } from './feed-forward/fused-feed-forward.js';
import { fusedGraphAttention, fusedGraphBackward } from './graph-attention/fused-graph-attention.js';
import { fusedLinearAttention } from './linear-attention/fused-linear-attention.js';
import { fusedLinearBackward } from './linear-attention/fused-linear-backward.js';
import { adafactorUpdates } from './primitives/adafactor.js';
import { countsBelow } from './primitives/count-below.js';
import { crossEntropies, crossEntropyGradients } from './primitives/cross-entropy.js';
import { drawnEntries } from './primitives/drawn-entries.js';
import { elementDropout } from './primitives/dropout.js';
import { elementwiseLists } from './primitives/elementwise-list.js';
import { elementwisePrograms } from './primitives/elementwise-program.js';
import { entmaxes, entmaxGradients } from './primitives/entmax.js';
import { graphProducts, transposedGraphProducts } from './primitives/graph-product.js';
import { linearLayers } from './primitives/linear.js';
import { linearGradients } from './primitives/linear-gradient.js';
import { normGradients, norms } from './primitives/norm.js';
import { sumsOfSquares } from './primitives/sum-squares.js';
import type { DeviceFacts } from './runtime/facts.js';
import type { Stream } from './runtime/stream.js';
import type { WebGpuTensor } from './tensor.js';
import { fusedToeplitzBackward } from './toeplitz/fused-toeplitz-backward.js';
import { fusedToeplitzProduct } from './toeplitz/fused-toeplitz-product.js';

export interface Allocation {
  allocate(shape: Shape, dtype: DType): WebGpuTensor;
  /** f32 tensors that share a buffer. */
  allocateWindows(shapes: readonly Shape[]): readonly WebGpuTensor[];
  release(x: WebGpuTensor): void;
}

/** Operations that run as a whole instead of core's composition. One that throws leaves no tensor behind. */
export function fusedOperations(
  stream: Stream,
  facts: DeviceFacts,
  { allocate, allocateWindows, release }: Allocation,
  options: FusedAttentionOptions = {},
): FusedOperations<WebGpuTensor> {
  let made: WebGpuTensor[] = [];
  const tracked = (shape: Shape, dtype: DType): WebGpuTensor => {
    const out = allocate(shape, dtype);
    made.push(out);
    return out;
  };
  const trackedWindows = (shapes: readonly Shape[]): readonly WebGpuTensor[] => {
    const windows = allocateWindows(shapes);
    made.push(...windows);
    return windows;
  };
  const guarded = <Request, Inputs, Outputs>(
    operation: FusedOperation<Request, Inputs, Outputs>,
  ): FusedOperation<Request, Inputs, Outputs> => ({
    prepare(request, limits) {
      const prepared = operation.prepare(request, limits);
      if ('refusals' in prepared) return prepared;
      return {
        ...prepared,
        run(inputs, chunk) {
          made = [];
          try {
            return prepared.run(inputs, chunk);
          } catch (error) {
            for (const out of made) release(out);
            throw error;
          } finally {
            made = [];
          }
        },
      };
    },
  });
  return {
    attention: guarded(fusedAttention(stream, facts, tracked, options)),
    attentionBackward: guarded(fusedBackward(stream, facts, tracked)),
    feedForward: guarded(fusedFeedForward(stream, facts, tracked)),
    graphAttention: guarded(fusedGraphAttention(stream, facts, tracked)),
    graphAttentionBackward: guarded(fusedGraphBackward(stream, facts, tracked)),
    linearAttention: guarded(fusedLinearAttention(stream, facts, tracked)),
    linearAttentionBackward: guarded(fusedLinearBackward(stream, facts, tracked)),
    toeplitzProduct: guarded(fusedToeplitzProduct(stream, facts, tracked)),
    toeplitzProductBackward: guarded(fusedToeplitzBackward(stream, facts, tracked)),
    elementwise: guarded(elementwisePrograms(stream, facts, tracked)),
    elementwiseList: guarded(
      elementwiseLists(stream, facts, { allocate: tracked, allocateWindows: trackedWindows }),
    ),
    dropout: guarded(elementDropout(stream, facts, tracked)),
    adafactor: guarded(adafactorUpdates(stream, facts, { allocateWindows: trackedWindows })),
    linear: guarded(linearLayers(stream, facts, tracked)),
    linearGradient: guarded(linearGradients(stream, facts, tracked)),
    norm: guarded(norms(stream, facts, tracked)),
    normGradient: guarded(normGradients(stream, facts, tracked)),
    sumSquares: guarded(sumsOfSquares(stream, facts, tracked)),
    crossEntropy: guarded(crossEntropies(stream, facts, tracked)),
    crossEntropyGradient: guarded(crossEntropyGradients(stream, facts, tracked)),
    entmax15: guarded(entmaxes(stream, facts, tracked)),
    entmax15Gradient: guarded(entmaxGradients(stream, facts, tracked)),
    countBelow: guarded(countsBelow(stream, facts, tracked)),
    drawnEntries: guarded(drawnEntries(stream, facts, tracked)),
    graphProduct: guarded(graphProducts(stream, facts, tracked)),
    graphProductTransposed: guarded(transposedGraphProducts(stream, facts, tracked)),
    feedForwardBackward: guarded(fusedFeedForwardBackward(stream, facts, tracked)),
  };
}
