import { bytesPerElement } from '../contract/dtype.js';
import type { DeviceLimits } from '../contract/limits.js';
import type { LinearAttentionRequest } from '../contract/linear-attention.js';
import { sizeOf } from '../contract/shape.js';
import type { PassBytes } from '../operation/define.js';

const stateBytes = ({ batch, keyHeads, features, valueDim, keyLogScale }: LinearAttentionRequest): number =>
  4 * batch * keyHeads * (features * (valueDim + 1) + (keyLogScale ? 1 : 0));

function inputBytes(request: LinearAttentionRequest, boolBytes = 1): number {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, keyMask } = request;
  const keyRows = batch * keyHeads * keyLength;
  return (
    (batch * queryHeads * queryLength * features + keyRows * (features + valueDim)) *
      bytesPerElement(request.dtype) +
    (keyMask === undefined ? 0 : boolBytes * sizeOf(keyMask)) +
    (request.keyLengths ? 4 * batch : 0) +
    (request.keyLogScale ? 4 * keyRows : 0) +
    (request.continues ? stateBytes(request) : 0)
  );
}

export function forwardBytes(request: LinearAttentionRequest, { boolBytes }: DeviceLimits): PassBytes {
  const { batch, queryHeads, queryLength, valueDim, dtype, saves, normalise } = request;
  const rows = batch * queryHeads * queryLength;
  const output = rows * valueDim * bytesPerElement(dtype);
  return {
    inputs: inputBytes(request, boolBytes),
    output: output + (request.returnsState ? stateBytes(request) : 0),
    saved: saves && normalise ? 4 * rows : 0,
    largest: output,
  };
}

/** The same for the backward pass, which also takes the output's gradient and returns those of the inputs. */
export function backwardBytes(request: LinearAttentionRequest, { boolBytes }: DeviceLimits): PassBytes {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, dtype } = request;
  const element = bytesPerElement(dtype);
  const rows = batch * queryHeads * queryLength;
  const keyRows = batch * keyHeads * keyLength;
  return {
    inputs: inputBytes(request, boolBytes) + rows * valueDim * element,
    output:
      (rows * features + keyRows * (features + valueDim)) * element +
      (request.keyLogScale ? 4 * keyRows : 0) +
      (request.continues ? stateBytes(request) : 0),
    saved: request.normalise ? 4 * rows : 0,
  };
}

/** Sizes in bytes of what a block of `chunk` queries and keys works on. */
function blockBytes(request: LinearAttentionRequest, chunk: number, boolBytes: number) {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, causal } = request;
  const groups = batch * keyHeads;
  const rows = 4 * batch * queryHeads * Math.min(chunk, queryLength);
  const keyRows = 4 * groups * Math.min(chunk, keyLength);
  const length = causal ? Math.min(chunk, queryLength, keyLength) : 0;
  const hides = request.keyLengths || request.keyMask !== undefined || request.keyLogScale;
  // All rows at once need no copy, unless they are widened or keys are hidden.
  const copiesQueries = chunk < queryLength || request.dtype !== 'f32';
  const narrowsKeys = chunk < keyLength || request.dtype !== 'f32';
  const copiesKeys = narrowsKeys || hides;
  const [keys, values] = [keyRows * features, keyRows * valueDim];
  return {
    state: stateBytes(request),
    queries: rows * features,
    outputs: rows * valueDim,
    heldQueries: copiesQueries ? rows * features : 0,
    heldOutputs: copiesQueries ? rows * valueDim : 0,
    rows,
    keys,
    values,
    heldKeys: (copiesKeys ? keys + values : 0) + (hides ? 3 * keyRows : 0),
    hides,
    /** Beside them, while they are taken in. */
    takenKeys: narrowsKeys && hides ? Math.max(keys, values) : 0,
    pairs: rows * length,
    /** Factors of pairs, with log scales. */
    scales: request.keyLogScale ? 4 * groups * length * length : 0,
    triangle: causal ? boolBytes * (Math.min(chunk, queryLength) ** 2 + 2 * length * length) : 0,
  };
}

