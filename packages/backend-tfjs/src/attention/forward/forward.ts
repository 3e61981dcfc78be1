import {
  type AttentionInputs,
  type AttentionOutputs,
  type AttentionRequest,
  groupSize,
  mayMaskKeys,
  queryStartOf,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import { inScope } from '../../ops/in-scope.js';
import { type TensorFlowOps, tensorFlowOps } from '../../ops/tensorflow-ops.js';
import type { TfTensor } from '../../tf.js';
import { dropoutFactors } from '../dropout.js';
import { productOfKept, scaleKept, weightsOf } from '../selection/kept-product.js';
import type { KeptRows } from '../selection/kept-rows.js';
import { selectByScript } from '../selection/select-script.js';
import { selectByTensorFlow } from '../selection/select-tensorflow.js';
import { partsOf, type QueryTile, tileSizes } from '../tiles.js';
import { exactRows } from './exact-rows.js';
import { areOrdinary } from './ordinary.js';
import { eachRun, type ForwardPass, queryHeadsOf, rowsOf, visibleKeys } from './pass.js';
import { blockSizeOf } from './plan.js';
import { type HeadGroup, headGroup, rowsOfHeads, scaleOfKept, tileScores } from './scores.js';

/** Results of a tile: [rows, Dv] and, for top-k, its lists. */
interface TileRows {
  readonly output: Float32Array;
  readonly kept?: KeptRows;
}

/**
 * Attention over the k largest scores of each query, or over all keys, in tiles of queries: only one tile's scores
 * exist at a time (paper section 1.2). For engines that can be read synchronously: loops over typed arrays make the
 * final choice among keys and assemble the result.
 *
 * A tile fills with queries of one head before it takes other heads: the engine then packs the keys of a head for more
 * queries.
 */
export function attentionForward(
  engine: Engine,
  request: AttentionRequest,
  inputs: AttentionInputs<TfTensor>,
  chunk: number,
): AttentionOutputs<TfTensor> {
  const { tf } = engine;
  const { batch, queryHeads, keyHeads, queryLength, valueDim, k } = request;
  const sizes = tileSizes(request, batch * queryHeads * chunk);
  const pass: ForwardPass = { engine, request, inputs, isOrdinary: areOrdinary(tf, request, inputs) };
  const rows = batch * queryHeads * queryLength;
  const output = new Float32Array(rows * valueDim);
  const hasLists = k !== 'all' && request.saves;
  const keys = new Int32Array(hasLists ? rows * k : 0);
  const scores = new Float32Array(hasLists ? rows * k : 0);
  const tileRows = k === 'all' ? exactTiles(pass) : topKTiles(pass, k);
  for (const { start: first, size: batches } of partsOf(batch, sizes.batches)) {
    for (const { start: head, size: heads } of partsOf(keyHeads, sizes.heads)) {
      inScope(tf, () => {
        const ofHeads = { batch: first, batches, head, heads };
        const group = headGroup(pass, ofHeads, sizes.queries);
        const run = tileRows(group, rowsOfHeads(pass, inputs.v, ofHeads));
        for (const { start: query, size: queries } of partsOf(queryLength, sizes.queries)) {
          const tile: QueryTile = { ...ofHeads, query, queries };
          const made = inScope(tf, () => run(tile));
          eachRun(request, tile, (from, to, count) => {
            output.set(made.output.subarray(from * valueDim, (from + count) * valueDim), to * valueDim);
            if (!hasLists || made.kept === undefined) return;
            keys.set(made.kept.keys.subarray(from * k, (from + count) * k), to * k);
            scores.set(made.kept.scores.subarray(from * k, (from + count) * k), to * k);
          });
        }
      });
    }
  }
  const shape: [number, number, number] = [batch, queryHeads, queryLength];
  return {
    output: tf.tensor(output, [...shape, valueDim], 'float32'),
    ...(hasLists && {
      indices: tf.tensor(keys, [...shape, k], 'int32'),
      scores: tf.tensor(scores, [...shape, k], 'float32'),
    }),
  };
}

/** Takes some heads' keys and values [pairs, Lk, Dv] and returns a function that computes each of their tiles. */
type TilesOfHeads = (group: HeadGroup, values: TfTensor) => (tile: QueryTile) => TileRows;

function exactTiles(pass: ForwardPass): TilesOfHeads {
  return (group, values) => {
    const rows = exactRows(pass, values);
    return (tile) => ({ output: rows(tileScores(pass, group, tile, 'in scores')) });
  };
}

function topKTiles(pass: ForwardPass, k: number): TilesOfHeads {
  const ops = tensorFlowOps(pass.engine);
  const choose =
    ops !== undefined && pass.isOrdinary ? chosenByTensorFlow(pass, ops, k) : chosenByScript(pass, k);
  // Shared by both choices: values of keys not kept affect which one runs, but must not change a bit.
  const rowsOfKept = ops === undefined ? rowsByScript(pass, k) : rowsByTensorFlow(pass, k);
  return (group, values) => {
    const rows = rowsOfKept(values);
    return (tile) => {
      const kept = choose(group, tile);
      scaleKept(kept, scaleOfKept(pass));
      return { output: rows(kept, tile), kept };
    };
  };
}

/** The kept keys of a tile. */
type Choice = (group: HeadGroup, tile: QueryTile) => KeptRows;

/** Takes some heads' values [pairs, Lk, Dv] and returns a function that computes the rows [rows, Dv] of a tile. */
type RowsOfKept = (values: TfTensor) => (kept: KeptRows, tile: QueryTile) => Float32Array;

function chosenByScript(pass: ForwardPass, k: number): Choice {
  const { engine, request, inputs } = pass;
  const lengths = inputs.keyLengths?.dataSync<'int32'>();
  return (group, tile) =>
    inScope(engine.tf, () =>
      selectByScript(
        tileScores(pass, group, tile, 'by caller').dataSync<'float32'>(),
        rowsOf(request, tile),
        visibleKeys(request, tile),
        k,
        visibleOfRow(request, tile, lengths),
      ),
    );
}

function rowsByScript(pass: ForwardPass, k: number): RowsOfKept {
  const { request } = pass;
  return (values) => {
    const valueRows = values.dataSync<'float32'>();
    return (kept, tile) => {
      const weights = weightsOf(kept);
      const factors = inScope(pass.engine.tf, () => factorsOf(pass, tile, k)?.dataSync<'float32'>());
      if (factors !== undefined) multiply(weights, factors);
      const rowsPerPair = groupSize(request) * tile.queries;
      return productOfKept(kept, weights, valueRows, request, rowsPerPair);
    };
  };
}

/** Number of keys that row `row` of a tile may see, by causality and lengths. */
function visibleOfRow(
  request: AttentionRequest,
  tile: QueryTile,
  lengths: Int32Array | undefined,
): (row: number) => number {
  const { causal, keyLength } = request;
  const rowsPerEntry = queryHeadsOf(request, tile) * tile.queries;
  const first = tile.query + queryStartOf(request) + 1;
  return (row) => {
    const length =
      lengths === undefined ? keyLength : (lengths[tile.batch + Math.floor(row / rowsPerEntry)] ?? 0);
    return Math.max(0, Math.min(length, causal ? first + (row % tile.queries) : keyLength));
  };
}

function multiply(weights: Float32Array, factors: Float32Array): void {
  for (let at = 0; at < weights.length; at++) {
    weights[at] = (weights[at] as number) * (factors[at] as number);
  }
}

/** Dropout factors [batches, heads, queries, k], if any. */
function factorsOf({ engine, request }: ForwardPass, tile: QueryTile, k: number): TfTensor | undefined {
  const { dropout } = request;
  if (dropout === undefined) return undefined;
  const firstHead = tile.head * groupSize(request);
  return dropoutFactors(
    engine,
    dropout,
    [tile.batch, firstHead, tile.query, 0],
    [tile.batches, queryHeadsOf(request, tile), tile.queries, k],
  );
}

function chosenByTensorFlow(pass: ForwardPass, ops: TensorFlowOps, k: number): Choice {
  const { engine, request } = pass;
  return (group, tile) =>
    inScope(engine.tf, () => {
      const scores = tileScores(pass, group, tile, 'in scores');
      return selectByTensorFlow(engine.tf, ops, scores, k, blockSizeOf(k, visibleKeys(request, tile)));
    });
}

function rowsByTensorFlow(pass: ForwardPass, k: number): RowsOfKept {
  const { engine, request } = pass;
  const { tf } = engine;
  const { keyLength, valueDim } = request;
  return (values) => {
    const valueRows = tf.reshape(values, [-1, valueDim]);
    const count = valueRows.shape[0] as number;
    // Unused slots read an additional row of zeros: 0 times a NaN or an infinity would be NaN.
    const readable = canLeaveUnused(pass, k) ? tf.concat([valueRows, tf.zeros([1, valueDim])]) : valueRows;
    return (kept, tile) => {
      const rows = rowsOf(request, tile);
      const rowsPerPair = groupSize(request) * tile.queries;
      const places = valuePlaces(kept, rowsPerPair, keyLength, count);
      const output = inScope(tf, () => {
        const shares = tf.softmax(tf.tensor(kept.scores, [rows, 1, k]));
        const factors = factorsOf(pass, tile, k);
        const weights = factors === undefined ? shares : tf.mul(shares, tf.reshape(factors, [rows, 1, k]));
        const gathered = tf.gatherND(readable, tf.tensor(places, [rows * k, 1], 'int32'));
        return tf.matMul(weights, tf.reshape(gathered, [rows, k, valueDim])).dataSync<'float32'>();
      });
      if (kept.hasUnused) clearEmptyRows(kept, output, valueDim);
      return output;
    };
  };
}

/** Writes zeros to rows that keep nothing, whose softmax is NaN in TensorFlow. */
function clearEmptyRows({ scores, k }: KeptRows, output: Float32Array, width: number): void {
  for (let row = 0; row * k < scores.length; row++) {
    if (scores[row * k] === Number.NEGATIVE_INFINITY) output.fill(0, row * width, (row + 1) * width);
  }
}

/** Whether a row may keep fewer than k keys: where keys are hidden, or scores may be NaN or infinite. */
function canLeaveUnused({ request, isOrdinary }: ForwardPass, k: number): boolean {
  return mayMaskKeys(request) || k > request.keyLength || !isOrdinary;
}

/** For each slot, its row of the values [pairs * Lk, Dv]; `unused` for slots without a key. */
function valuePlaces(
  { keys, k }: KeptRows,
  rowsPerPair: number,
  keyLength: number,
  unused: number,
): Int32Array {
  const places = new Int32Array(keys.length);
  const slots = rowsPerPair * k;
  for (let first = 0, base = 0; first < keys.length; first += slots, base += keyLength) {
    for (let slot = first; slot < first + slots; slot++) {
      const key = keys[slot] as number;
      places[slot] = key < 0 ? unused : base + key;
    }
  }
  return places;
}
