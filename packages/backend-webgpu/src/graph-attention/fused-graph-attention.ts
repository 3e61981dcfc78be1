import { bytesPerElement, type Shape } from '@topk-attention/core';
import {
  type AttentionRequest,
  type DType,
  type FusedOperation,
  type GraphAttentionBackwardInputs,
  type GraphAttentionGradients,
  type GraphAttentionInputs,
  type GraphAttentionOutputs,
  type GraphAttentionRequest,
  sizeOf,
} from '@topk-attention/core/backend';
import { fusedAttentionBackward } from '../attention/backward/fused-attention-backward.js';
import { DEFAULT_TUNING } from '../attention/backward/tuning.js';
import { recordNarrow } from '../attention/shared/narrow.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { buffersOf, MOST_ENTRIES, recordRows } from './rows.js';

/** Attention over a graph: one workgroup per query gathers the keys and values that it lists. */
export function fusedGraphAttention<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<GraphAttentionRequest, GraphAttentionInputs<T>, GraphAttentionOutputs<T>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const isHalf = request.dtype === 'f16';
      const outputSize = request.batch * request.queryHeads * request.queryLength * request.valueDim;
      return {
        preferredChunk: request.queryLength,
        scratchBytes: () => (isHalf ? 4 * outputSize : 0),
        describe: () => ({ variant: 'one workgroup per query' }),
        run(inputs) {
          const { batch, queryHeads, queryLength, valueDim, entries, dtype, saves } = request;
          const shape = [batch, queryHeads, queryLength];
          const output = allocate([...shape, valueDim], dtype);
          const lists = saves && {
            indices: allocate([...shape, entries], 'i32'),
            scores: allocate([...shape, entries], 'f32'),
          };
          const wide = isHalf ? stream.scratch(4 * outputSize) : undefined;
          recordRows(stream, request, inputs, { ...lists, result: wide ?? output.span });
          if (wide !== undefined) {
            recordNarrow(stream, wide, output, 0, outputSize);
            stream.release(wide);
          }
          return { output, ...lists };
        },
      };
    },
  };
}

/** Gradients from the saved lists, by the kernels of top-k attention: which keys a list holds makes no difference. */
export function fusedGraphBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<GraphAttentionRequest, GraphAttentionBackwardInputs<T>, GraphAttentionGradients<T>> {
  const ofLists = fusedAttentionBackward(stream, facts, allocate, DEFAULT_TUNING, 'entries');
  return {
    prepare(request, limits) {
      const prepared = ofLists.prepare(listRequest(request), limits);
      if ('refusals' in prepared) return prepared;
      const { run, ...rest } = prepared;
      return {
        ...rest,
        run({ graph: _graph, keyMask: _mask, keyLengths: _lengths, ...inputs }, chunk) {
          return run(inputs, chunk);
        },
      };
    },
  };
}

/** Attention that kept these lists: what hid other keys no longer matters. */
function listRequest(request: GraphAttentionRequest): AttentionRequest {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, scale } = request;
  return {
    ...{ batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, scale },
    ...{ k: request.entries, causal: false, keyLengths: false, saves: true },
    ...(request.bias && { bias: request.bias }),
  };
}

function refusalsOf(request: GraphAttentionRequest, facts: DeviceFacts): string[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype, entries } = request;
  const reasons: string[] = [];
  if (entries > MOST_ENTRIES) reasons.push(`${entries} entries per query exceed ${MOST_ENTRIES}`);
  const width = Math.max(headDim, valueDim);
  const rows = batch * queryHeads * queryLength;
  const largest = Math.max(
    bytesPerElement(dtype) * width * Math.max(rows, batch * keyHeads * keyLength),
    4 * rows * valueDim,
    4 * sizeOf(request.graph),
    request.bias === undefined ? 0 : 4 * sizeOf(request.bias),
    request.saves ? 4 * rows * entries : 0,
  );
  const buffers = buffersOf(request);
  if (buffers > facts.storageBuffers) {
    reasons.push(`${buffers} buffers exceed the ${facts.storageBuffers} that the device binds`);
  }
  if (largest > facts.bindingBytes) {
    reasons.push(`a tensor of ${largest} bytes exceeds a binding of ${facts.bindingBytes}`);
  }
  return reasons;
}
