import type { TensorShapeProto, ValueInfoProto } from './messages.js';

/** An extent: a number, or the name of one that is known only when the graph runs. Equal names are equal extents. */
export type Dim = number | string;
export type Dims = readonly Dim[];

/** Extents of a type; undefined where not even the rank is known. An extent without number or name is ''. */
export function dimsOf({ type }: ValueInfoProto): Dims | undefined {
  const shape = type?.tensorType?.shape;
  return shape?.dim.map(({ dimValue, dimParam = '' }) => dimValue ?? dimParam);
}

export function shapeOf(dims: Dims): TensorShapeProto {
  return {
    dim: dims.map((dim) =>
      typeof dim === 'number' ? { dimValue: dim } : dim === '' ? {} : { dimParam: dim },
    ),
  };
}
