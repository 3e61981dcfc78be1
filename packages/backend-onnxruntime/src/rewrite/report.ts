import type { Selection } from './build/selected-units.js';
import type { RefusalCode } from './find/block.js';
import type { MULTI_HEAD } from './graph/contrib.js';

/** ONNX Runtime's operator that a block is, or why it is standard ones. */
export type Contrib = { readonly operator: typeof MULTI_HEAD } | { readonly reason: string };

/** What became of one attention block, or of one operator that stands for one. */
export interface BlockReport {
  /** The name of the softmax or operator in the file. */
  readonly name: string;
  /** The branch or body that it is in, where it is in one. */
  readonly place?: string;
  /** What the block is made of: plain nodes, or an operator by name. */
  readonly form: string;
  readonly result: 'exact' | 'top-k' | 'refused';
  /** With the option `contrib`. */
  readonly contrib?: Contrib;
  /** Why it is left as it is, if it is. */
  readonly code?: RefusalCode;
  readonly reason?: string;
  /** Queries of one chunk, at the report's extents. */
  readonly chunk?: number;
  /**
   * Bytes of the scores and the weights as the file has them, and of one chunk of them, at the report's extents in float32. None
   * after where an operator of ONNX Runtime holds them, in parts that the processor's cache has room for.
   */
  readonly bytes?: { readonly before: number; readonly after: number };
}

/** A value of the rewritten file that still has an axis for the queries and one for the keys. */
export interface LongValue {
  readonly name: string;
  readonly operator: string;
  /** At the report's extents. */
  readonly dims: readonly number[];
}

/** What became of a feed-forward layer: it is computed in chunks, and with k only some of its units count. */
export interface FeedForwardReport {
  /** The product that it ends in. */
  readonly name: string;
  /** The branch or body that it is in, where it is in one. */
  readonly place?: string;
  readonly result: 'chunked' | 'top-k' | 'refused';
  /** Units: the width of its middle. */
  readonly hidden: number;
  readonly k?: number;
  readonly select?: Selection;
  /** Why it is left as it is, or why all units are kept although k of them were asked for. */
  readonly reason?: string;
}

/** What `rewriteModel` did. */
export interface RewriteReport {
  /** The exporter, as it names itself in the file. */
  readonly producer: string;
  readonly opset: number;
  readonly attention: 'exact' | { readonly k: number };
  /** What was asked for, if anything was. */
  readonly feedForward?: 'chunked' | { readonly k: number; readonly select?: Selection };
  readonly blocks: readonly BlockReport[];
  /** Whether chunks are copies of each other instead of turns of a loop. */
  readonly unrolled: boolean;
  /** Whether ONNX Runtime's own operator was asked for. */
  readonly contrib: boolean;
  readonly feedForwards: readonly FeedForwardReport[];
  /** Softmaxes that belong to no attention block. */
  readonly otherSoftmaxes: readonly string[];
  /** What grows with the square of the length after rewriting; empty when every block is rewritten and its masks too. */
  readonly left: readonly LongValue[];
  /** The extents that `bytes` and `left` are for, by the file's names. */
  readonly extents: { readonly [name: string]: number };
}

/**
 * The report as lines of text.
 *
 * @param done What is said of blocks that are not refused: `'can be rewritten'` where nothing was written.
 */
export function formatReport(
  {
    producer,
    opset,
    attention,
    unrolled,
    contrib: isContrib,
    blocks,
    left,
    extents,
    otherSoftmaxes,
    feedForward,
    feedForwards,
  }: RewriteReport,
  done: 'rewritten' | 'can be rewritten' = 'rewritten',
): string {
  const rewritten = blocks.filter(({ result }) => result !== 'refused').length;
  const how = attention === 'exact' ? 'exact' : `k = ${attention.k}`;
  const ways = [how, ...(unrolled ? ['unrolled'] : []), ...(isContrib ? ['contrib'] : [])].join(', ');
  const at = Object.entries(extents).map(([name, extent]) => `${name} ${extent}`);
  const lines = [
    `${producer || 'unknown exporter'}, operator set ${opset}, attention ${ways}`,
    `${rewritten} of ${blocks.length} attention blocks ${done}${at.length > 0 ? `; bytes at ${at.join(', ')}` : ''}`,
  ];
  for (const block of blocks) {
    const { name, place, form, result, code, reason } = block;
    const what = reason === undefined ? written(block) : `${code}: ${reason}`;
    lines.push(`  ${result.padEnd(8)}${placed(name, place)} (${form}): ${what}`);
  }
  for (const { name, place, result, hidden, k, select, reason } of feedForwards) {
    const kept =
      k === undefined
        ? ''
        : `: ${k} units kept, ${select === 'signed' ? 'the largest' : 'those furthest from zero'}`;
    const lead = result === 'refused' ? '' : 'all units kept: ';
    const why = reason === undefined ? '' : `: ${lead}${reason}`;
    lines.push(`  ${result.padEnd(8)}${placed(name, place)} (feed-forward, ${hidden} wide)${kept}${why}`);
  }
  if (feedForward !== undefined && feedForwards.length === 0)
    lines.push('  no feed-forward layers were found');
  if (otherSoftmaxes.length > 0) lines.push(`  no attention: ${otherSoftmaxes.join(', ')}`);
  for (const { name, operator, dims } of left)
    lines.push(`  left    ${operator} ${name} [${dims.join(', ')}]`);
  return `${lines.join('\n')}\n`;
}

/** What a block takes before and after, and in which operators where there was a choice. */
function written({ form, bytes, contrib }: BlockReport): string {
  if (contrib !== undefined && 'operator' in contrib) {
    if (form === contrib.operator) return 'as it was';
    return `${bytes === undefined ? '' : `${mebibytes(bytes.before)} -> `}${contrib.operator}`;
  }
  const size =
    bytes === undefined
      ? 'bytes not known: the model does not take these extents together'
      : `${mebibytes(bytes.before)} -> ${mebibytes(bytes.after)}`;
  return contrib === undefined ? size : `${size}; standard operators: ${contrib.reason}`;
}

function placed(name: string, place: string | undefined): string {
  return place === undefined ? name : `${name} in ${place}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;
}
