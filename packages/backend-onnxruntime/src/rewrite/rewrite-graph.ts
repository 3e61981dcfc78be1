import type { GraphProto, NodeProto } from '../onnx/messages.js';
import { buildAttention, keptOf } from './build/build-attention.js';
import {
  buildFeedForward,
  buildShape,
  type FeedForwardOptions,
  type FeedForwardPlan,
  planFeedForward,
} from './build/build-feed-forward.js';
import { buildOperator } from './build/build-operator.js';
import { NodeWriter } from './build/node-writer.js';
import { ShapeWriter } from './build/shape-writer.js';
import { expand, isExpandable } from './expand/expand.js';
import { isPlainMultiHead } from './expand/multi-head.js';
import type { Length, Lengths } from './extents/lengths.js';
import { type AttentionBlock, nameOf, Refused } from './find/block.js';
import { findAttention } from './find/find-attention.js';
import { type FeedForwardBlock, findFeedForward } from './find/find-feed-forward.js';
import { fitOperator, type NoFit, type OperatorBlock } from './find/fit-operator.js';
import { isTakenApart } from './find/taken-apart.js';
import { operatorOf } from './graph/attributes.js';
import { MULTI_HEAD } from './graph/contrib.js';
import { GraphIndex } from './graph/graph-index.js';
import { mapGraphs } from './graph/live.js';
import type { Plan } from './options.js';
import type { Contrib } from './report.js';

/** A block that was found, or an operator that stands for one: rewritten, or refused. */
export interface Outcome {
  readonly name: string;
  /** The branch or body that it is in. */
  readonly place: string | undefined;
  readonly form: string;
  /** The operator, where it has been replaced with plain nodes. */
  readonly operator?: NodeProto;
  readonly block?: AttentionBlock;
  /** Where ONNX Runtime's own operator is asked for: that it is, or why not. */
  readonly contrib?: Contrib;
  readonly refused?: Refused;
}

/** A feed-forward layer that was found, and what becomes of it. */
export interface FoundFeedForward extends FeedForwardPlan {
  readonly block: FeedForwardBlock;
  readonly place: string | undefined;
  /** Left as it is: there would be no number of copies, or too many. */
  readonly isRefused: boolean;
}

/** ONNX Runtime's operators for whole blocks; of these, the ones that can be expanded have been. */
const FUSED =
  /^com\.microsoft\.(Attention|MultiHeadAttention|GroupQueryAttention|DecoderAttention|DecoderMasked\w+|LongformerAttention|Packed\w*Attention|PagedAttention|QAttention|QOrderedAttention|QOrderedLongformerAttention|RelativePositionBias|SparseAttention)$/;

/** Where the nodes of an inner graph are: those of two branches have the same names. */
function placeOf(node: NodeProto, attribute: string): string {
  return `${attribute} of ${nameOf(node)}`;
}

/** Replaces operators for whole blocks with plain nodes, in a graph and the graphs in it. */
export class Expansion {
  readonly outcomes: Outcome[] = [];
  /** The replaced operators, by the softmax of each. */
  readonly softmaxes: Map<string, NodeProto> = new Map();
  readonly #lengths: Lengths;
  readonly #opset: number;
  readonly #prefix: string;
  readonly #refused: ReadonlySet<NodeProto>;
  readonly #keepsPlain: boolean;
  #count = 0;

  /**
   * @param refused Operators that are left as they are.
   * @param keepsPlain Whether operators are left that blocks are to become.
   */
  constructor(
    lengths: Lengths,
    opset: number,
    prefix: string,
    refused: ReadonlySet<NodeProto>,
    keepsPlain: boolean,
  ) {
    this.#lengths = lengths;
    this.#opset = opset;
    this.#prefix = prefix;
    this.#refused = refused;
    this.#keepsPlain = keepsPlain;
  }

