import type {
  AttentionInputs,
  AttentionOutputs,
  AttentionRequest,
  FusedOperation,
} from '@topk-attention/core';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import { RangeChecks } from '../runtime/inspect.js';
import type { OrtTensor } from '../runtime/ort.js';
import type { Sessions } from '../runtime/sessions.js';
import { runAttention } from './run-chunks.js';

const INT32_LIMIT = 2 ** 31;

/** Attention as one node of the lazy graph, run as a loop over query chunks with one `session.run` each. */
export function fusedAttention(
  graph: Graph,
  sessions: Sessions,
): FusedOperation<AttentionRequest, AttentionInputs<OnnxNode>, AttentionOutputs<OnnxNode>> {
  const checks = new RangeChecks();
  return {
    refuses,
    scratchBytes,
    largestBytes,
    run: (request, inputs, chunk) => {
      const { batch, queryHeads, queryLength, valueDim, k } = request;
      const present = Object.entries({
        q: inputs.q,
        k: inputs.k,
        v: inputs.v,
        mask: inputs.mask,
        keyLengths: inputs.keyLengths,
        bias: inputs.bias,
        table: inputs.relativeTable,
      }).flatMap(([role, node]) => (node === undefined ? [] : [{ role, node }]));
      const lists = [batch, queryHeads, queryLength, k === 'all' ? 0 : k];
      const execute = (values: readonly OrtTensor[]): Promise<readonly OrtTensor[]> => {
        const feeds = new Map(present.map(({ role }, index) => [role, values[index] as OrtTensor]));
        return runAttention(graph.ort, sessions, checks, request, feeds, chunk, (one) =>
          graph.isBorrowed(one),
        );
      };
      const [output, indices, scores] = graph.attach(
        { inputs: present.map(({ node }) => node), outputs: [], execute },
        [
          { shape: [batch, queryHeads, queryLength, valueDim], dtype: 'f32' },
          ...(request.saves && k !== 'all'
            ? ([
                { shape: lists, dtype: 'i32' },
                { shape: lists, dtype: 'f32' },
              ] as const)
            : []),
        ],
      );
      return { output: output as OnnxNode, ...(indices && { indices }), ...(scores && { scores }) };
    },
  };
}

function refuses(request: AttentionRequest): readonly string[] {
  const { batch, keyHeads, keyLength, dtype, k, dropout } = request;
  return [
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: the graph computes in f32`]),
    ...(k === 'all' && dropout !== undefined
      ? ['dropout over all keys: its factors would be a score matrix made outside of the session']
      : []),
    ...(batch * keyHeads * keyLength < INT32_LIMIT ? [] : ['more than 2^31 key rows: row numbers are i32']),
  ];
}

/**
 * Transient bytes of a chunk. From the second run on the engine's arena holds the largest value of a graph, the scores,
 * twice (measured: 201 MiB resident for 96 MiB of scores); softmax and masks reuse those places. Beside them: either the
 * candidates of the chosen blocks or the gathered value rows, and the keys, transposed once for all chunks.
 */
export function scratchBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyHeads, keyLength, headDim, valueDim, k, selection } = request;
  const rows = batch * queryHeads * chunk;
  const scores = rows * keyLength * 4;
  const columns = batch * keyHeads * keyLength * headDim * 4;
  const bias = request.relativeBias === undefined ? 0 : 3 * queryHeads * chunk * (keyLength + chunk) * 4;
  const fixed = columns + bias + 2 * scores + rows * (valueDim + headDim) * 4;
  if (k === 'all') return fixed;
  const candidates = selection.levels === 1 ? 0 : rows * k * selection.blockSize * 4;
  const kept = rows * k * (valueDim * 4 + 16);
  return fixed + Math.max(candidates, kept);
}

/** The scores, or the gathered value rows. */
function largestBytes(request: AttentionRequest, chunk: number): number {
  const { batch, queryHeads, keyLength, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  return 4 * rows * Math.max(keyLength, k === 'all' ? 0 : k * valueDim);
}
