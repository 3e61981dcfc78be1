import { sizeOf, stridesOf } from '@topk-attention/core/backend';
import { dataTypes } from '../../onnx/data-types.js';
import type { Facts, Rule, Rules } from './facts.js';
import {
  axisOf,
  broadcast,
  broadcastValues,
  eachPlace,
  type Known,
  MOST_VALUES,
  Unknown,
  withExtent,
} from './known.js';

const i64 = (values: readonly number[], dims: readonly number[] = [values.length]): Known => ({
  type: dataTypes.int64,
  dims,
  values,
});

/** The same elements in other extents. */
function regrouped({ type, values }: Known, dims: readonly number[]): Known {
  return { type, dims, ...(values !== undefined && { values }) };
}

function shape(facts: Facts): readonly Known[] {
  const { dims } = facts.input(0);
  const clamp = (axis: number): number =>
    Math.min(dims.length, Math.max(0, axis < 0 ? axis + dims.length : axis));
  return [i64(dims.slice(clamp(facts.int('start', 0)), clamp(facts.int('end', dims.length))))];
}

function reshape(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  // Before operator set 5 the shape was an attribute.
  const wanted = facts.ints('shape') ?? facts.values(1);
  const keepsZero = facts.int('allowzero', 0) === 1;
  const dims = wanted.map((extent, axis) => {
    if (extent !== 0 || keepsZero) return extent;
    const same = x.dims[axis];
    if (same === undefined) throw new Unknown(`Reshape copies axis ${axis} of ${x.dims.length}`);
    return same;
  });
  const size = sizeOf(x.dims);
  const open = dims.indexOf(-1);
  if (open >= 0) dims[open] = size / sizeOf(dims.filter((_, axis) => axis !== open));
  if (sizeOf(dims) !== size || !dims.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
    throw new Unknown(`Reshape of [${x.dims}] to [${wanted}]`);
  }
  return [regrouped(x, dims)];
}

function flatten(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  const axis = axisOf(facts.int('axis', 1), x.dims.length);
  return [regrouped(x, [sizeOf(x.dims.slice(0, axis)), sizeOf(x.dims.slice(axis))])];
}

function unsqueeze(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  const list = facts.list('axes', 1) ?? [];
  const rank = x.dims.length + list.length;
  const axes = new Set(list.map((axis) => axisOf(axis, rank)));
  const rest = x.dims.values();
  const dims = Array.from({ length: rank }, (_, axis) =>
    axes.has(axis) ? 1 : (rest.next().value as number),
  );
  return [regrouped(x, dims)];
}

function squeeze(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  const axes = facts.list('axes', 1)?.map((axis) => axisOf(axis, x.dims.length));
  return [
    regrouped(
      x,
      x.dims.filter((extent, axis) => !(axes?.includes(axis) ?? extent === 1)),
    ),
  ];
}

function transpose(facts: Facts): readonly Known[] {
  const { type, dims, values } = facts.input(0);
  const order = facts.ints('perm') ?? dims.map((_, axis) => dims.length - 1 - axis);
  const moving = new Set(order);
  if (order.length !== dims.length || !dims.every((_, axis) => moving.has(axis)))
    throw new Unknown(`Transpose of ${dims.length} axes by [${order}]`);
  const turned = order.map((axis) => dims[axis] as number);
  if (values === undefined) return [{ type, dims: turned }];
  const strides = stridesOf(dims);
  const moved: number[] = [];
  eachPlace(turned, (place) => {
    const at = order.reduce((sum, axis, to) => sum + (place[to] as number) * (strides[axis] as number), 0);
    moved.push(values[at] as number);
  });
  return [{ type, dims: turned, values: moved }];
}

function expand(facts: Facts): readonly Known[] {
  const x = facts.input(0);
  const dims = broadcast([x.dims, facts.values(1)]);
  const isShort = x.values !== undefined && sizeOf(dims) <= MOST_VALUES;
  return [{ type: x.type, dims, ...(isShort && { values: broadcastValues(x, dims) }) }];
}

function tile(facts: Facts): readonly Known[] {
  const { type, dims } = facts.input(0);
  const times = facts.values(1);
  return [{ type, dims: dims.map((extent, axis) => extent * (times[axis] as number)) }];
}

function concat(facts: Facts): readonly Known[] {
  const { inputs } = facts;
  const first = facts.input(0);
  const axis = axisOf(facts.int('axis', 0), first.dims.length);
  const extent = inputs.reduce((sum, { dims }) => sum + (dims[axis] as number), 0);
  const dims = withExtent(first.dims, axis, extent);
  const lists = inputs.map(({ values }) => values);
  const areKnown = dims.length === 1 && extent <= MOST_VALUES && lists.every((list) => list !== undefined);
  return [{ type: first.type, dims, ...(areKnown && { values: lists.flat() as number[] }) }];
}

function split(facts: Facts): readonly Known[] {
  const { type, dims, values } = facts.input(0);
  const axis = axisOf(facts.int('axis', 0), dims.length);
  const extent = dims[axis] as number;
  const count = facts.node.output.length;
  const part = Math.ceil(extent / count);
  const parts =
    facts.list('split', 1) ??
    Array.from({ length: count }, (_, at) => Math.min(part, Math.max(0, extent - at * part)));
  let end = 0;
  return parts.map((one) => {
    end += one;
    // ONNX Runtime makes these of several Gather of one shape.
    const own = dims.length === 1 ? values?.slice(end - one, end) : undefined;
    return { type, dims: withExtent(dims, axis, one), ...(own?.length === one && { values: own }) };
  });
}

