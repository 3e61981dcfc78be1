import type {
  BackendTensor,
  DType,
  FeedForwardBackwardInputs,
  FeedForwardInputs,
  FeedForwardOutputs,
  FeedForwardRequest,
  FusedOperation,
  Shape,
} from '@topk-attention/core';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../view.js';
import { recordBackward } from './backward.js';
import { firstProductKind } from './first-product.js';
import { recordForward } from './forward.js';
import { backwardChunk, backwardScratch, forwardChunk, forwardScratch, type Scratch } from './sizes.js';

/** Makes an uninitialised tensor of the backend. */
export type Allocate<T> = (shape: Shape, dtype: DType) => T;

/** The feed-forward layer of one device. */
export function fusedFeedForward<T extends View & BackendTensor>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate<T>,
): FusedOperation<FeedForwardRequest, FeedForwardInputs<T>, FeedForwardOutputs<T>> {
  const chunkOf = (request: FeedForwardRequest, chunk: number): number =>
    forwardChunk(request, chunk, facts.bindingBytes, firstProductKind(request, facts));
  const scratchOf = (request: FeedForwardRequest, chunk: number): Scratch =>
    forwardScratch(request, chunkOf(request, chunk), firstProductKind(request, facts));
  return {
    refuses: (request) => tooLarge(request, facts),
    scratchBytes: (request, chunk) => scratchOf(request, chunk).total,
    largestBytes: (request, chunk) => scratchOf(request, chunk).largest,
    describe: (request) =>
      `first product ${firstProductKind(request, facts)}, second ${request.k === 'all' ? 'dense' : request.second}`,
    run(request, inputs, chunk) {
      const { tokens, outputDim, dtype, k, saves } = request;
      const output = allocate([tokens, outputDim], dtype);
      const lists =
        saves === true && k !== 'all'
          ? { indices: allocate([tokens, k], 'i32'), preactivations: allocate([tokens, k], 'f32') }
          : {};
      recordForward(
        stream,
        request,
        { ...inputs, output, ...lists },
        chunkOf(request, chunk),
        firstProductKind(request, facts),
      );
      return { output, ...lists };
    },
  };
}

/** Its gradients. */
export function fusedFeedForwardBackward<T extends View & BackendTensor>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate<T>,
): FusedOperation<FeedForwardRequest, FeedForwardBackwardInputs<T>, FeedForwardInputs<T>> {
  const chunkOf = (request: FeedForwardRequest, chunk: number): number =>
    backwardChunk(request, chunk, facts.bindingBytes);
  return {
    refuses: (request) => tooLarge(request, facts),
    scratchBytes: (request, chunk) => backwardScratch(request, chunkOf(request, chunk)).total,
    largestBytes: (request, chunk) => backwardScratch(request, chunkOf(request, chunk)).largest,
    run(request, inputs, chunk) {
      const like = (one: T): T => allocate(one.shape, one.dtype);
      const { x, wIn, bIn, wGate, wOut, bOut } = inputs;
      const gradients = {
        x: like(x),
        wIn: like(wIn),
        ...(bIn && { bIn: like(bIn) }),
        ...(wGate && { wGate: like(wGate) }),
        wOut: like(wOut),
        ...(bOut && { bOut: like(bOut) }),
      };
      recordBackward(stream, request, { ...inputs, gradients }, chunkOf(request, chunk));
      return gradients;
    },
  };
}

/** Weights and rows of hidden units are bound whole. */
function tooLarge(request: FeedForwardRequest, { bindingBytes }: DeviceFacts): string[] {
  const { inputDim, hidden, outputDim } = request;
  const widest = 4 * hidden * Math.max(inputDim, outputDim, 1);
  return widest <= bindingBytes
    ? []
    : [`weights of ${widest} bytes in f32 exceed a binding of ${bindingBytes} bytes`];
}
