import { bytesPerElement } from '@topk-attention/core';
import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import { keyHeadsOf, type Part, partsOf } from '../shared/geometry.js';
import { finishScratchBytes } from './finish.js';
import { ROWS } from './score-tile.js';

/** Measured to be fastest on an H200; see docs/kernels/forward-tensor.md. Tests shrink it. */
export interface TensorTuning {
  readonly subgroups: number;
  /** For tests, see `FilterVariant`. */
  readonly emulated?: boolean;
  /** Most bytes of a part's candidate lists. */
  readonly listBytes: number;
  /** Most bytes of a head group's packed keys (a single head may take more). */
  readonly packedBytes: number;
  /** Sweep 1 looks at every stride-th tile (at least 2) in rows of at least `strideFrom` visible keys. */
  readonly stride: (keyLength: number) => number;
  readonly strideFrom: number;
  /** Standard deviations of the estimated rank above its mean. */
  readonly rankSlack: number;
  readonly capacity: (k: number, stride: number) => number;
}

export const H200_TUNING: TensorTuning = {
  subgroups: 4,
  listBytes: 240 * 2 ** 20,
  packedBytes: 96 * 2 ** 20,
  stride: (keyLength) => (keyLength >= 65_536 ? 4 : 2),
  strideFrom: 4096,
  rankSlack: 3.6,
  capacity: (k, stride) => Math.max(128, Math.min(1024, 64 * Math.ceil(((stride > 2 ? 3 : 2.5) * k) / 64))),
};

/** Tiles of 16 keys; keys are packed in whole steps of 32. */
export function tilesOf({ keyLength }: AttentionRequest): number {
  return 2 * Math.ceil(keyLength / 32);
}

/** Keys that a list holds. */
export function capacityOf({ k, keyLength }: AttentionRequest, tuning: TensorTuning): number {
  return tuning.capacity(k === 'all' ? 1 : k, tuning.stride(keyLength));
}

/**
 * The call in parts, the largest first; their queries are whole workgroups of the filter, padded past the last query.
 */
export function tensorParts(
  request: AttentionRequest,
  chunk: number,
  facts: DeviceFacts,
  tuning: TensorTuning,
): readonly Part[] {
  const { batch, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
  const group = groupSize(request);
  const packed = 2 * 16 * tilesOf(request) * headDim;
  const slots = request.saves && request.k !== 'all' ? request.k : 0;
  const width = bytesPerElement(dtype) * Math.max(headDim, valueDim);
  const bound = Math.max(group * queryLength * Math.max(width, 4 * slots), keyLength * width);
  const fitting = Math.min(
    Math.floor(tuning.packedBytes / packed),
    Math.floor((facts.bindingBytes - 512) / bound),
    batch * keyHeads,
  );
  // Less than one key head: its query heads singly, the keys packed again for each.
  const heads = fitting < 1 && group > 1 ? 1 : Math.max(1, fitting) * group;
  const unit = ROWS * tuning.subgroups;
  const most = Math.max(1, Math.floor(tuning.listBytes / (4 * capacityOf(request, tuning)) / (heads * unit)));
  const tiles = Math.ceil(queryLength / unit);
  const wanted = Math.min(most, Math.max(1, Math.ceil(chunk / unit)), tiles);
  // Parts of roughly equal size: a small last one would leave the device idle.
  const tilesOfPart = Math.ceil(tiles / Math.ceil(tiles / wanted));
  return partsOf(request, heads, unit * tilesOfPart, 'queries').map((part) => ({
    ...part,
    queries: unit * Math.ceil(part.queries / unit),
  }));
}

/** Bytes of the buffers that live while a part runs. */
export function bytesOf(request: AttentionRequest, part: Part, tuning: TensorTuning): readonly number[] {
  const rows = part.heads * part.queries;
  const keyTiles = keyHeadsOf(request, part).count * tilesOf(request);
  return [
    4 * rows * capacityOf(request, tuning),
    8 * rows,
    16 * rows,
    2 * rows * request.headDim,
    2 * 16 * keyTiles * request.headDim,
    4 * keyTiles,
    finishScratchBytes(request, rows),
  ];
}
