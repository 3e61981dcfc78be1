import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import { f32Bits, gridOf, type Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../shared/forward-path.js';
import {
  geometryWords,
  groupOf,
  keyWindow,
  type Part,
  queryWindow,
  visibleKeys,
} from '../shared/geometry.js';
import { savedLists } from '../shared/lists.js';
import { TILE_KEYS, tileRowsOn } from '../shared/scores/product.js';
import { collectKernel } from './collect-kernel.js';
import { FLAG_INVOCATIONS, flagKernel } from './flag-kernel.js';
import { largestSafe } from './guard-kernel.js';
import { keepKernel } from './keep-kernel.js';
import { rowBytes, type SweepsTuning, segmentOf, sharesOf, sizesOf, slowSize, stepOf } from './part-size.js';
import { type SweepParameters, sampleKernel } from './sample-kernel.js';
import { rankOf, shiftOf } from './sizes.js';
import { slowKernel } from './slow-kernel.js';
import { thresholdKernel } from './threshold-kernel.js';

export interface PartWork {
  readonly request: AttentionRequest;
  readonly views: ForwardViews;
  readonly part: Part;
  readonly relative: Span | undefined;
  readonly unsafe: Span;
  readonly counters: Span;
  readonly tuning: SweepsTuning;
}

export function recordPart(stream: Stream, facts: DeviceFacts, work: PartWork): void {
  const { request, views, part, relative, unsafe, counters, tuning } = work;
  const { headDim, valueDim, dtype, causal, keyLengths, keyLength, scale } = request;
  const { k, capacity, groups } = sizesOf(request, tuning);
  const rows = part.heads * part.queries;
  const keyHeads = part.heads / groupOf(request);

  const visible = visibleKeys(request, part);
  const shift = tuning.shift ?? shiftOf(k, visible);
  const tileRows = tuning.rows ?? tileRowsOn(facts);
  const subgroups = facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32;
  const rowTiles = keyHeads * Math.ceil(rows / keyHeads / tileRows);
  const sweep: SweepParameters = {
    headDim,
    dtype,
    causal,
    keyLengths,
    relativeBias: request.relativeBias !== undefined,
    rows: tileRows,
  };
  const lists = stream.scratch(rows * rowBytes(request, tuning));
  const thresholds = stream.scratch(4 * rows);
  const counts = stream.scratch(4 * rows);
  const q = queryWindow(views.q, request, part);
  const keys = keyWindow(views.k, request, part);
  const lengths = views.keyLengths === undefined ? [] : [views.keyLengths.span];
  const extras = [...lengths, ...(relative === undefined ? [] : [relative])];
  const bases = { q: q.base, k: keys.base };
  const words = (own: readonly number[]): Uint32Array => geometryWords({ request, part, bases, own });

  const tiles = Math.ceil(visible / 2 ** shift / TILE_KEYS);
  const cycle = groups / 32;
  const shares = tuning.shares ?? sharesOf(rowTiles, Math.min(cycle, tiles));
  const tileStep = stepOf(rows, TILE_KEYS);
  for (let tile = 0; tile < tiles; tile += tileStep) {
    stream.launch({
      kernel: sampleKernel(sweep),
      buffers: [q.span, keys.span, lists, ...extras],
      uniforms: words([shift, groups, tile, Math.min(tiles, tile + tileStep), shares]),
      workgroups: gridOf(rowTiles * shares),
    });
  }
  const rank = tuning.rank ?? rankOf(k, shift);
  stream.launch({
    kernel: thresholdKernel({ headDim, dtype, causal, keyLengths, groups, rows: tileRows, subgroups }),
    buffers: [q.span, lists, unsafe, thresholds, counts, ...lengths],
    uniforms: words([shift, rank, capacity, f32Bits(largestSafe(headDim, scale))]),
    workgroups: gridOf(rows),
  });
  const segment = tuning.segment ?? segmentOf(rowTiles, Math.min(visible, stepOf(rows, 1)));
  const keyStep = segment * Math.max(1, Math.floor(stepOf(rows, segment)));
  for (let key = 0; key < visible; key += keyStep) {
    const end = Math.min(visible, key + keyStep);
    stream.launch({
      kernel: collectKernel(sweep),
      buffers: [q.span, keys.span, thresholds, counts, lists, ...extras],
      uniforms: words([capacity, key, end, segment]),
      workgroups: gridOf(rowTiles * Math.ceil((end - key) / segment)),
    });
  }
  const slow = stream.scratch(4 * (keyHeads + rows));
  stream.clear({ ...slow, size: 4 * keyHeads });
  stream.launch({
    kernel: flagKernel,
    buffers: [thresholds, counts, slow, counters],
    uniforms: words([capacity, k]),
    workgroups: gridOf(Math.ceil(rows / FLAG_INVOCATIONS)),
  });
  stream.release(thresholds);
  const slowly = slowSize(request, facts.workgroupBytes, tuning);
  const scratch = stream.scratch(4 * slowly.rows * slowly.workgroups * keyLength);
  stream.launch({
    kernel: slowKernel({
      headDim,
      dtype,
      causal,
      keyLengths,
      relativeBias: sweep.relativeBias,
      rows: slowly.rows,
    }),
    buffers: [q.span, keys.span, slow, counts, lists, scratch, ...extras],
    uniforms: words([capacity, k, keyLength]),
    workgroups: [slowly.workgroups, 1, 1],
  });
  stream.release(scratch);
  stream.release(slow);

  const v = keyWindow(views.v, request, part);
  const output = queryWindow(views.output, request, part);
  const saved = savedLists(views, request, part);
  stream.launch({
    kernel: keepKernel({
      capacity,
      k,
      valueDim,
      dtype,
      dropout: request.dropout !== undefined,
      saves: saved !== undefined,
      subgroups,
    }),
    buffers: [counts, lists, v.span, output.span, ...(saved ? [saved.indices.span, saved.scores.span] : [])],
    uniforms: geometryWords({
      request,
      part,
      bases: { v: v.base, output: output.base },
      ...(saved && {
        lists: {
          rowsPerHead: saved.rowsPerHead,
          indicesBase: saved.indices.base,
          scoresBase: saved.scores.base,
        },
      }),
      own: [k],
    }),
    workgroups: gridOf(rows),
  });
  stream.release(counts);
  stream.release(lists);
}
