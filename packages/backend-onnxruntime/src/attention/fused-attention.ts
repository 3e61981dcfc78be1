import {
  type AttentionInputs,
  type AttentionOutputs,
  type AttentionRequest,
  type ChosenAttention,
  chooseAttention,
  describeSelection,
  entriesOf,
  type FusedOperation,
} from '@topk-attention/core/backend';
import { blockSizeOf } from '../emit/attention/variant.js';
import type { Graph } from '../graph/graph.js';
import type { OnnxNode } from '../graph/node.js';
import { Magnitudes } from '../runtime/inspect.js';
import type { OrtTensor } from '../runtime/ort.js';
import type { Sessions } from '../runtime/sessions.js';
import { largestBytes, scratchBytes } from './bytes.js';
import { RelativeWindows } from './relative-window.js';
import { type AttentionRuntime, runAttention } from './run-chunks.js';

const INT32_LIMIT = 2 ** 31;
const LARGEST_WINDOW_BYTES = 2 ** 27;

/** Attention as one node of the lazy graph, run as a loop over query chunks with one `session.run` each. */
export function fusedAttention(
  graph: Graph,
  sessions: Sessions,
): FusedOperation<AttentionRequest, AttentionInputs<OnnxNode>, AttentionOutputs<OnnxNode>> {
  const runtime: AttentionRuntime = {
    ort: graph.ort,
    sessions,
    magnitudes: new Magnitudes(),
    windows: new RelativeWindows(graph.ort),
    largestWindowBytes: LARGEST_WINDOW_BYTES,
    isBorrowed: (tensor) => graph.isBorrowed(tensor),
  };
  return {
    prepare(asked, limits) {
      const refusals = refuses(asked);
      if (refusals.length > 0) return { refusals };
      const request = chooseAttention(asked, limits);
      return {
        scratchBytes: (chunk) => scratchBytes(request, chunk),
        largestBytes: (chunk) => largestBytes(request, chunk),
        describe: () => ({ variant: 'one graph per query chunk', selection: describeBlocks(request) }),
        run: (inputs, chunk) => attach(request, inputs, chunk),
      };
    },
  };

  /** The call as a node of the graph, which runs when a result is asked for. */
  function attach(
    request: ChosenAttention,
    inputs: AttentionInputs<OnnxNode>,
    chunk: number,
  ): AttentionOutputs<OnnxNode> {
    const { batch, queryHeads, queryLength, valueDim, k } = request;
    const present = entriesOf<OnnxNode>(inputs);
    const lists = [batch, queryHeads, queryLength, k === 'all' ? 0 : k];
    const execute = (values: readonly OrtTensor[]): Promise<readonly OrtTensor[]> => {
      const feeds = new Map(
        present.map(([role], index) => [feedName(role), values[index] as OrtTensor] as const),
      );
      return runAttention(runtime, request, feeds, chunk);
    };
    const [output, indices, scores] = graph.attach(
      { inputs: present.map(([, node]) => node), outputs: [], execute },
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
  }
}

/** The graphs' own name for a role. */
function feedName(role: string): string {
  return role === 'relativeTable' ? 'table' : role;
}

function describeBlocks(request: ChosenAttention): string {
  if (request.k === 'all') return 'all keys';
  const blockSize = blockSizeOf({ request });
  return describeSelection(blockSize === undefined ? { levels: 1 } : { levels: 2, blockSize });
}

function refuses(request: AttentionRequest): readonly string[] {
  const { batch, keyHeads, keyLength, dtype, k, dropout } = request;
  return [
    ...(dtype === 'f32' ? [] : [`dtype ${dtype}: the graph computes in f32`]),
    ...(k === 'all' && dropout !== undefined
      ? ['dropout over all keys: its factors would be a score matrix made outside the session']
      : []),
    ...(request.sigmoidShift === undefined ? [] : ['its weights are softmax, not sigmoids']),
    ...(batch * keyHeads * keyLength < INT32_LIMIT ? [] : ['more than 2^31 key rows: row numbers are i32']),
  ];
}
