import {
  type AttentionRequest,
  type ComposedBytes,
  chooseFeedForward,
  type DeviceLimits,
  type FeedForwardRequest,
  mayHideKeys,
} from '@topk-attention/core/backend';

/*
 * Memory that core's composed operations take on this engine, measured as the growth of a process
 * (test/planned-bytes.test.ts). A chunk is one turn of a loop in one session. It takes its own tensors, which the
 * session's arena keeps; running sums, which exist three times (so far, the chunk's part, new) and are copied out of
 * the loop at the end; and its results, which exist as the loop's list, joined by the loop, copied out, and joined by
 * core.
 */

/** The engine's allocator splits what it reuses. */
const ALLOCATOR_SLACK = 1.15;
/** Copies of a sum or a joined result, besides the one that is returned. */
const COPIES = 4;
/** The same for a feed-forward layer, where both passes are composed and have results. */
const FEED_FORWARD_COPIES = 5;
/** Garbage not yet collected by JavaScript, besides the random numbers of a turn, whose array is reused. */
const GARBAGE = 2 ** 21;
/** Score-sized tensors that one turn of the exact backward pass holds at its peak: 9, plus what the allocator keeps. */
const EXACT_BACKWARD = 10.5;
/** Tensors of the size of the gathered rows: the rows twice, the updates, and their row numbers in i32 and in i64. */
const TOP_K_BACKWARD = 8;
/** Bytes that JavaScript holds per turn: nodes, starts of slices, views. */
const TURN = 2 ** 18;
/** The same for a turn that draws random numbers, whose inputs and views are added. */
const TURN_WITH_DROPOUT = 3 * 2 ** 17;

/** Turns of a loop over this many queries or tokens. */
function turnsOf(length: number, chunk: number): number {
  return Math.ceil(length / Math.max(1, chunk));
}

/** A shorter last chunk needs a second session. */
function withRest(length: number, chunk: number): number {
  return chunk < length ? 1 + (length % chunk) / chunk : 1;
}

/** Bytes of the parts of a chunk and of a call. */
function sizesOf(request: AttentionRequest, chunk: number) {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, k } = request;
  const rows = batch * queryHeads * chunk;
  return {
    scores: 4 * rows * keyLength,
    gathered: k === 'all' ? 0 : 4 * rows * k * Math.max(headDim, valueDim),
    lists: k === 'all' ? 0 : 8 * batch * queryHeads * queryLength * k,
    keysAndValues: 4 * batch * keyHeads * keyLength * (headDim + valueDim),
    queries: 4 * batch * queryHeads * queryLength * headDim,
    output: 4 * batch * queryHeads * queryLength * valueDim,
  };
}

/** Score-sized tensors that adding biases takes, besides the scores. */
function biasTensors({ bias, relativeBias, batch }: AttentionRequest): number {
  return (bias === undefined ? 0 : 1) + (relativeBias === undefined ? 0 : 2 / batch);
}

function attentionScratch(request: AttentionRequest, chunk: number): number {
  const { scores, gathered, lists, keysAndValues, output } = sizesOf(request, chunk);
  const isChunked = chunk < request.queryLength;
  const hasDropout = request.dropout !== undefined;
  const ofScores = 3.5 + (mayHideKeys(request) ? 1 : 0) + biasTensors(request) + (hasDropout ? 4 : 0);
  const ofTurn = ALLOCATOR_SLACK * (ofScores * scores + 3 * gathered);
  const random = hasDropout ? (request.k === 'all' ? scores : lists) + GARBAGE : 0;
  const results = (isChunked ? COPIES : 1) * (output + (request.saves ? lists : 0));
  const safe = mayHideKeys(request) && request.k === 'all' ? 2 * keysAndValues : 0;
  const turns = (hasDropout ? TURN_WITH_DROPOUT : TURN) * turnsOf(request.queryLength, chunk);
  return withRest(request.queryLength, chunk) * ofTurn + turns + random + results + safe;
}

