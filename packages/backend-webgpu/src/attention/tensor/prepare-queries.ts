import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { geometryUniforms, keyHeadOf, type PartGeometry, rowAt } from '../shared/geometry.js';
import { QUERY_NORM, SHIFT_DOUBT } from './error-bound.js';
import { magnitudes } from './magnitudes.js';
import type { KeyVariant, PackedKeys } from './packing.js';
import { text } from './prepare-queries.wgsl.js';
import { fourType, loadFour } from './score-text.js';

/** Values of the last number of a prepared query. */
export const QUERY_KIND = { usual: 0, refused: 1, zero: 2 } as const;

/**
 * Queries as f16 of length QUERY_NORM, [rows, D], with zeros for rows past the last query. And for each row,
 * [rows, 4]: the unit and the shift of its scores (a score is the filter's times the unit plus the shift, which is that of
 * the keys' centre), how uncertain the shift makes the scores, and its kind. Refused: rows with NaN or infinities, and
 * rows whose unit is so large or small that a threshold could be rounded away. One workgroup per 32 rows.
 */
const prepareKernel = kernelFamily('tensor prepare queries', ({ headDim, half }: KeyVariant) => {
  const fours = headDim / 4;
  return {
    uniforms: geometryUniforms,
    buffers: {
      q: readFrom(fourType(half)),
      centres: read('vec4f'),
      largest: read('u32'),
      prepared: write('vec2u'),
      units: write('vec4f'),
    },
    workgroup: 256,
    source: () => `
${rowAt}
${keyHeadOf}
${loadFour('q', half)}
${magnitudes}
${halvesOf}
${fill(text, {
  fours,
  query_norm: `${QUERY_NORM}.0`,
  shift_doubt: SHIFT_DOUBT,
  refused: `${QUERY_KIND.refused}.0`,
  usual: `${QUERY_KIND.usual}.0`,
  zero: `${QUERY_KIND.zero}.0`,
})}`,
  };
});

export function recordPrepareQueries(
  stream: Stream,
  variant: KeyVariant,
  geometry: PartGeometry,
  { centres, largest }: Pick<PackedKeys, 'centres' | 'largest'>,
  buffers: Readonly<Record<'q', Binding>> & Readonly<Record<'prepared' | 'units', Span>>,
): void {
  prepareKernel(variant).launch(stream, {
    uniforms: geometry,
    buffers: { ...buffers, centres, largest },
    workgroups: (geometry.heads * geometry.queries) / 32,
  });
}