  graph(graph: GraphProto, outer?: GraphIndex, place?: string): GraphProto {
    const index = new GraphIndex(graph, outer, place);
    let hasChanged = false;
    const node = graph.node.flatMap((one) => {
      const made = this.#node(one, index);
      if (made.length !== 1 || made[0] !== one) hasChanged = true;
      return made;
    });
    return hasChanged ? { ...graph, node } : graph;
  }

  #within(node: NodeProto, index: GraphIndex): NodeProto {
    return mapGraphs(node, (inner, attribute) => this.graph(inner, index, placeOf(node, attribute)));
  }

  #node(node: NodeProto, index: GraphIndex): readonly NodeProto[] {
    if (!isExpandable(node)) return [this.#within(node, index)];
    if (this.#refused.has(node)) return [node];
    if (this.#keepsPlain && isPlainMultiHead(node, index, this.#lengths)) {
      const named = { name: nameOf(node), place: index.place, form: operatorOf(node) };
      this.outcomes.push({ ...named, contrib: { operator: MULTI_HEAD } });
      return [node];
    }
    try {
      const prefix = `${this.#prefix}a${this.#count++}/`;
      const made = expand(node, index, this.#lengths, this.#opset, prefix);
      const softmax = made.find(({ opType }) => opType === 'Softmax');
      this.softmaxes.set(softmax?.output[0] as string, node);
      return made;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.outcomes.push({ name: nameOf(node), place: index.place, form: operatorOf(node), refused: error });
      return [node];
    }
  }
}

/** Rewrites the attention blocks of a graph and of the graphs in it. Dead nodes stay. */
export class Rewriting {
  readonly outcomes: Outcome[] = [];
  readonly otherSoftmaxes: string[] = [];
  readonly feedForwards: FoundFeedForward[] = [];
  readonly #lengths: Lengths;
  readonly #opset: number;
  readonly #plan: Plan;
  readonly #prefix: string;
  readonly #expanded: ReadonlyMap<string, NodeProto>;
  #count = 0;

  /** @param expanded Operators that were replaced, by the output of their softmax. */
  constructor(
    lengths: Lengths,
    opset: number,
    plan: Plan,
    prefix: string,
    expanded: ReadonlyMap<string, NodeProto>,
  ) {
    this.#lengths = lengths;
    this.#opset = opset;
    this.#plan = plan;
    this.#prefix = prefix;
    this.#expanded = expanded;
  }

  graph(graph: GraphProto, outer?: GraphIndex, place?: string): GraphProto {
    const index = new GraphIndex(graph, outer, place);
    const replaced = new Map<NodeProto, readonly NodeProto[]>();
    for (const node of graph.node) {
      const operator = operatorOf(node);
      if (FUSED.test(operator) && !isExpandable(node)) {
        const refused = new Refused(
          'fused-operator',
          `${operator} is not rewritten; rewrite the file from before it was fused`,
        );
        this.outcomes.push({ name: nameOf(node), place: index.place, form: operator, refused });
      } else if (operator === 'Softmax') this.#softmax(node, index, replaced);
      else if (isTakenApart(node, index)) {
        const refused = new Refused(
          'taken-apart',
          'its softmax is exponentials over their sum; rewrite the file from before it was optimised',
        );
        this.outcomes.push({ name: nameOf(node), place: index.place, form: 'Exp, ReduceSum, Div', refused });
      } else {
        const mapped = mapGraphs(node, (inner, attribute) =>
          this.graph(inner, index, placeOf(node, attribute)),
        );
        if (mapped !== node) replaced.set(node, [mapped]);
      }
    }
    const { feedForward } = this.#plan;
    if (feedForward !== undefined) {
      for (const node of graph.node) this.#feedForward(node, index, feedForward, replaced);
    }
    if (replaced.size === 0) return graph;
    const long = this.outcomes.flatMap(({ block }) =>
      block?.index === index ? [block.queryLength, block.keyLength] : [],
    );
    for (const node of graph.node) {
      if (node.opType === 'Shape' && !replaced.has(node)) this.#shape(node, index, long, replaced);
    }
    return { ...graph, node: graph.node.flatMap((node) => replaced.get(node) ?? [node]) };
  }

  #softmax(node: NodeProto, index: GraphIndex, replaced: Map<NodeProto, readonly NodeProto[]>): void {
    const operator = this.#expanded.get(node.output[0] as string);
    const outcome =
      operator === undefined
        ? { name: nameOf(node), place: index.place, form: 'MatMul, Softmax, MatMul' }
        : { name: nameOf(operator), place: index.place, form: operatorOf(operator), operator };
    try {
      const block = findAttention(index, node, this.#lengths, this.#opset);
      if (block === undefined) {
        this.otherSoftmaxes.push(nameOf(node));
        return;
      }
      const k = keptOf(block, this.#plan.attention);
      if (k !== undefined && block.whyNotSelected !== undefined) throw block.whyNotSelected;
      const prefix = `${this.#prefix}${this.#count++}/`;
      const fit = this.#plan.isContrib ? this.#fit(block, k, operator) : undefined;
      const isOperator = fit !== undefined && 'scale' in fit;
      const made = isOperator
        ? buildOperator(block, fit, this.#opset, prefix)
        : buildAttention(block, this.#lengths, this.#opset, this.#plan.attention, prefix);
      const long = [block.queryLength, block.keyLength];
      for (const shape of block.shapes) {
        if (this.#shape(shape, index, long, replaced)) continue;
        throw new Refused(
          'scores-used',
          `Shape ${nameOf(shape)} asks for scores whose shape cannot be followed`,
        );
      }
      replaced.set(block.product, made);
      const contrib: Contrib | undefined = isOperator ? { operator: MULTI_HEAD } : fit;
      this.outcomes.push({ ...outcome, block, ...(contrib && { contrib }) });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.outcomes.push({ ...outcome, refused: error });
    }
  }

  #fit(block: AttentionBlock, k: number | undefined, operator?: NodeProto): OperatorBlock | NoFit {
    return k === undefined
      ? fitOperator(block, this.#lengths, operator)
      : { reason: `it keeps ${k} keys of each query, which the operator cannot` };
  }

  #feedForward(
    node: NodeProto,
    index: GraphIndex,
    options: FeedForwardOptions,
    replaced: Map<NodeProto, readonly NodeProto[]>,
  ): void {
    const block = replaced.has(node) ? undefined : findFeedForward(index, node, this.#lengths);
    if (block === undefined) return;
    const prefix = `${this.#prefix}f${this.#count++}/`;
    const plan = planFeedForward(block, this.#lengths, options);
    const made = buildFeedForward(block, plan, this.#lengths, this.#opset, options, prefix);
    const found = { block, place: index.place, ...plan };
    if (made === undefined) {
      this.feedForwards.push({ ...found, isRefused: true });
      return;
    }
    replaced.set(node, made);
    for (const shape of block.shapes) {
      const named = `${this.#prefix}s${this.#count++}/`;
      replaced.set(shape, buildShape(block, shape, this.#lengths, this.#opset, named));
    }
    this.feedForwards.push({ ...found, isRefused: false });
  }

  /** Replaces a node that asks for the shape of a value with two long axes, so that the value need not be made. */
  #shape(
    node: NodeProto,
    index: GraphIndex,
    long: readonly Length[],
    replaced: Map<NodeProto, readonly NodeProto[]>,
  ): boolean {
    const writer = new NodeWriter(this.#opset, `${this.#prefix}s${this.#count++}/`);
    const shapes = new ShapeWriter(index, this.#lengths, writer, long);
    if (!shapes.isLong(node.input[0] as string) || !shapes.replace(node)) return false;
    replaced.set(node, writer.nodes);
    return true;
  }
}
