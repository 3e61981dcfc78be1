import type {
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
  BackendTensor,
  DType,
  FusedOperation,
  Shape,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { exactPath } from './exact/exact-path.js';
import type { ForwardPath } from './shared/forward-path.js';
import { relativeRefusals } from './shared/relative-bias.js';
import { storedPath } from './stored/stored-path.js';
import { sweepsPath } from './sweeps/sweeps-path.js';
import { tensorPath } from './tensor/tensor-path.js';

/** Every way to compute attention, the fastest first. */
const forwardPaths: readonly ForwardPath[] = [tensorPath(), sweepsPath, storedPath, exactPath];

export interface FusedAttentionOptions {
  /** Paths in order of preference. Default: `forwardPaths`. */
  readonly paths?: readonly ForwardPath[];
}

/**
 * Attention as one operation of the backend: the first of several paths that takes a request runs it; `explain()`
 * shows which, and why none before it did. `allocate` makes the outputs, with undefined content.
 */
export function fusedAttention<T extends BackendTensor & View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
  { paths = forwardPaths }: FusedAttentionOptions = {},
): FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>> {
  return {
    prepare(request) {
      const refusals = [...relativeRefusals(request)];
      if (refusals.length > 0) return { refusals };
      for (const path of paths) {
        const reasons = path.refuses(request, facts);
        if (reasons.length > 0) refusals.push(...reasons.map((reason) => `${path.name}: ${reason}`));
        else return prepared(path, refusals, request);
      }
      return { refusals };
    },
  };

  function prepared(path: ForwardPath, refusals: readonly string[], request: AttentionRequest) {
    return {
      preferredChunk: path.preferredChunk?.(request),
      scratchBytes: (chunk: number) => path.scratchBytes(request, chunk, facts),
      largestBytes: (chunk: number) => path.largestBytes(request, chunk, facts),
      describe() {
        const own = path.describe?.(request, facts);
        const chosen = own === undefined ? path.name : `${path.name} (${own})`;
        return { variant: [chosen, ...refusals.map((reason) => `not ${reason}`)].join('; ') };
      },
      run(inputs: AttentionInputs<T>, chunk: number): AttentionOutputs<T> {
        const { batch, queryHeads, queryLength, valueDim, dtype, k, saves } = request;
        const output = allocate([batch, queryHeads, queryLength, valueDim], dtype);
        const lists = saves && k !== 'all' ? [batch, queryHeads, queryLength, k] : undefined;
        const outputs = {
          output,
          ...(lists && { indices: allocate(lists, 'i32'), scores: allocate(lists, 'f32') }),
        };
        path.record(stream, request, { ...inputs, ...outputs }, chunk);
        return outputs;
      },
    };
  }
}
