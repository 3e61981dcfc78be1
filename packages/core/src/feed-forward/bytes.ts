import type { ChosenFeedForward } from '../contract/choices.js';
import { bytesPerElement } from '../contract/dtype.js';
import type { FeedForwardRequest } from '../contract/feed-forward.js';
import type { PassBytes } from '../operation/define.js';
import { blockBytes } from '../selection/block-bytes.js';

/** What the forward pass takes and returns, whatever runs it. */
export function forwardBytes(request: FeedForwardRequest): PassBytes {
  const { tokens, inputDim, outputDim } = request;
  const element = bytesPerElement(request.dtype);
  const output = tokens * outputDim * element;
  return {
    inputs: (tokens * inputDim + weightCount(request)) * element,
    output,
    saved: listBytes(request),
    largest: output,
  };
}

/** The same for the backward pass, which also takes the output's gradient and returns those of the inputs. */
export function backwardBytes(request: FeedForwardRequest): PassBytes {
  const { tokens, inputDim, outputDim } = request;
  const element = bytesPerElement(request.dtype);
  const weights = weightCount(request);
  return {
    inputs: (tokens * (inputDim + outputDim) + weights) * element,
    output: (tokens * inputDim + weights) * element,
    saved: listBytes(request),
  };
}

function weightCount({ inputDim, hidden, outputDim, gated, biasIn, biasOut }: FeedForwardRequest): number {
  const matrices = hidden * (inputDim * (gated ? 2 : 1) + outputDim);
  return matrices + (biasIn ? hidden : 0) + (biasOut ? outputDim : 0);
}

/** (unit, pre-activation) lists. */
function listBytes({ tokens, k, saves }: FeedForwardRequest): number {
  return saves === true && k !== 'all' ? tokens * k * 8 : 0;
}

/** The composed path joins its chunks at the end, so one result exists twice. */
export function composedJoining(request: FeedForwardRequest, chunk: number): number {
  const { output, saved } = forwardBytes(request);
  return chunk < request.tokens ? Math.max(output, saved / 2) : 0;
}

/** The largest single tensor of one chunk: hidden units, or the rows of wOut gathered for it. */
export function composedLargest({ hidden, outputDim, k, second }: ChosenFeedForward, chunk: number): number {
  return 4 * chunk * Math.max(hidden, k === 'all' || second === 'dense' ? 0 : k * outputDim);
}

/** Hidden-width tensors that an activation holds in addition to its input, at the peak. */
const activationTensors: Readonly<Record<FeedForwardRequest['activation'], number>> = {
  relu: 1.25,
  gelu: 3,
  gelu_tanh: 3,
  silu: 2,
};

/**
 * Transient bytes of the composed feed-forward for one chunk of tokens: the worst of computing the activations (tokens
 * by hidden units), ranking and selecting units, and the second product; plus what all chunks share.
 */
export function composedFeedForwardScratch(request: ChosenFeedForward, chunk: number, boolBytes = 1): number {
  const { hidden, inputDim, outputDim, k, gated, second, activation, select, biasIn, biasOut } = request;
  const wide = 4 * chunk * hidden;
  const flags = boolBytes * chunk * hidden;
  const x = 4 * chunk * inputDim;
  const result = 4 * chunk * outputDim;
  const making = wide * Math.max(biasIn ? 2 : 1, 1 + activationTensors[activation], gated ? 4 : 2);
  // f16 inputs are widened, x chunk by chunk.
  const widened = request.dtype === 'f16' ? 4 * hidden * (inputDim * (gated ? 2 : 1) + outputDim) : 0;
  if (k === 'all') return widened + x + Math.max(making, wide + result * (biasOut ? 2 : 1));
  const lists = 8 * chunk * k;
  const isRanked = select === 'contribution';
  const ranking = 2 * wide + (isRanked ? 2 * wide : 0);
  const setAside = 2 * wide + (isRanked ? wide : 0) + flags + wide;
  const selecting = 3 * wide + blockBytes(request.selection, hidden, chunk, k) + 2 * lists;
  const weights = hidden * outputDim;
  const shared = (isRanked ? 4 * hidden : 0) + (second === 'dense' ? 12 * weights : 0);
  const multiplying =
    second === 'gather'
      ? wide + 4 * chunk * k * outputDim + 2 * lists
      : wide + Math.max(wide + 4 * flags, flags + wide, 2 * wide + 3 * flags + result) + 2 * lists;
  const ofChunk = x + Math.max(making, ranking, setAside, selecting, multiplying) + lists + 3 * result;
  const sharing = second === 'dense' ? weights * (12 + 3 * boolBytes) : isRanked ? 4 * weights : 0;
  return widened + Math.max(shared + ofChunk, sharing);
}

/** Hidden-width tensors that the gradient of an activation holds at the peak. */
const derivativeTensors: Readonly<Record<FeedForwardRequest['activation'], number>> = {
  relu: 2,
  gelu: 11,
  gelu_tanh: 12,
  silu: 6,
};

/**
 * Transient bytes of the composed backward pass for one chunk of tokens, in addition to the gradients it returns: the
 * worst of differentiating the activation and of computing and accumulating the weight gradients.
 */
export function composedFeedForwardBackwardScratch(
  request: FeedForwardRequest,
  chunk: number,
  boolBytes = 1,
): number {
  const { tokens, hidden, inputDim, outputDim, k, gated, activation } = request;
  const isChunked = chunk < tokens;
  const wide = 4 * chunk * hidden;
  const kept = k === 'all' ? wide : 4 * chunk * k;
  const rows = 4 * chunk * (2 * inputDim + outputDim);
  const made = (k === 'all' ? 2 : 1) * wide + (gated ? wide : 0);
  const taken = k === 'all' ? 0 : (gated ? 6 : 5) * kept;
  const deriving = made + taken + (derivativeTensors[activation] + (gated ? 3 : 0)) * kept;
  const spread = (gated ? 3 : 2) * wide;
  const weights = 4 * hidden * (inputDim * (gated ? 2 : 1) + outputDim);
  // The running sums are returned; this is the chunk's own part.
  const parts = isChunked ? weights : 0;
  const adding = isChunked ? weights + 4 * hidden * Math.max(inputDim, outputDim) : 0;
  const joining = isChunked ? 4 * tokens * inputDim : 0;
  // For kept units only: their flags and the signs of their gradients; the weights in three parts for the whole call.
  const partial = k === 'all' ? 0 : 3 * wide + 2 * boolBytes * chunk * hidden + kept + 8 * chunk * inputDim;
  const shared = k === 'all' ? 0 : 12 * hidden * inputDim * (gated ? 2 : 1);
  const multiplying =
    rows + made + taken + kept + spread + partial + parts + (gated ? 4 * chunk * inputDim : 0);
  return shared + Math.max(rows + parts + deriving, multiplying, adding, joining);
}
