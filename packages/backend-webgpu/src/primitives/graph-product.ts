import type { DType, Shape } from '@topk-attention/core';
import type {
  FusedOperation,
  GraphProductInputs,
  GraphProductOutputs,
  GraphProductRequest,
} from '@topk-attention/core/backend';
import { ALIGNMENT, type Binding, windowOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { text } from './graph-product.wgsl.js';
import { recordSegmentSums, segmentBytes } from './segment-sums.js';
import { recordSortByRow, sortBytes } from './sort-by-row.js';

const INVOCATIONS = 64;
/** Slots, by four, that a workgroup holds for all of its queries: 4 KiB of workgroup memory. */
const QUADS = 128;

interface Variant {
  /** Four neighbours at once; otherwise one. */
  readonly vec: boolean;
  /** Invocations that share a query: a power of two, INVOCATIONS at most. */
  readonly across: number;
}

/**
 * Some queries a workgroup, one unit of the width per invocation: their slots are read once per block of units, the listed
 * rows once, and added in the order of the slots.
 */
const productKernel = kernelFamily('graph-product', ({ vec, across }: Variant) => {
  const element = vec ? 'vec4f' : 'f32';
  const queries = INVOCATIONS / across;
  return {
    uniforms: { count: 'u32', queries: 'u32', keys: 'u32', slots: 'u32', width: 'u32', blocks: 'u32' },
    buffers: {
      weights: readFrom('f32'),
      graph: readFrom('i32'),
      rows: readFrom(element),
      out: writeTo(element),
    },
    workgroup: INVOCATIONS,
    source: () => `alias Sum = ${element};
const ACROSS = ${across}u;
const QUERIES = ${queries}u;
/** Quads of a query that are held at a time. */
const TILE = ${QUADS / queries}u;
${text}`,
  };
});

type Allocate<T> = (shape: Shape, dtype: DType) => T;
type Product<T> = FusedOperation<GraphProductRequest, GraphProductInputs<T>, GraphProductOutputs<T>>;

/** Weighted sums of the rows that each query lists, in one launch per run of groups; no row is stored per slot. */
export function graphProducts<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate<T>,
): Product<T> {
  return {
    prepare(request) {
      const { groups, queries, keys, slots, width } = request;
      const fitting = fittingGroups(request, facts, 4 * width * Math.max(queries, keys));
      if (fitting === 0) return { refusals: refusalsOf(request, facts) };
      const layout = layoutOf(width);
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: `${INVOCATIONS / layout.across} queries a workgroup` }),
        run(inputs) {
          const output = allocate([groups, queries, width], 'f32');
          for (const { first, count } of runsOf(groups, fitting)) {
            const units = width / (layout.vec ? 4 : 1);
            const blocks = Math.ceil(units / layout.across);
            const rows = count * queries;
            productKernel(layout).launch(stream, {
              uniforms: { count: rows, queries, keys, slots, width: units, blocks },
              buffers: {
                ...slotsOf(inputs, first, count, request),
                rows: unitsOf(inputs.rows, first * keys * width, count * keys * width, layout),
                out: unitsOf(output, first * queries * width, rows * width, layout),
              },
              workgroups: blocks * Math.ceil((rows * layout.across) / INVOCATIONS),
            });
          }
          return { output };
        },
      };
    },
  };
}

/**
 * Weighted sums of the queries that list each key: the slots sorted by key, then sums of segments whose terms are made
 * where they are added. Unused slots come last and take no part.
 */
export function transposedGraphProducts<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate<T>,
): Product<T> {
  return {
    prepare(request) {
      const { groups, queries, keys, slots, width, most = 2 ** 24 } = request;
      const taken = queries * slots;
      const ofGroup = segmentBytes({ rows: keys, entries: taken, width });
      const largest = Math.max(4 * width * Math.max(queries, keys), 8 * taken, ofGroup.parts);
      const bindable = fittingGroups(request, facts, largest);
      if (bindable === 0) return { refusals: refusalsOf(request, facts) };
      // Few groups need few digits, and their scratch stays small; many take few launches.
      const fitting = Math.min(bindable, Math.max(1, Math.floor(most / (2 * taken))));
      return {
        scratchBytes() {
          const batch = Math.min(groups, fitting);
          const entries = batch * taken;
          const sums = segmentBytes({ rows: batch * keys, entries, width });
          return Math.max(sortBytes(entries), 8 * entries + sums.parts + sums.begins);
        },
        describe: () => ({ variant: `slots sorted by key, ${Math.min(groups, fitting)} groups at a time` }),
        run(inputs) {
          const output = allocate([groups, keys, width], 'f32');
          for (const { first, count } of runsOf(groups, fitting)) {
            const { graph, weights } = slotsOf(inputs, first, count, request);
            const entries = recordSortByRow(stream, graph, { batch: count, taken, rows: keys });
            const rows = windowOf(inputs.rows, first * queries * width, count * queries * width);
            const to = windowOf(output, first * keys * width, count * keys * width);
            const sizes = { rows: count * keys, entries: count * taken, width };
            recordSegmentSums(stream, entries, rows, to, sizes, 'f32', { weights, perRow: slots });
            stream.release(entries);
          }
          return { output };
        },
      };
    },
  };
}

/** Groups whose slots and rows fit into bindings, given the bytes of the other tensors of a group; 0: not even one. */
function fittingGroups(
  { groups, queries, keys, slots, width }: GraphProductRequest,
  { bindingBytes }: DeviceFacts,
  bytes: number,
): number {
  if (groups * queries * keys * slots * width === 0) return 0;
  return Math.floor((bindingBytes - ALIGNMENT) / Math.max(4 * queries * slots, bytes));
}

function refusalsOf(
  { groups, queries, keys, slots, width }: GraphProductRequest,
  { bindingBytes }: DeviceFacts,
): readonly string[] {
  return groups * queries * keys * slots * width === 0
    ? ['nothing to add']
    : [`a group does not fit into a binding of ${bindingBytes} bytes`];
}

/** Runs of at most that many groups. */
function runsOf(groups: number, most: number): readonly { readonly first: number; readonly count: number }[] {
  return Array.from({ length: Math.ceil(groups / most) }, (_, run) => ({
    first: run * most,
    count: Math.min(most, groups - run * most),
  }));
}

function layoutOf(width: number): Variant {
  const vec = width % 4 === 0;
  const units = vec ? width / 4 : width;
  return { vec, across: Math.min(INVOCATIONS, 2 ** Math.ceil(Math.log2(units))) };
}

/** Weights and graph of some groups. */
function slotsOf(
  { weights, graph }: GraphProductInputs<View>,
  first: number,
  count: number,
  { queries, slots }: GraphProductRequest,
): { readonly weights: Binding; readonly graph: Binding } {
  const taken = queries * slots;
  return {
    weights: windowOf(weights, first * taken, count * taken),
    graph: windowOf(graph, first * taken, count * taken),
  };
}

/** Elements of a view whose widths are multiples of the layout's units: so is the place where a binding's data begin. */
function unitsOf(view: View, first: number, count: number, { vec }: Variant): Binding {
  const { span, base } = windowOf(view, first, count);
  return { span, base: base / (vec ? 4 : 1) };
}
