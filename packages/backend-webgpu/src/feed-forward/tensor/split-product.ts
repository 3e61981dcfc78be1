import type { Binding } from '../../runtime/binding.js';
import type { Stream } from '../../runtime/stream.js';
import { defineKernel, optional, read, readFrom, writeTo } from '../../wgsl/define-kernel.js';
import { range, times } from '../../wgsl/text.js';
import { innerBlocks, type SplitMatrix } from './split.js';

/**
 * out [M, N] = a x b (+ bias [N]) for operands split into f16 halves (`split.ts`): hi hi + hi lo + lo hi on matrix
 * units with f32 sums, scaled back when written.
 *
 * A subgroup of 32 computes 64 x 32 of out, the four of a workgroup 128 x 64; fragments come straight from the packed
 * blocks (512 contiguous bytes each), shared between the subgroups of a workgroup through the first-level cache. To be
 * scaled, results pass through 1 KiB of workgroup memory per subgroup.
 *
 * Error: the parts left out are at most 3 * 2^-22 of sum |a||b| (2^-22 for the rest of each operand, 2^-22 for lo lo),
 * plus the rounding of the sums: each of the 3 K / 16 steps may add one unit in the last place.
 */
interface SplitProductParameters {
  readonly bias: boolean;
  /** True if every lo is zero, as it is for operands that were f16: one product instead of three. */
  readonly hiOnly: boolean;
}

/**
 * Blocks of 16 x 16 per subgroup, and subgroups per workgroup, along rows and columns: the fastest of those measured.
 */
const [ROW_BLOCKS, COLUMN_BLOCKS] = [4, 2];
const [DOWN, ACROSS] = [2, 2];
const SUBGROUPS = DOWN * ACROSS;

/** Rows and columns of out per workgroup. */
export const TILE_ROWS: number = 16 * ROW_BLOCKS * DOWN;
export const TILE_COLUMNS: number = 16 * COLUMN_BLOCKS * ACROSS;

/** Rows of a, columns of b, and the extent summed over. */
type SplitProductShape = Readonly<Record<'rows' | 'columns' | 'inner', number>>;

export function recordSplitProduct(
  stream: Stream,
  a: SplitMatrix,
  b: SplitMatrix,
  out: Binding,
  { rows, columns, inner }: SplitProductShape,
  { bias, hiOnly }: { readonly bias?: Binding | undefined; readonly hiOnly: boolean },
): void {
  const rowTiles = Math.ceil(rows / TILE_ROWS);
  const tiles = rowTiles * Math.ceil(columns / TILE_COLUMNS);
  splitProductKernel({ bias: bias !== undefined, hiOnly }).launch(stream, {
    uniforms: { rows, columns, blocks: innerBlocks(inner), row_tiles: rowTiles, tiles },
    buffers: {
      a: a.packed.span,
      b: b.packed.span,
      a_scales: a.scales.span,
      b_scales: b.scales.span,
      bias,
      out,
    },
    workgroups: tiles,
  });
}

const splitProductKernel = ({ bias, hiOnly }: SplitProductParameters) =>
  defineKernel({
    key: `feed-forward split product${hiOnly ? ' of halves' : ''}${bias ? ' + bias' : ''}`,
    uniforms: { rows: 'u32', columns: 'u32', blocks: 'u32', row_tiles: 'u32', tiles: 'u32' },
    buffers: {
      a: read('f16'),
      b: read('f16'),
      a_scales: read('f32'),
      b_scales: read('f32'),
      bias: optional(bias, readFrom('f32')),
      out: writeTo('f32'),
    },
    workgroup: 32 * SUBGROUPS,
    directives: [
      'enable f16',
      'enable subgroups',
      'enable chromium_experimental_subgroup_matrix',
      'diagnostic(off, chromium.subgroup_matrix_uniformity)',
    ],
    source: () => splitProductText(bias, hiOnly),
  });