/** Start, end and step along every axis, with starts and ends inside of the extents. */
function slice(facts: Facts): readonly Known[] {
  const { type, dims, values } = facts.input(0);
  const starts = facts.list('starts', 1) ?? [];
  const ends = facts.list('ends', 2) ?? [];
  const axes = facts.list('axes', 3) ?? starts.map((_, axis) => axis);
  const steps = facts.has(4) ? facts.values(4) : starts.map(() => 1);
  const places = dims.map(() => ({ from: 0, step: 1 }));
  const cut = [...dims];
  for (const [at, given] of axes.entries()) {
    const axis = axisOf(given, dims.length);
    const extent = dims[axis] as number;
    const step = steps[at];
    if (!step) throw new Unknown(`Slice with steps [${steps}]`);
    const [low, high] = step > 0 ? [0, extent] : [-1, extent - 1];
    const clamp = (end: number): number => Math.min(high, Math.max(low, end < 0 ? end + extent : end));
    const from = clamp(starts[at] as number);
    const to = (ends[at] as number) < -extent && step < 0 ? -1 : clamp(ends[at] as number);
    cut[axis] = Math.max(0, Math.ceil((to - from) / step));
    places[axis] = { from, step };
  }
  if (values === undefined) return [{ type, dims: cut }];
  const strides = stridesOf(dims);
  const kept: number[] = [];
  eachPlace(cut, (place) => {
    const at = places.reduce(
      (sum, { from, step }, axis) =>
        sum + (from + (place[axis] as number) * step) * (strides[axis] as number),
      0,
    );
    kept.push(values[at] as number);
  });
  return [{ type, dims: cut, values: kept }];
}

function gather(facts: Facts): readonly Known[] {
  const data = facts.input(0);
  const indices = facts.input(1);
  const axis = axisOf(facts.int('axis', 0), data.dims.length);
  const dims = [...data.dims.slice(0, axis), ...indices.dims, ...data.dims.slice(axis + 1)];
  if (data.values === undefined || indices.values === undefined || data.dims.length !== 1) {
    return [{ type: data.type, dims }];
  }
  return [{ type: data.type, dims, values: indices.values.map((at) => data.values?.at(at) as number) }];
}

function gatherND(facts: Facts): readonly Known[] {
  const data = facts.input(0);
  const indices = facts.input(1);
  const batch = facts.int('batch_dims', 0);
  const depth = indices.dims.at(-1) as number;
  return [{ type: data.type, dims: [...indices.dims.slice(0, -1), ...data.dims.slice(batch + depth)] }];
}

function pad(facts: Facts): readonly Known[] {
  const { type, dims } = facts.input(0);
  const pads = facts.list('pads', 1) ?? [];
  const axes = facts.has(3)
    ? facts.values(3).map((axis) => axisOf(axis, dims.length))
    : dims.map((_, a) => a);
  const padded = [...dims];
  for (const [at, axis] of axes.entries()) {
    padded[axis] = (dims[axis] as number) + (pads[at] as number) + (pads[at + axes.length] as number);
  }
  return [{ type, dims: padded }];
}

function range(facts: Facts): readonly Known[] {
  const [start, limit, delta] = [facts.values(0)[0], facts.values(1)[0], facts.values(2)[0]] as number[] as [
    number,
    number,
    number,
  ];
  const length = Math.max(0, Math.ceil((limit - start) / delta));
  if (!Number.isSafeInteger(length)) throw new Unknown('Range without an end');
  const { type } = facts.input(0);
  if (length > MOST_VALUES) return [{ type, dims: [length] }];
  return [{ type, dims: [length], values: Array.from({ length }, (_, at) => start + at * delta) }];
}

/** Known where all elements are: the places of those that are not 0, by axis. */
function nonZero(facts: Facts): readonly Known[] {
  const { dims } = facts.input(0);
  const count = facts.values(0).filter((value) => value !== 0).length;
  return [{ type: dataTypes.int64, dims: [Math.max(1, dims.length), count] }];
}

const likeFirst: Rule = (facts) => {
  const { type, dims } = facts.input(0);
  return [{ type, dims }];
};

const likeIndices: Rule = (facts) => [{ type: facts.input(0).type, dims: facts.input(1).dims }];

export const layoutRules: Rules = {
  Concat: concat,
  CumSum: likeFirst,
  Expand: expand,
  Flatten: flatten,
  Gather: gather,
  GatherElements: likeIndices,
  GatherND: gatherND,
  NonZero: nonZero,
  Pad: pad,
  Range: range,
  Reshape: reshape,
  ScatterElements: likeFirst,
  ScatterND: likeFirst,
  Shape: shape,
  Size: (facts) => [i64([sizeOf(facts.input(0).dims)], [])],
  Slice: slice,
  Split: split,
  Squeeze: squeeze,
  Tile: tile,
  Transpose: transpose,
  Trilu: likeFirst,
  Unsqueeze: unsqueeze,
};
