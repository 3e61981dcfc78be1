import {
  type BackendTensor,
  chooseFeedForward,
  type DType,
  type FeedForwardBackwardInputs,
  type FeedForwardInputs,
  type FeedForwardOutputs,
  type FeedForwardRequest,
  type FusedOperation,
  mapRoles,
  type Shape,
} from '@topk-attention/core/backend';
import { NARROW_ROWS } from '../primitives/matmul-narrow.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordBackward } from './backward.js';
import { denseScratch } from './dense.js';
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
  return {
    prepare(asked, limits) {
      const refusals = [...tooLarge(asked, facts), ...tooFew(asked, facts)];
      if (refusals.length > 0) return { refusals };
      const request = chooseFeedForward(asked, limits);
      const kind = firstProductKind(request, facts);
      const chunkOf = (chunk: number): number => forwardChunk(request, chunk, facts.bindingBytes, kind);
      const scratchOf = (asked: number): Scratch => {
        const chunk = chunkOf(asked);
        const sumsBytes = request.k === 'all' && kind === 'plain' ? denseScratch(facts, request, chunk) : 0;
        return forwardScratch(request, chunk, kind, sumsBytes);
      };
      return {
        scratchBytes: (chunk) => scratchOf(chunk).total,
        largestBytes: (chunk) => scratchOf(chunk).largest,
        describe: () => ({ variant: `first product ${kind}, second ${request.second}` }),
        run(inputs, chunk) {
          const { tokens, outputDim, dtype, k, saves } = request;
          const output = allocate([tokens, outputDim], dtype);
          const lists =
            saves === true && k !== 'all'
              ? { indices: allocate([tokens, k], 'i32'), preactivations: allocate([tokens, k], 'f32') }
              : {};
          recordForward(stream, request, { ...inputs, output, ...lists }, chunkOf(chunk), kind);
          return { output, ...lists };
        },
      };
    },
  };
}

/** Its gradients. */
export function fusedFeedForwardBackward<T extends View & BackendTensor>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate<T>,
): FusedOperation<FeedForwardRequest, FeedForwardBackwardInputs<T>, FeedForwardInputs<T>> {
  return {
    prepare(asked, limits) {
      const refusals = tooLarge(asked, facts);
      if (refusals.length > 0) return { refusals };
      const request = chooseFeedForward(asked, limits);
      const chunkOf = (chunk: number): number => backwardChunk(request, chunk, facts.bindingBytes);
      const scratchOf = (chunk: number): Scratch => backwardScratch(request, chunkOf(chunk));
      return {
        scratchBytes: (chunk) => scratchOf(chunk).total,
        largestBytes: (chunk) => scratchOf(chunk).largest,
        describe: () => ({
          variant: request.second === 'gather' ? 'products of the kept units' : 'dense products',
        }),
        run({ indices, preactivations, dOutput, ...inputs }, chunk) {
          const gradients = mapRoles(inputs, (one: T) => allocate(one.shape, one.dtype));
          const lists = { indices, preactivations };
          recordBackward(stream, request, { ...inputs, ...lists, dOutput, gradients }, chunkOf(chunk));
          return gradients;
        },
      };
    },
  };
}

/** A tile of rows would be almost empty, as in decoding: the backend's products of few rows are faster. */
function tooFew({ tokens, k, saves }: FeedForwardRequest, { isSoftware }: DeviceFacts): string[] {
  const isFew = k === 'all' && saves !== true && tokens <= NARROW_ROWS && !isSoftware;
  return isFew ? [`${tokens} tokens leave a tile almost empty`] : [];
}

/** Weights and rows of hidden units are bound whole. */
function tooLarge(request: FeedForwardRequest, { bindingBytes }: DeviceFacts): string[] {
  const { inputDim, hidden, outputDim } = request;
  const widest = 4 * hidden * Math.max(inputDim, outputDim, 1);
  return widest <= bindingBytes
    ? []
    : [`weights of ${widest} bytes in f32 exceed a binding of ${bindingBytes} bytes`];
}
