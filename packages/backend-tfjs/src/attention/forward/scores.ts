import type { Shape } from '@topk-attention/core';
import { groupSize, queryStartOf, scalesExactly } from '@topk-attention/core/backend';
import { where } from '../../ops/elementwise.js';
import { slice } from '../../ops/layout.js';
import { matmul } from '../../ops/matmul.js';
import type { TfTensor } from '../../tf.js';
import type { QueryTile } from '../tiles.js';
import { type ForwardPass, queryHeadsOf, rowsOf, visibleKeys } from './pass.js';
import { type RelativeWindow, relativeWindow } from './relative-window.js';

/** Shared by the tiles of one group of heads. */
export interface HeadGroup {
  /** [pairs, Lk, D] */
  readonly keys: TfTensor;
  readonly window?: RelativeWindow;
}

export type HeadTile = Pick<QueryTile, 'batch' | 'batches' | 'head' | 'heads'>;

/** Where `causal` and `keyLengths` hide keys: in the scores, or in the caller, which reads fewer of them. */
export type Hiding = 'in scores' | 'by caller';

/** Keys of some heads as one tensor, and their window of relative biases. `queries` is the size of the tiles. */
export function headGroup(pass: ForwardPass, tile: HeadTile, queries: number): HeadGroup {
  const { engine, request, inputs } = pass;
  const group = groupSize(request);
  const window =
    inputs.relativeTable &&
    relativeWindow(engine, request, inputs.relativeTable, {
      firstHead: tile.head * group,
      heads: tile.heads * group,
      queries,
    });
  return { keys: rowsOfHeads(pass, inputs.k, tile), ...(window && { window }) };
}

/** x [B, Hkv, Lk, width] -> [pairs, Lk, width] of the heads of a tile. */
export function rowsOfHeads({ engine }: ForwardPass, x: TfTensor, tile: HeadTile): TfTensor {
  const { tf } = engine;
  const [, heads = 0, length = 0, width = 0] = x.shape;
  const { batch, batches, head } = tile;
  const pairs = batches * tile.heads;
  return tf.tidy(() => {
    const isWhole = tile.heads === heads && batches === x.shape[0];
    const own = isWhole ? x : slice(engine, x, [batch, head, 0, 0], [batches, tile.heads, length, width]);
    return tf.reshape(own, [pairs, length, width]);
  });
}

/** The scale still to be applied to kept scores; 1 where scores are scaled before the choice. */
export function scaleOfKept({ request }: ForwardPass): number {
  const { scale, k } = request;
  const hasBias = request.bias !== undefined || request.relativeBias !== undefined;
  // Scaled scores have the same order, and only k of them are left to scale.
  return k !== 'all' && scale > 0 && !hasBias && !scalesExactly(scale) ? scale : 1;
}

/**
 * Scores of a tile, [rows, visible keys]: scale q.k + biases, without `scaleOfKept`; -inf where the key is not valid
 * (but see `Hiding`).
 */
export function tileScores(
  pass: ForwardPass,
  { keys, window }: HeadGroup,
  tile: QueryTile,
  hiding: Hiding,
): TfTensor {
  const { engine, request, inputs } = pass;
  const { tf } = engine;
  const { headDim, scale } = request;
  const visible = visibleKeys(request, tile);
  const heads = queryHeadsOf(request, tile);
  const pairs = tile.batches * tile.heads;
  const shape: [number, number, number, number] = [tile.batches, heads, tile.queries, visible];
  const firstHead = tile.head * groupSize(request);
  return tf.tidy(() => {
    let scores: TfTensor = tf.tidy(() => {
      const own = slice(
        engine,
        inputs.q,
        [tile.batch, firstHead, tile.query, 0],
        [tile.batches, heads, tile.queries, headDim],
      );
      const scaled = scale !== 1 && scalesExactly(scale) ? tf.mul(own, scale) : own;
      const queries: TfTensor = tf.reshape(scaled, [pairs, -1, headDim]);
      const seen =
        visible === request.keyLength ? keys : slice(engine, keys, [0, 0, 0], [pairs, visible, headDim]);
      return tf.reshape(matmul(engine, queries, seen, false, true), shape);
    });
    const step = (next: (scores: TfTensor) => TfTensor): void => {
      const before = scores;
      scores = tf.tidy(() => next(before));
      before.dispose();
    };
    if (!scalesExactly(scale) && scaleOfKept(pass) === 1) step((own) => tf.mul(own, scale));
    if (inputs.bias !== undefined) {
      const bias = partOf(pass, inputs.bias, tile, visible);
      step((own) => tf.add(own, bias));
      bias.dispose();
    }
    if (window !== undefined) {
      step((own) => {
        const biases = window(tile, visible);
        return tf.add(own, tf.reshape(biases, [1, heads, tile.queries, visible]));
      });
    }
    const valid = validKeys(pass, tile, visible, hiding);
    if (valid !== undefined && pass.isOrdinary) {
      const hidden = tf.tidy(() =>
        tf.where(valid, tf.zeros(valid.shape), tf.fill(valid.shape, Number.NEGATIVE_INFINITY)),
      );
      step((own) => tf.add(own, hidden));
    } else if (valid !== undefined) {
      step((own) => where(engine, valid, own, tf.scalar(Number.NEGATIVE_INFINITY)));
    }
    return tf.reshape(scores, [rowsOf(request, tile), visible]);
  });
}

/** bool, broadcastable to [batches, heads, queries, visible], or undefined where every key is valid. */
function validKeys(
  pass: ForwardPass,
  tile: QueryTile,
  visible: number,
  hiding: Hiding,
): TfTensor | undefined {
  const { request, inputs } = pass;
  const { tf } = pass.engine;
  const conditions: (() => TfTensor)[] = [];
  const positions = (): TfTensor => tf.reshape(tf.range(0, visible, 1, 'int32'), [1, 1, 1, visible]);
  const { keyLengths, mask } = inputs;
  if (hiding === 'in scores' && keyLengths !== undefined) {
    conditions.push(() => {
      const lengths = tf.slice(keyLengths, [tile.batch], [tile.batches]);
      return tf.less(positions(), tf.reshape(lengths, [tile.batches, 1, 1, 1]));
    });
  }
  if (hiding === 'in scores' && request.causal) {
    conditions.push(() => {
      // Beyond the last key nothing changes, and the clamped sum fits an int32.
      const first = Math.min(tile.query + queryStartOf(request), request.keyLength);
      const last = tf.range(first, first + tile.queries, 1, 'int32');
      return tf.lessEqual(positions(), tf.reshape(last, [1, 1, tile.queries, 1]));
    });
  }
  if (mask !== undefined) {
    conditions.push(() => partOf(pass, mask, tile, visible));
  }
  if (conditions.length === 0) return undefined;
  return tf.tidy(() => conditions.map((make) => make()).reduce((a, b) => tf.logicalAnd(a, b)));
}

/** The part of a mask or bias, each dim 1 or full, that belongs to a tile. A new tensor. */
function partOf(
  { engine, request }: Pick<ForwardPass, 'engine' | 'request'>,
  x: TfTensor,
  tile: QueryTile,
  visible: number,
): TfTensor {
  const starts = [tile.batch, tile.head * groupSize(request), tile.query, 0];
  const sizes: Shape = [tile.batches, queryHeadsOf(request, tile), tile.queries, visible];
  return slice(
    engine,
    x,
    starts.map((start, axis) => (x.shape[axis] === 1 ? 0 : start)),
    sizes.map((size, axis) => (x.shape[axis] === 1 ? 1 : size)),
  );
}