function splitProductText(hasBias: boolean, hiOnly: boolean): string {
  return `var<workgroup> staged: array<f32, ${256 * SUBGROUPS}>;

fn write_block(t: u32, row0: u32, column0: u32) {
  let lane = t % 32u;
  let column = column0 + lane % 16u;
  for (var i = 0u; i < 8u; i++) {
    let row = row0 + 2u * i + lane / 16u;
    if (row < params.rows && column < params.columns) {
      let value = staged[(t / 32u) * 256u + 32u * i + lane] * a_scales[row] * b_scales[column];
      out[params.out_base + row * params.columns + column] = value${hasBias ? ' + bias[params.bias_base + column]' : ''};
    }
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = group.x + group.y * groups.x;
  if (tile >= params.tiles) { return; }
  let subgroup = t / 32u;
  let row_block = (tile % params.row_tiles) * ${DOWN * ROW_BLOCKS}u + (subgroup / ${ACROSS}u) * ${ROW_BLOCKS}u;
  let column_block = (tile / params.row_tiles) * ${ACROSS * COLUMN_BLOCKS}u + (subgroup % ${ACROSS}u) * ${COLUMN_BLOCKS}u;
  ${times(ROW_BLOCKS, (i) => times(COLUMN_BLOCKS, (j) => `var sum${i}_${j} = subgroup_matrix_result<f32, 16, 16>();`, ' '), '\n  ')}
  for (var k = 0u; k < params.blocks; k++) {
    ${stepText(hiOnly)}
  }
  ${times(
    ROW_BLOCKS,
    (i) =>
      times(
        COLUMN_BLOCKS,
        (j) => `subgroupMatrixStore<row_major>(&staged, subgroup * 256u, sum${i}_${j}, 16u);
  workgroupBarrier();
  write_block(t, (row_block + ${i}u) * 16u, (column_block + ${j}u) * 16u);
  workgroupBarrier();`,
        '\n  ',
      ),
    '\n  ',
  )}
}`;
}

/** Fragments of one step are named by side, half and block: `a_hi0`. */
function stepText(hiOnly: boolean): string {
  const halves = hiOnly ? ['hi'] : ['hi', 'lo'];
  const fetch = (side: 'a' | 'b', half: string, block: number): string => {
    const [type, order, origin] =
      side === 'a' ? ['left', 'row_major', 'row_block'] : ['right', 'col_major', 'column_block'];
    const at = `((${origin} + ${block}u) * params.blocks + k) * 512u${half === 'lo' ? ' + 256u' : ''}`;
    return `let ${side}_${half}${block} = subgroupMatrixLoad<subgroup_matrix_${type}<f16, 16, 16>, ${order}>(&${side}, ${at}, 16u);`;
  };
  const fetches = (['a', 'b'] as const).flatMap((side) =>
    halves.flatMap((half) =>
      range(side === 'a' ? ROW_BLOCKS : COLUMN_BLOCKS).map((block) => fetch(side, half, block)),
    ),
  );
  const terms = [
    ['hi', 'hi'],
    ...(hiOnly
      ? []
      : [
          ['hi', 'lo'],
          ['lo', 'hi'],
        ]),
  ];
  const products = range(COLUMN_BLOCKS).flatMap((j) =>
    terms.flatMap(([a, b]) =>
      range(ROW_BLOCKS).map(
        (i) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a_${a}${i}, b_${b}${j}, sum${i}_${j});`,
      ),
    ),
  );
  return [...fetches, ...products].join('\n    ');
}

const repair = defineKernel({
  key: 'feed-forward split repair',
  uniforms: { rows: 'u32', columns: 'u32', inner: 'u32', has_bias: 'u32' },
  buffers: {
    a: readFrom('f32'),
    b: readFrom('f32'),
    bias: readFrom('f32'),
    a_marks: read('u32'),
    b_marks: read('u32'),
    out: writeTo('f32'),
  },
  workgroup: 256,
  source: () => `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.rows) { return; }
  let is_marked = a_marks[1u + row] != 0u;
  if (!is_marked && b_marks[0] == 0u) { return; }
  for (var column = t; column < params.columns; column += 256u) {
    if (!is_marked && b_marks[1u + column] == 0u) { continue; }
    var sum = 0.0;
    var i = 0u;
    for (; i + 8u <= params.inner; i += 8u) {
      ${times(8, (u) => `let b${u} = b[params.b_base + (i + ${u}u) * params.columns + column];`, ' ')}
      ${times(8, (u) => `sum = fma(a[params.a_base + row * params.inner + i + ${u}u], b${u}, sum);`, '\n      ')}
    }
    for (; i < params.inner; i++) {
      sum = fma(a[params.a_base + row * params.inner + i], b[params.b_base + i * params.columns + column], sum);
    }
    if (params.has_bias != 0u) { sum += bias[params.bias_base + column]; }
    out[params.out_base + row * params.columns + column] = sum;
  }
}`,
});

/** Computes the rows and columns of marked lines in f32; exits at once if there are none. */
export function recordRepair(
  stream: Stream,
  { a, b, bias, out }: Readonly<Record<'a' | 'b' | 'out', Binding>> & { readonly bias?: Binding | undefined },
  marks: { readonly a: Binding; readonly b: Binding },
  { rows, columns, inner }: SplitProductShape,
): void {
  repair.launch(stream, {
    uniforms: { rows, columns, inner, has_bias: bias ? 1 : 0 },
    // Without a bias its place is taken by b, unread.
    buffers: { a, b, bias: bias ?? b, a_marks: marks.a.span, b_marks: marks.b.span, out },
    workgroups: rows,
  });
}
