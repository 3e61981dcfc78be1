import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { fill } from '../wgsl/fill.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';
import { rowsOf, splitRows } from './split-rows.js';
import { LONGEST_LISTED, searchText, selectByScans, type TopKKernel, topKKernel } from './top-k-kernel.js';
import { text as largestText } from './top-k-largest.wgsl.js';
import { EACH, fourKeys, type ListedParameters, listedKernel } from './top-k-listed.js';
import { text as plainText } from './top-k-plain.wgsl.js';

/**
 * Up to this many kept entries, groups' maxima bound them well: 8 groups for each of 256 invocations, two per entry.
 */
const MOST_LISTED = 1024;

/** One invocation per row, the largest alone, by scans of the row, or from a short list. */
export type TopKVariant = 'plain' | 'largest' | 'scans' | Pick<ListedParameters, 'groups' | 'invocations'>;

function chooseVariant(width: number, k: number): TopKVariant {
  if (k === 1) return 'largest';
  if (width <= 64 * EACH) return { groups: 0, invocations: 64 };
  if (width <= 256 * EACH) return { groups: 0, invocations: 256 };
  if (k > MOST_LISTED || width > LONGEST_LISTED) return 'scans';
  const groups = k <= 128 ? 1 : k <= 256 ? 2 : k <= 512 ? 4 : 8;
  return { groups, invocations: 256 };
}

/**
 * One workgroup per row, 256 invocations: the k-th largest key digit by digit, then one ascending pass. Reads the row
 * 5 times (f16: 3; k = extent: once); 2.1 KiB of workgroup memory.
 */
const scansKernel = (half: boolean, vec: boolean): TopKKernel =>
  topKKernel(
    'scans',
    { half, invocations: 256, vec },
    () => `${searchText}
${selectByScans(half)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = workgroup.x + workgroup.y * groups.x;
  if (row >= params.rows) { return; }
  select_by_scans(row, params.x_base + row * params.width, local);
}`,
  );

/**
 * One invocation per row. The k-th largest key is found bit by bit, then one ascending pass keeps the selected
 * entries. Reads the row 34 times; no workgroup memory.
 */
const plainKernel = (half: boolean): TopKKernel =>
  topKKernel('plain', { half, invocations: 64, vec: false }, () => plainText);

/** For k = 1: 256 / lanes rows per workgroup. Reads the row once; 2 KiB of workgroup memory. */
const largestKernel = (half: boolean, vec: boolean, lanes: number): TopKKernel =>
  topKKernel(
    `largest ${lanes}`,
    { half, invocations: ROW_INVOCATIONS, vec },
    () => `${fourKeys(half, vec)}\n${fill(largestText, { lanes })}`,
  );

/** Entries of a row for each invocation of `largestKernel`: a choice. */
const LARGEST_EACH = 32;

function kernelOf(variant: TopKVariant, half: boolean, vec: boolean, width: number): TopKKernel {
  if (variant === 'plain') return plainKernel(half);
  if (variant === 'largest') return largestKernel(half, vec, lanesOf(width, LARGEST_EACH));
  if (variant === 'scans') return scansKernel(half, vec);
  return listedKernel({ ...variant, half, vec });
}

/**
 * The k largest entries above -inf of each row of the last axis of x, in ascending order of index; among equals at the
 * boundary, the first win. Unused slots come last, with -inf and -1. x holds no NaN. `values` has the dtype of x.
 * `variant` overrides the choice by shape.
 */
export function recordTopK(
  stream: Stream,
  x: View,
  k: number,
  values: View,
  indices: View,
  variant?: TopKVariant,
): void {
  const { rows, width } = rowsOf(x.shape);
  if (rows === 0) return;
  const half = x.dtype === 'f16';
  if (half) stream.clear(windowOf(values, 0, rows * k).span);
  const widest = Math.max(width * storedBytes(x.dtype), 4 * k);
  const chosen = variant ?? (stream.facts.isSoftware ? 'plain' : chooseVariant(width, k));
  for (const { first, count } of splitRows(stream, 'topK', rows, widest)) {
    const from = windowOf(x, first * width, count * width);
    const vec = width % 4 === 0 && from.base % 4 === 0;
    kernelOf(chosen, half, vec, width).launch(stream, {
      uniforms: { rows: count, width, k },
      buffers: {
        x: from,
        values: windowOf(values, first * k, count * k),
        indices: windowOf(indices, first * k, count * k),
      },
      workgroups: workgroupsOf(chosen, count, width),
    });
  }
}

function workgroupsOf(variant: TopKVariant, rows: number, width: number): number | { invocations: number } {
  if (variant === 'plain') return { invocations: rows };
  return variant === 'largest' ? { invocations: rows * lanesOf(width, LARGEST_EACH) } : rows;
}
