import type { Selection } from './build/selected-units.js';
import type { RefusalCode } from './find/block.js';

/** What became of one attention block, or of one operator that stands for one. */
export interface BlockReport {
  /** The name of the softmax or operator in the file. */
  readonly name: string;
  /** The branch or body that it is in, where it is in one. */
  readonly place?: string;
  /** What the block is made of: plain nodes, or an operator by name. */
  readonly form: string;
  readonly result: 'exact' | 'top-k' | 'refused';
  /** Why it is left as it is, if it is. */
  readonly code?: RefusalCode;
  readonly reason?: string;
  /** Queries of one chunk, at the report's extents. */
  readonly chunk?: number;
  /** Bytes of the scores and the weights as the file has them, and of one chunk of them, at the report's extents in float32. */
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
  const at = Object.entries(extents).map(([name, extent]) => `${name} ${extent}`);
  const lines = [
    `${producer || 'unknown exporter'}, operator set ${opset}, attention ${how}${unrolled ? ', unrolled' : ''}`,
    `${rewritten} of ${blocks.length} attention blocks ${done}${at.length > 0 ? `; bytes at ${at.join(', ')}` : ''}`,
  ];
  for (const { name, place, form, result, code, reason, bytes } of blocks) {
    const size =
      bytes === undefined
        ? 'bytes not known: the model does not take these extents together'
        : `${mebibytes(bytes.before)} -> ${mebibytes(bytes.after)}`;
    lines.push(
      `  ${result.padEnd(8)}${placed(name, place)} (${form}): ${reason === undefined ? size : `${code}: ${reason}`}`,
    );
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

function placed(name: string, place: string | undefined): string {
  return place === undefined ? name : `${name} in ${place}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;
}