function attentionBackwardScratch(request: AttentionRequest, chunk: number): number {
  const { scores, gathered, lists, keysAndValues, queries, output } = sizesOf(request, chunk);
  const { k, dropout } = request;
  const isChunked = chunk < request.queryLength;
  const exact = EXACT_BACKWARD + (dropout === undefined ? 0 : 8.5) + biasTensors(request);
  // With kept keys only, a bias that depends on the key is put back into rows of all keys.
  const widened = request.bias === undefined ? 0 : 2;
  const turn = k === 'all' ? exact * scores : TOP_K_BACKWARD * gathered + widened * scores;
  const ofTurn = ALLOCATOR_SLACK * withRest(request.queryLength, chunk) * turn;
  const random = dropout === undefined ? 0 : k === 'all' ? scores + GARBAGE : lists + GARBAGE;
  const turns = TURN * turnsOf(request.queryLength, chunk);
  // Sums by row begin as zeros with one more row, for keys that are in no list.
  const padded = k === 'all' ? 0 : keysAndValues;
  const copies = padded + (isChunked ? COPIES : 1) * (keysAndValues + queries);
  const safe = mayHideKeys(request) && k === 'all' ? 4 * keysAndValues : 0;
  const ofRest = isChunked && request.queryLength % chunk > 0 ? 2 * keysAndValues : 0;
  // The output of the forward pass exists at the same time.
  return ofTurn + turns + random + copies + safe + ofRest + output;
}

function feedForwardScratch(request: FeedForwardRequest, chunk: number, limits: DeviceLimits): number {
  const { tokens, hidden, outputDim, k, gated, select, saves } = request;
  const { second } = chooseFeedForward(request, limits);
  const wide = 4 * chunk * hidden;
  const gathered = second === 'gather' && k !== 'all' ? 4 * chunk * k * outputDim : 0;
  const ofTurn = (5 + (gated ? 1 : 0) + (select === 'contribution' ? 2 : 0)) * wide + 3 * gathered;
  const shared = k === 'all' ? 0 : 3 * 4 * hidden * outputDim;
  const lists = saves === true && k !== 'all' ? 8 * tokens * k : 0;
  const results = (chunk < tokens ? FEED_FORWARD_COPIES : 1) * (4 * tokens * outputDim + lists);
  return (
    ALLOCATOR_SLACK * withRest(tokens, chunk) * ofTurn + TURN * turnsOf(tokens, chunk) + shared + results
  );
}

function feedForwardBackwardScratch(request: FeedForwardRequest, chunk: number): number {
  const { tokens, inputDim, hidden, outputDim, k, gated, activation } = request;
  const wide = 4 * chunk * hidden;
  const deriving = activation === 'relu' ? 2 : 6;
  // With kept units only: which units they are, and the signs of their gradients; the weights in three parts for the whole call.
  const partial = k === 'all' ? 0 : 12;
  const parts = k === 'all' ? 0 : 12 * hidden * inputDim * (gated ? 2 : 1);
  const ofTurn = (3.5 + (gated ? 3 : 0) + (k === 'all' ? deriving : 1) + partial) * wide;
  const weights = 4 * hidden * (inputDim * (gated ? 2 : 1) + outputDim);
  const copies = (chunk < tokens ? FEED_FORWARD_COPIES : 1) * (weights + 4 * tokens * inputDim);
  return (
    ALLOCATOR_SLACK * withRest(tokens, chunk) * ofTurn +
    TURN * turnsOf(tokens, chunk) +
    copies +
    parts +
    4 * tokens * outputDim
  );
}

function largestOf(
  { batch, queryHeads, keyLength, headDim, valueDim, k }: AttentionRequest,
  chunk: number,
): number {
  return (
    4 * batch * queryHeads * chunk * Math.max(keyLength, k === 'all' ? 0 : k * Math.max(headDim, valueDim))
  );
}

const largestHidden = ({ hidden }: FeedForwardRequest, chunk: number): number => 4 * chunk * hidden;

/** The composed operations' needs on this engine. */
export const composedBytes: ComposedBytes = {
  attention: { scratchBytes: attentionScratch, largestBytes: largestOf },
  attentionBackward: { scratchBytes: attentionBackwardScratch, largestBytes: largestOf },
  feedForward: { scratchBytes: feedForwardScratch, largestBytes: largestHidden },
  feedForwardBackward: { scratchBytes: feedForwardBackwardScratch, largestBytes: largestHidden },
};
