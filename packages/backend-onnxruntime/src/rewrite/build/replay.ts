import type { NodeProto } from '../../onnx/messages.js';
import type { AttentionBlock } from '../find/block.js';
import type { NodeWriter } from './node-writer.js';
import type { RowSlicer, Rows } from './row-slicer.js';

/** Repeats the nodes of a block on the rows of a chunk. */
export class Replay {
  readonly #block: AttentionBlock;
  readonly #slicer: RowSlicer;
  readonly #rows: Rows;

  constructor(block: AttentionBlock, slicer: RowSlicer, rows: Rows) {
    this.#block = block;
    this.#slicer = slicer;
    this.#rows = rows;
  }

  /**
   * The scores as the softmax takes them: [..., rows, keys]. Scales of queries and keys are repeated too: ONNX Runtime folds
   * them into the product, as it does in the original, but not across the border of a loop.
   */
  scores(writer: NodeWriter): string {
    const { index, scores, above } = this.#block;
    const [queries, keys, ...rest] = scores.input as [string, string, ...string[]];
    const [queryScale, keyScale] = this.#block.scales;
    const rowsOf = (name: string): string =>
      index.isConstant(name) ? name : this.#slicer.cut(name, 1, this.#rows);
    const product = writer.again(scores, [
      queryScale === undefined ? rowsOf(queries) : writer.again(queryScale, queryScale.input.map(rowsOf)),
      keyScale === undefined ? keys : writer.again(keyScale, keyScale.input),
      ...rest,
    ]);
    return this.#repeat(writer, above, new Map([[scores.output[0] as string, product]]));
  }

  /** What becomes of the softmax's output until the product with the values. */
  weights(writer: NodeWriter, softmax: string): string {
    return this.#repeat(
      writer,
      this.#block.below,
      new Map([[this.#block.softmax.output[0] as string, softmax]]),
    );
  }

  /** @param made The chunk's values by the names of the whole ones; the last made is returned. */
  #repeat(writer: NodeWriter, nodes: readonly NodeProto[], made: Map<string, string>): string {
    for (const node of nodes) {
      const [first = '', ...others] = node.input;
      const inputs =
        node.opType === 'Reshape'
          ? [made.get(first) ?? first, this.#slicer.shapeOfRows(others[0] as string, this.#rows)]
          : node.input.map((input) => made.get(input) ?? this.#slicer.cut(input, 1, this.#rows));
      made.set(node.output[0] as string, writer.again(node, inputs));
    }
    return [...made.values()].at(-1) as string;
  }
}
