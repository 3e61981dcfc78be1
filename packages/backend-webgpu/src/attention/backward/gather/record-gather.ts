import type { Binding } from '../../../runtime/binding.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, read, readFrom, write, writeTo } from '../../../wgsl/define-kernel.js';
import { subgroupDirectives } from '../../../wgsl/text.js';
import { storedType, vectorType } from '../layout/rows.js';
import { PLAIN_INVOCATIONS, plainKeys, plainPieces } from './gather-plain.js';
import type { GatherShape } from './gather-shape.js';
import { LANES, subgroupKeys, subgroupPieces } from './gather-subgroups.js';

/** With subgroups of 32, or without. */
export interface GatherVariant extends GatherShape {
  readonly subgroups: boolean;
}

/** Rows of q and dO, and the entries sorted by key. */
export interface GatherInputs {
  readonly query: Binding;
  readonly gradient: Binding;
  readonly sorted_rows: Span;
  readonly sorted_weights: Span;
}

const rowsOf = ({ layout }: GatherShape) => ({
  query: readFrom(storedType(layout)),
  gradient: readFrom(storedType(layout)),
  sorted_rows: read('u32'),
  sorted_weights: read('vec2f'),
});

const piecesKernel = kernelFamily('attention-backward pieces', ({ subgroups, ...shape }: GatherVariant) => ({
  uniforms: { pieces: 'u32', piece_entries: 'u32' },
  buffers: { ...rowsOf(shape), piece_keys: read('vec2u'), sums: write(vectorType(shape.layout.width)) },
  workgroup: subgroups ? LANES : PLAIN_INVOCATIONS,
  directives: subgroups ? subgroupDirectives : [],
  source: () => (subgroups ? subgroupPieces(shape) : plainPieces(shape)),
}));

const keysKernel = kernelFamily('attention-backward keys', ({ subgroups, ...shape }: GatherVariant) => {
  const type = vectorType(shape.layout.width);
  return {
    uniforms: { keys: 'u32', piece_entries: 'u32', scale: 'f32', adds: 'u32' },
    buffers: {
      ...rowsOf(shape),
      ranges: read('vec2u'),
      sums: read(type),
      key_result: writeTo(type),
      value_result: writeTo(type),
    },
    workgroup: subgroups ? LANES : PLAIN_INVOCATIONS,
    directives: subgroups ? subgroupDirectives : [],
    source: () => (subgroups ? subgroupKeys(shape) : plainKeys(shape)),
  };
});

/** Sums of the pieces that belong to a single key; see `plainPieces`. */
export function recordPieces(
  stream: Stream,
  variant: GatherVariant,
  uniforms: Readonly<Record<'pieces' | 'piece_entries', number>>,
  buffers: GatherInputs & Readonly<Record<'piece_keys' | 'sums', Span>>,
): void {
  piecesKernel(variant).launch(stream, { uniforms, buffers, workgroups: uniforms.pieces });
}

/** dK and dV of all keys; see `plainKeys`. */
export function recordKeyGradients(
  stream: Stream,
  variant: GatherVariant,
  uniforms: Readonly<Record<'keys' | 'piece_entries' | 'scale' | 'adds', number>>,
  buffers: GatherInputs &
    Readonly<Record<'ranges' | 'sums', Span>> &
    Readonly<Record<'key_result' | 'value_result', Binding>>,
): void {
  keysKernel(variant).launch(stream, { uniforms, buffers, workgroups: uniforms.keys });
}
