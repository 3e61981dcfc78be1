import {
  type AttentionInputs,
  type AttentionOutputs,
  type AttentionRequest,
  type BackendTensor,
  type DType,
  type FusedOperation,
  type Shape,
  TopKError,
} from '@topk-attention/core';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { exactPath } from './exact/exact-path.js';
import type { ForwardPath } from './forward-path.js';
import { storedPath } from './stored/stored-path.js';
import { sweepsPath } from './sweeps/sweeps-path.js';
import { tensorPath } from './tensor/tensor-path.js';

/** Every way to compute attention, the fastest first. */
const forwardPaths: readonly ForwardPath[] = [tensorPath(), sweepsPath, storedPath, exactPath];

/** Attention as the backend's operation; `explain()` shows what `describe` says: the path, and why none before it. */
export interface FusedAttention<T extends BackendTensor>
  extends FusedOperation<AttentionRequest, AttentionInputs<T>, AttentionOutputs<T>> {
  largestBytes(request: AttentionRequest, chunk: number): number;
  describe(request: AttentionRequest): string;
  /** The path that takes a request, and the reasons of those that are preferred to it. */
  choose(request: AttentionRequest): PathChoice;
}

interface PathChoice {
  /** Undefined: core composes the operation from primitives. */
  readonly path: ForwardPath | undefined;
  readonly refusals: readonly { readonly path: string; readonly reasons: readonly string[] }[];
}

export interface FusedAttentionOptions {
  /** Paths in order of preference. Default: `forwardPaths`. */
  readonly paths?: readonly ForwardPath[];
}

/**
 * Attention as one operation of the backend: of several paths the first that takes a request runs it. `allocate` makes
 * the outputs, their content undefined.
 */
export function fusedAttention<T extends BackendTensor & View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
  { paths = forwardPaths }: FusedAttentionOptions = {},
): FusedAttention<T> {
  const choose = (request: AttentionRequest): PathChoice => {
    const refusals: { path: string; reasons: readonly string[] }[] = [];
    for (const path of paths) {
      const reasons = path.refuses(request, facts);
      if (reasons.length === 0) return { path, refusals };
      refusals.push({ path: path.name, reasons });
    }
    return { path: undefined, refusals };
  };
  const pathOf = (request: AttentionRequest): ForwardPath => {
    const { path, refusals } = choose(request);
    if (path !== undefined) return path;
    throw new TopKError('UNSUPPORTED', 'webgpu: no fused path takes this attention', {
      got: reasonsOf(refusals).join('; '),
      fix: 'Use the composed version',
    });
  };
  return {
    choose,
    refuses: (request) => {
      const { path, refusals } = choose(request);
      return path === undefined ? reasonsOf(refusals) : [];
    },
    describe: (request) => {
      const { path, refusals } = choose(request);
      const own = path?.describe?.(request, facts);
      const chosen =
        path === undefined ? 'composed' : own === undefined ? path.name : `${path.name} (${own})`;
      return [chosen, ...reasonsOf(refusals).map((reason) => `not ${reason}`)].join('; ');
    },
    preferredChunk: (request) => pathOf(request).preferredChunk?.(request),
    scratchBytes: (request, chunk) => pathOf(request).scratchBytes(request, chunk, facts),
    largestBytes: (request, chunk) => pathOf(request).largestBytes(request, chunk, facts),
    run(request, inputs, chunk) {
      const { batch, queryHeads, queryLength, valueDim, dtype, k, saves } = request;
      const output = allocate([batch, queryHeads, queryLength, valueDim], dtype);
      const lists = saves && k !== 'all' ? [batch, queryHeads, queryLength, k] : undefined;
      const outputs = {
        output,
        ...(lists && { indices: allocate(lists, 'i32'), scores: allocate(lists, 'f32') }),
      };
      pathOf(request).record(stream, request, { ...inputs, ...outputs }, chunk);
      return outputs;
    },
  };
}

function reasonsOf(refusals: PathChoice['refusals']): readonly string[] {
  return refusals.flatMap(({ path, reasons }) => reasons.map((reason) => `${path}: ${reason}`));
}