/** Transient bytes of a chunk: the worst of taking its keys in, of its pairs, and of the sums of its rows. */
export function composedScratch(
  request: LinearAttentionRequest,
  chunk: number,
  { boolBytes = 1 }: DeviceLimits,
): number {
  const { causal, queryLength, normalise } = request;
  const block = blockBytes(request, chunk, boolBytes);
  const { state, outputs, heldQueries, rows, keys, values, heldKeys, takenKeys } = block;
  const { pairs, scales, triangle } = block;
  const flag = boolBytes / 4;
  const adding = scales > 0 || request.keyLogScale ? 3 * state + keys : 2 * state;
  // Sums, quotients, and quotients with zeros.
  const dividing = normalise ? 3 * outputs + (2 + flag) * rows : outputs;
  const own = heldQueries + (causal ? heldKeys + triangle + scales : 0);
  const making = Math.max((scales > 0 ? 3 : 2) * pairs, 2 * scales);
  const weighing = pairs + values + Math.max((2 + flag) * values + triangle, values + outputs, 2 * outputs);
  const joining = pairs + (scales > 0 ? 4 : 3) * outputs + 3 * rows;
  const reading = causal ? Math.max(making, weighing, joining, dividing) : dividing;
  const row = causal ? outputs + rows : 0;
  const peak = Math.max(heldKeys + takenKeys, own + reading, (causal ? own : heldKeys) + row + adding);
  // The last step of a single chunk makes the output itself.
  return state + Math.max(0, peak - (chunk >= queryLength ? outputs : 0));
}

/** The largest single tensor of a chunk. */
export function composedLargest(request: LinearAttentionRequest, chunk: number): number {
  const { state, queries, outputs, keys, values, pairs } = blockBytes(request, chunk, 1);
  return Math.max(state, queries, outputs, keys, values, pairs);
}

/** Without in-place writes the chunks are joined at the end, so the output exists twice. */
export function composedJoining(
  request: LinearAttentionRequest,
  chunk: number,
  limits: DeviceLimits,
): number {
  if (limits.inPlace || chunk >= request.queryLength) return 0;
  return forwardBytes(request, limits).output + stateBytes(request);
}

/** Transient bytes of a backward chunk, in addition to the gradients it returns. */
export function composedBackwardScratch(
  request: LinearAttentionRequest,
  chunk: number,
  limits: DeviceLimits,
): number {
  const { boolBytes = 1, inPlace } = limits;
  const { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim, causal, normalise } =
    request;
  const block = blockBytes(request, chunk, boolBytes);
  const { state, queries, outputs, heldQueries, heldOutputs, rows, keys, values, heldKeys, takenKeys } =
    block;
  const { pairs, scales, triangle } = block;
  const flag = boolBytes / 4;
  const allQueries = 4 * batch * queryHeads * queryLength * features;
  const allKeys = 4 * batch * keyHeads * keyLength * (features + valueDim);
  const weights = normalise ? 4 * batch * queryHeads * queryLength : 0;
  const scaled = request.keyLogScale ? 1 : 0;
  const hiding = block.hides ? 4 : 3;
  // Rows of a block: features, and gradients of their sums.
  const dividing = normalise ? heldOutputs + 2 * outputs + (3 + flag) * rows : heldOutputs;
  const products = normalise ? outputs + 2 * rows : heldOutputs;
  const makingPairs = (2 + (causal ? scaled : 0)) * pairs;

  // Forwards: the sums before and after a block are both kept.
  const before = causal ? 2 * state + heldKeys + triangle + scales : state;
  const finite = causal ? keys : 0;
  const ofQueries = normalise
    ? Math.max(3 * queries + finite, 2 * queries + 2 * finite)
    : (causal ? 3 : 1) * queries;
  const forwards = Math.max(
    state + heldKeys + takenKeys,
    (3 + scaled) * state + heldKeys + scaled * keys,
    before + 2 * scales,
    before + heldQueries + dividing,
    before +
      heldQueries +
      products +
      finite +
      Math.max(queries + makingPairs, pairs + 3 * queries, ofQueries),
  );
  const whole = chunk >= queryLength;
  const first = forwards + weights - allKeys - (whole ? allQueries : 0);

  // Backwards: gradients of a block's keys, with its queries if causal.
  const held = state + weights + heldKeys + (causal ? triangle + scales + heldQueries + products + rows : 0);
  const ofRows = causal
    ? Math.max((2 + flag) * queries, makingPairs, pairs + (2 + flag) * queries, pairs + queries + keys)
    : 0;
  const ofOutputs = causal
    ? Math.max(makingPairs, pairs + (2 + flag) * outputs, pairs + outputs + values)
    : 0;
  const ofQuerySums = (2 + scaled) * state + (causal ? scaled * 2 * queries : 0);
  const second = Math.max(
    held + takenKeys,
    held + (causal ? dividing - products : 0),
    held + Math.max(keys + ofRows, hiding * keys),
    held + keys + Math.max(values + ofOutputs, hiding * values),
    held + keys + values + ofQuerySums,
    state + weights + heldQueries + dividing,
    3 * state + weights + heldQueries + products + rows,
  );
  const made = chunk >= keyLength ? keys + values : 0;
  const joined = inPlace || whole ? 0 : Math.max(allQueries - allKeys, allKeys);
  return Math.max(0, first, second - made, joined);
}
