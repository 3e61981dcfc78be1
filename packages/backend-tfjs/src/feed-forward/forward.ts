import type { ChosenFeedForward, FeedForwardInputs, FeedForwardRequest } from '@topk-attention/core/backend';
import { productOfKept } from '../attention/selection/kept-product.js';
import type { KeptRows } from '../attention/selection/kept-rows.js';
import { selectByScript } from '../attention/selection/select-script.js';
import { partsOf } from '../attention/tiles.js';
import type { Engine } from '../engine/engine.js';
import { inScope } from '../ops/in-scope.js';
import { slice } from '../ops/layout.js';
import { matmul } from '../ops/matmul.js';
import { tensorFlowOps } from '../ops/tensorflow-ops.js';
import type { TfTensor } from '../tf.js';
import { activate } from './activations.js';
import { type OutputWeights, outputWeights } from './output-weights.js';

/** A request, and how its second product runs. */
type Layer = FeedForwardRequest & Pick<ChosenFeedForward, 'second'>;

/** Shared by the chunks of a call. */
interface ForwardPass {
  readonly engine: Engine;
  readonly request: Layer;
  readonly inputs: FeedForwardInputs<TfTensor>;
  readonly k: number;
  readonly weights: OutputWeights;
}

/** The hidden units of a chunk of tokens: [tokens, F]. */
interface Hidden {
  readonly preactivations: TfTensor;
  readonly gate: TfTensor | undefined;
}

/**
 * Feed-forward over the k best hidden units of each token (paper section 1.9), in chunks of tokens: [tokens, Dout].
 * For engines that can be read synchronously: TensorFlow finds the k-th value of each row by partitioning, without
 * sorting; for others a loop over typed arrays selects.
 */
export function feedForwardForward(
  engine: Engine,
  request: Layer & { readonly k: number },
  inputs: FeedForwardInputs<TfTensor>,
  chunk: number,
): TfTensor {
  const { tf } = engine;
  const { tokens, inputDim, k } = request;
  const pass: ForwardPass = { engine, request, inputs, k, weights: outputWeights(engine, inputs.wOut) };
  return tf.tidy(() => {
    const outputs = partsOf(tokens, chunk).map(({ start, size }) =>
      tf.tidy(() => chunkOutput(pass, slice(engine, inputs.x, [start, 0], [size, inputDim]))),
    );
    return outputs.length === 1 ? (outputs[0] as TfTensor) : tf.concat(outputs, 0);
  });
}

function chunkOutput(pass: ForwardPass, x: TfTensor): TfTensor {
  const { engine, inputs } = pass;
  const { tf } = engine;
  const { wIn, bIn, wGate, bOut } = inputs;
  const product = matmul(engine, x, wIn, false, false);
  const hidden = {
    preactivations: bIn === undefined ? product : tf.add(product, bIn),
    gate: wGate && matmul(engine, x, wGate, false, false),
  };
  const output = byThreshold(pass, hidden) ?? byScript(pass, hidden);
  return bOut === undefined ? output : tf.add(output, bOut);
}

function activationsOf({ engine, request }: ForwardPass, x: TfTensor, gate: TfTensor | undefined): TfTensor {
  const plain = activate(engine, x, request.activation);
  return gate === undefined ? plain : engine.tf.mul(plain, gate);
}

/** The values that rank the units; `activations` is called only if needed. */
function rankingOf(pass: ForwardPass, { preactivations }: Hidden, activations: () => TfTensor): TfTensor {
  const { engine, request, weights } = pass;
  const { tf } = engine;
  if (request.select === 'preactivation') return preactivations;
  return tf.mul(tf.abs(activations()), tf.tensor2d(weights.norms(), [1, request.hidden]));
}

/**
 * Multiplies by all rows of wOut, with activations below the ranking's k-th value set to zero. Undefined where that is
 * unavailable or inexact: ties at the k-th value, unless it is a contribution of 0, and values that are not finite.
 */
function byThreshold(pass: ForwardPass, hidden: Hidden): TfTensor | undefined {
  const { engine, request, inputs, k, weights } = pass;
  const { tf } = engine;
  const ops = weights.isFinite && request.second === 'dense' ? tensorFlowOps(engine) : undefined;
  if (ops === undefined) return undefined;
  return inScopeOrNothing(tf, () => {
    const { preactivations, gate } = hidden;
    const plain = request.activation === 'relu' ? tf.relu(preactivations) : undefined;
    const activations =
      plain === undefined
        ? activationsOf(pass, preactivations, gate)
        : gate === undefined
          ? plain
          : tf.mul(plain, gate);
    // Checked before nth_element, which does not handle NaN.
    if (![preactivations, activations].every((x) => isFinite(tf, x))) return undefined;
    const ranking = rankingOf(pass, hidden, () => activations);
    const thresholds = ops.nthLargest(ranking, k - 1);
    const isKept = tf.greaterEqual(ranking, tf.expandDims(thresholds, 1));
    const counts = tf.sum(tf.cast(isKept, 'float32'), 1).dataSync();
    const values = thresholds.dataSync();
    const isTieOfNothing = (row: number): boolean => request.select === 'contribution' && values[row] === 0;
    if (!counts.every((count, row) => count === k || isTieOfNothing(row))) return undefined;
    const kept = tf.where(isKept, activations, tf.zerosLike(activations));
    return matmul(engine, kept, inputs.wOut, false, false);
  });
}

