import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { range, times } from '../../wgsl/text.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { optionBuffers } from '../shared/options.js';
import { radixSelect, SELECT_INVOCATIONS } from '../shared/radix-select.js';
import { relativeBiasOf } from '../shared/relative-bias.js';
import { loadQuad, operandType } from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import type { SweepInputs } from './sample-kernel.js';
import { scoreQuad } from './score.js';
import { text } from './slow.wgsl.js';

/** What the text of the kernel depends on. */
interface SlowParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly relativeBias: boolean;
  /** Rows processed per reading of the keys: a power of two. */
  readonly rows: number;
}

/** Workgroup memory of the kernel. */
export function slowBytes({ headDim, rows }: Pick<SlowParameters, 'headDim' | 'rows'>): number {
  return 16 * rows * Math.ceil(headDim / 4) + 5 * 1024 + 64;
}

/**
 * Rows that the sweeps could not decide: writes all scores of some rows of a key head to the workgroup's own scratch,
 * then selects exactly from them, overwriting the row's list. A row with a NaN in a valid score gets NAN_ROW as its
 * count. Scores are the same chain of multiply-adds as in the sweeps, so they have the same bits.
 *
 * Workgroups stride over the jobs; without slow rows they end at once.
 */
const slowKernel = kernelFamily('attention sweeps slow', (p: SlowParameters) => ({
  uniforms: { ...geometryUniforms, capacity: 'u32', k: 'u32', row_words: 'u32' },
  buffers: {
    q: readFrom(operandType(p)),
    k: readFrom(operandType(p)),
    slow: read('u32'),
    counts: write('u32'),
    lists: write('vec2u'),
    scratch: write('u32'),
    ...optionBuffers(p),
  },
  workgroup: SELECT_INVOCATIONS,
  source: () => source(p),
}));

/** `row_words`: words per row of `scratch`, which has `parameters.rows` rows for each workgroup. */
export function recordSlow(
  stream: Stream,
  parameters: SlowParameters,
  geometry: PartGeometry,
  own: Readonly<Record<'capacity' | 'k' | 'row_words', number>>,
  workgroups: number,
  buffers: Readonly<Record<'q' | 'k', Binding>> &
    Readonly<Record<'slow' | 'counts' | 'lists' | 'scratch', Span>> &
    SweepInputs['options'],
): void {
  slowKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers,
    workgroups: [workgroups, 1, 1],
  });
}

function source(p: SlowParameters): string {
  const quads = Math.ceil(p.headDim / 4);
  const shape = { headDim: p.headDim, dtype: p.dtype };
  const each = (line: (r: number) => string, separator: string): string => times(p.rows, line, separator);
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${p.relativeBias ? relativeBiasOf : ''}
${loadQuad('load_query', 'q', shape)}
${loadQuad('load_key', 'k', shape)}
${scoreQuad(p.relativeBias)}

${fill(text, {
  ...{ quads, rows: p.rows, last_row: p.rows - 1, radix_select: radixSelect },
  find_rows: each(
    (r) => `let row_${r} = row_at(
        key_head * rows + slow[key_heads + key_head * rows + min(${p.rows}u * job + ${r}u, count - 1u)],
      );`,
    '\n      ',
  ),
  load_queries: each(
    (r) => `for (var quad = t; quad < ${quads}u; quad += INVOCATIONS) {
        query_rows[quad][${r}] = load_query(row_${r}.local_head * params.query_length + row_${r}.local_query, quad);
      }`,
    '\n      ',
  ),
  find_visible: each((r) => `let visible_${r} = visible_of(row_${r});`, '\n      '),
  most_visible: range(p.rows)
    .map((r) => `visible_${r}`)
    .reduce((a, b) => `max(${a}, ${b})`),
  start_products: each((r) => `var dot_${r} = 0.0;`, ' '),
  add_products: each(
    (r) => `{
            let query_quad = query_rows[quad][${r}];
            dot_${r} = fma(query_quad.x, key_quad.x, dot_${r});
            dot_${r} = fma(query_quad.y, key_quad.y, dot_${r});
            dot_${r} = fma(query_quad.z, key_quad.z, dot_${r});
            dot_${r} = fma(query_quad.w, key_quad.w, dot_${r});
          }`,
    '\n          ',
  ),
  store_scores: each(
    (r) => `scratch[scratch_start + ${r}u * params.row_words + key] =
          bitcast<u32>(score_quad(vec4f(dot_${r}), row_${r}, vec4u(key)).x);`,
    '\n        ',
  ),
  select_rows: each(
    (r) => `if (${p.rows}u * job + ${r}u < count) {
        let index = row_${r}.local_head * params.queries + row_${r}.local_query;
        list = index * params.capacity;
        let kept = select_row(t, scratch_start + ${r}u * params.row_words, visible_${r}, params.k);
        if (t == 0u) { counts[index] = kept; }
      }`,
    '\n      ',
  ),
})}`;
}
