import { bytesPerElement } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import { ALIGNMENT } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Stream } from '../../runtime/stream.js';
import { hasFewRows } from '../few-rows/few-rows.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { partsOf } from '../shared/geometry.js';
import { optionRefusals } from '../shared/options.js';
import { recordRelativeVectors } from '../shared/relative-bias.js';
import { guardWords, recordBiasGuard } from './guard-kernel.js';
import { keepBytes } from './keep-kernel.js';
import { partSize, QUERY_STEP, rowBytes, type SweepsTuning, scratchBytes, sizesOf } from './part-size.js';
import { recordPart } from './record-part.js';
import { LARGEST_K } from './sizes.js';
import { slowBytes } from './slow-kernel.js';

/** With fewer keys than this, storing the scores is faster. */
const FEWEST_KEYS = 1024;
const LARGEST_DIM = 256;

/** The path with some of its choices overridden. */
export function sweepsPathWith(tuning: SweepsTuning): ForwardPath {
  return {
    name: 'sweeps',
    refuses,
    describe: (request) => `k ${request.k}, lists of ${sizesOf(request, tuning).capacity}`,
    // It divides a call itself, and larger parts are faster.
    preferredChunk: ({ queryLength }) => queryLength,
    scratchBytes: (request, chunk, facts) => scratchBytes(request, chunk, facts, tuning),
    largestBytes: (request, chunk, facts) => {
      const { heads, queries } = partSize(request, chunk, facts, tuning);
      return heads * queries * rowBytes(request, tuning);
    },
    record: (stream, request, views, chunk) => record(stream, request, views, chunk, tuning),
  };
}

/**
 * Two sweeps over the keys in f32, with nothing of size Lq x Lk stored: the first looks at a sample of the keys and
 * takes a threshold for each row from it, the second lists the keys above it with their scores. Whatever the
 * threshold, the k best of the list are the k best of all if the list has k keys and is complete. All other rows are
 * selected again from all of their scores. Runs on core WebGPU; subgroups of 32 make the selection faster.
 */
export const sweepsPath: ForwardPath = sweepsPathWith({});

function refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { k, dtype, headDim, valueDim, keyLength, mask, bias, scale } = request;
  const reasons: string[] = [];
  if (k === 'all') return ['it keeps k keys, not all of them'];
  if (k > LARGEST_K) reasons.push(`k ${k} exceeds ${LARGEST_K}`);
  if (keyLength < FEWEST_KEYS) reasons.push(`${keyLength} keys are below ${FEWEST_KEYS}`);
  if (hasFewRows(request)) reasons.push(`${request.queryLength} queries of a head leave a tile almost empty`);
  if (8 * k > keyLength) reasons.push(`k ${k} is more than an eighth of ${keyLength} keys`);
  if (mask !== undefined) reasons.push('there is a mask');
  if (bias !== undefined) reasons.push('there is a bias for each query and key');
  if (headDim > LARGEST_DIM) reasons.push(`headDim ${headDim} exceeds ${LARGEST_DIM}`);
  if (valueDim > LARGEST_DIM || valueDim % 4 !== 0) {
    reasons.push(`valueDim ${valueDim} is not a multiple of 4 up to ${LARGEST_DIM}`);
  }
  if (!(Math.abs(scale) <= 2 ** 60)) reasons.push(`scale ${scale} is too large`);
  const element = bytesPerElement(dtype);
  // What one key head and a tile of queries of its group bind.
  const queryRows = (groupSize(request) - 1) * request.queryLength + QUERY_STEP;
  const bound = {
    keys: keyLength * headDim * element,
    values: keyLength * valueDim * element,
    queries: queryRows * Math.max(headDim, valueDim) * element,
    'saved lists': request.saves ? queryRows * 4 * k : 0,
  };
  for (const [name, bytes] of Object.entries(bound)) {
    if (bytes > facts.bindingBytes - ALIGNMENT) {
      reasons.push(`the ${name} of one key head exceed a binding of ${facts.bindingBytes} bytes`);
    }
  }
  reasons.push(...optionRefusals(request, facts));
  if (keepBytes(k) > facts.workgroupBytes) reasons.push(`k ${k} needs more workgroup memory than there is`);
  if (slowBytes({ headDim, rows: 1 }) > facts.workgroupBytes) reasons.push('too little workgroup memory');
  return reasons;
}

function record(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  chunk: number,
  tuning: SweepsTuning,
): void {
  const { facts } = stream;
  const { heads, queries } = partSize(request, chunk, facts, tuning);
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  const keyHeads = request.batch * request.keyHeads;
  const unsafe = {
    keys: stream.scratch(4 * guardWords(keyHeads, relative !== undefined)),
    biasPlace: guardWords(keyHeads, false),
  };
  if (relative !== undefined) recordBiasGuard(stream, relative, unsafe.keys, unsafe.biasPlace);
  const largest = { heads, queries };
  for (const part of partsOf(request, heads, queries)) {
    recordPart(stream, facts, { request, views, part, largest, relative, unsafe, tuning });
    stream.flush();
  }
  stream.release(unsafe.keys);
  if (relative !== undefined) stream.release(relative);
}