/** False even for finite numbers if their sum overflows. */
function isFinite(tf: Engine['tf'], x: TfTensor): boolean {
  return tf.tidy(() => Number.isFinite(tf.sum(tf.sum(x, 1)).dataSync()[0]));
}

/** tf.tidy for a result that may be undefined. */
function inScopeOrNothing(tf: Engine['tf'], run: () => TfTensor | undefined): TfTensor | undefined {
  const made = tf.tidy(() => run() ?? []);
  return Array.isArray(made) ? undefined : made;
}

/** Selects by a loop over typed arrays: exact for all values. */
function byScript(pass: ForwardPass, hidden: Hidden): TfTensor {
  const { engine, request, inputs, k, weights } = pass;
  const { tf } = engine;
  const { preactivations, gate } = hidden;
  const rows = preactivations.shape[0] as number;
  const isRanked = request.select === 'contribution';
  const activations = isRanked ? activationsOf(pass, preactivations, gate) : undefined;
  const ranking = rankingOf(pass, hidden, () => activations as TfTensor).dataSync<'float32'>();
  const kept = selectByScript(ranking, rows, request.hidden, k, () => request.hidden);
  const ofKept = keptActivations(pass, hidden, activations, kept);
  if (!weights.isFinite) {
    const shape = { keyLength: request.hidden, valueDim: request.outputDim };
    const product = productOfKept(kept, ofKept, inputs.wOut.dataSync<'float32'>(), shape, rows);
    return tf.tensor2d(product, [rows, request.outputDim]);
  }
  if (request.second === 'dense') {
    return matmul(engine, spread(engine, request.hidden, kept, ofKept), inputs.wOut, false, false);
  }
  const places = Int32Array.from(kept.keys, (key) => Math.max(key, 0));
  const gathered = tf.gatherND(inputs.wOut, tf.tensor2d(places, [rows * k, 1], 'int32'));
  const product = matmul(
    engine,
    tf.tensor3d(ofKept, [rows, 1, k]),
    tf.reshape(gathered, [rows, k, request.outputDim]),
    false,
    false,
  );
  return tf.reshape(product, [rows, request.outputDim]);
}

/** [rows * k]: activations of the kept units, 0 in unused slots, NaN throughout in rows with a NaN. */
function keptActivations(
  pass: ForwardPass,
  { gate }: Hidden,
  activations: TfTensor | undefined,
  { k, keys, scores }: KeptRows,
): Float32Array {
  const { engine, request } = pass;
  const { tf } = engine;
  const rows = keys.length / k;
  const take = (x: TfTensor): Float32Array => {
    const from = x.dataSync<'float32'>();
    const taken = new Float32Array(keys.length);
    for (let slot = 0; slot < keys.length; slot++) {
      taken[slot] = from[Math.floor(slot / k) * request.hidden + Math.max(keys[slot] as number, 0)] as number;
    }
    return taken;
  };
  const values =
    activations !== undefined
      ? take(activations)
      : inScope(tf, () => {
          const ofGate = gate && tf.tensor2d(take(gate), [rows, k]);
          return activationsOf(pass, tf.tensor2d(scores, [rows, k]), ofGate)
            .dataSync<'float32'>()
            .slice();
        });
  for (let slot = 0; slot < keys.length; slot++) {
    if (Number.isNaN(scores[slot] as number)) values[slot] = Number.NaN;
    else if ((keys[slot] as number) < 0) values[slot] = 0;
  }
  return values;
}

/** [rows, hidden]: zero except for kept units. A row with a NaN gets one, so that its product is NaN throughout. */
function spread({ tf }: Engine, hidden: number, { k, keys }: KeptRows, values: Float32Array): TfTensor {
  const rows = keys.length / k;
  const wide = new Float32Array(rows * hidden);
  for (let slot = 0; slot < keys.length; slot++) {
    const value = values[slot] as number;
    const key = keys[slot] as number;
    if (key >= 0 || Number.isNaN(value)) wide[Math.floor(slot / k) * hidden + Math.max(key, 0)] = value;
  }
  return tf.tensor2d(wide, [rows, hidden]);
}
