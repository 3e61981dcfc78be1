import type { NodeProto } from '../../onnx/messages.js';
import type { Length } from '../extents/lengths.js';
import type { GraphIndex } from '../graph/graph-index.js';

/** An attention block: softmax(steps(Q Kt)) V, made of the nodes of the file. */
export interface AttentionBlock {
  readonly index: GraphIndex;
  readonly softmax: NodeProto;
  /** Q Kt: the product of the block's first two operands. */
  readonly scores: NodeProto;
  /** What multiplies the queries and the keys with a number of the file right before their product; undefined without one. */
  readonly scales: readonly [NodeProto | undefined, NodeProto | undefined];
  /** Nodes between the product and the softmax, in order. */
  readonly above: readonly NodeProto[];
  /** Nodes between the softmax and the second product, in order. */
  readonly below: readonly NodeProto[];
  /** P V. */
  readonly product: NodeProto;
  /** Nodes that ask for the shape of a value that the rewritten file no longer has. */
  readonly shapes: readonly NodeProto[];
  readonly queryLength: Length;
  readonly keyLength: Length;
  /** Axes of what the softmax takes. */
  readonly weightRank: number;
  /** Element type of what the softmax takes. */
  readonly scoreType: number;
  /** Axes of the value product. */
  readonly valueRank: number;
  /** Why the block cannot keep k keys of each query; undefined if it can. */
  readonly whyNotSelected: Refused | undefined;
  /** Element type of the output. */
  readonly type: number;
}

/** Why a block is left as it is: stable codes, for reports. */
export type RefusalCode =
  | 'fused-operator'
  | 'quantized'
  | 'unknown-extents'
  | 'unknown-operator'
  | 'weights-used'
  | 'scores-used'
  | 'ambiguous'
  | 'training'
  | 'softmax-axis'
  | 'taken-apart'
  | 'shared-values'
  | 'element-type'
  | 'unrolled';

/** Thrown inside of the finder and the builder; the report shows it. */
export class Refused extends Error {
  readonly code: RefusalCode;

  constructor(code: RefusalCode, reason: string) {
    super(reason);
    this.code = code;
  }
}

/** How a node is called in reports: the name in the file, or that of its first output. */
export function nameOf(node: NodeProto): string {
  return node.name || node.output[0] || '';
}
