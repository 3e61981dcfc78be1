import { gridOf, type Kernel, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ProductShape } from '../product.js';
import type { Range } from '../range.js';
import { times } from '../wgsl.js';
import { innerBlocks, type SplitMatrix } from './split.js';

/**
 * out [M, N] = a x b (+ bias [N]) for operands split into f16 halves (`split.ts`): hi hi + hi lo + lo hi on matrix units
 * with f32 sums, scaled back on the way out.
 *
 * A subgroup of 32 makes 16 rowBlocks x 16 columnBlocks of out; fragments come straight from the packed blocks (512
 * contiguous bytes each), shared between the subgroups of a workgroup through the first-level cache. Results pass
 * through 1 KiB of workgroup memory a subgroup to be scaled.
 *
 * Error: the parts left out are at most 3 * 2^-22 of sum |a||b| (2^-22 for the rest of each operand, 2^-22 for lo lo),
 * beside the rounding of the sums, of which each of the 3 K / 16 steps may add one in the last place.
 */
export interface SplitTile {
  readonly rowBlocks: number;
  readonly columnBlocks: number;
  /** Subgroups of a workgroup along rows and columns. */
  readonly down: number;
  readonly across: number;
  /** True if every lo is zero, as it is for operands that were f16: one product instead of three. */
  readonly hiOnly?: boolean;
  /** How the next fragments are fetched: two steps at once, or one ahead. Default: neither. */
  readonly ahead?: 'pair' | 'next';
}

/** Fastest of those measured on an H200 (docs/kernels/feed-forward.md). */
export const SPLIT_TILE: SplitTile = { rowBlocks: 4, columnBlocks: 2, down: 2, across: 2 };

export const tileRows = ({ rowBlocks, down }: SplitTile): number => 16 * rowBlocks * down;
export const tileColumns = ({ columnBlocks, across }: SplitTile): number => 16 * columnBlocks * across;

export function recordSplitProduct(
  stream: Stream,
  a: SplitMatrix,
  b: SplitMatrix,
  out: Range,
  { rows, columns, inner }: ProductShape,
  { bias, tile = SPLIT_TILE }: { readonly bias?: Range | undefined; readonly tile?: SplitTile } = {},
): void {
  const rowTiles = Math.ceil(rows / tileRows(tile));
  const tiles = rowTiles * Math.ceil(columns / tileColumns(tile));
  stream.launch({
    kernel: splitProductKernel(tile, bias !== undefined),
    buffers: [
      a.packed.span,
      b.packed.span,
      a.scales.span,
      b.scales.span,
      ...(bias ? [bias.span] : []),
      out.span,
    ],
    uniforms: uniformWords([rows, columns, innerBlocks(inner), rowTiles, tiles, bias?.base ?? 0, out.base]),
    workgroups: gridOf(tiles),
  });
}

export function splitProductKernel(tile: SplitTile, hasBias: boolean): Kernel {
  return {
    key: `feed-forward split product ${JSON.stringify(tile)}${hasBias ? ' + bias' : ''}`,
    buffers: ['read', 'read', 'read', 'read', ...(hasBias ? (['read'] as const) : []), 'write'],
    source: () => splitProductText(tile, hasBias),
  };
}

function splitProductText(tile: SplitTile, hasBias: boolean): string {
  const { rowBlocks, columnBlocks, down, across } = tile;
  const subgroups = down * across;
  return `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
struct Params { rows: u32, columns: u32, blocks: u32, row_tiles: u32, tiles: u32, bias_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f16>;
@group(0) @binding(2) var<storage, read> b: array<f16>;
@group(0) @binding(3) var<storage, read> a_scales: array<f32>;
@group(0) @binding(4) var<storage, read> b_scales: array<f32>;
${hasBias ? '@group(0) @binding(5) var<storage, read> bias: array<f32>;' : ''}
@group(0) @binding(${hasBias ? 6 : 5}) var<storage, read_write> out: array<f32>;
var<workgroup> staged: array<f32, ${256 * subgroups}>;

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

@compute @workgroup_size(${32 * subgroups})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let tile = group.x + group.y * groups.x;
  if (tile >= params.tiles) { return; }
  let subgroup = t / 32u;
  let row_block = (tile % params.row_tiles) * ${down * rowBlocks}u + (subgroup / ${across}u) * ${rowBlocks}u;
  let column_block = (tile / params.row_tiles) * ${across * columnBlocks}u + (subgroup % ${across}u) * ${columnBlocks}u;
  ${times(rowBlocks, (i) => times(columnBlocks, (j) => `var sum${i}_${j} = subgroup_matrix_result<f32, 16, 16>();`, ' '), '\n  ')}
  ${loopText(tile)}
  ${times(
    rowBlocks,
    (i) =>
      times(
        columnBlocks,
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

/** Fragments of one step are named by a prefix, the side, the half and the block: `x_a_hi0`. */
function loopText(tile: SplitTile): string {
  const { rowBlocks, columnBlocks, hiOnly = false, ahead } = tile;
  const halves = hiOnly ? ['hi'] : ['hi', 'lo'];
  const fragment = (side: 'a' | 'b', half: string, block: number, k: string): string => {
    const [type, order, origin] =
      side === 'a' ? ['left', 'row_major', 'row_block'] : ['right', 'col_major', 'column_block'];
    const at = `((${origin} + ${block}u) * params.blocks + ${k}) * 512u${half === 'lo' ? ' + 256u' : ''}`;
    return `subgroupMatrixLoad<subgroup_matrix_${type}<f16, 16, 16>, ${order}>(&${side}, ${at}, 16u)`;
  };
  const all = (line: (side: 'a' | 'b', half: string, block: number) => string): string =>
    (['a', 'b'] as const)
      .flatMap((side) =>
        halves.flatMap((half) =>
          Array.from({ length: side === 'a' ? rowBlocks : columnBlocks }, (_, block) =>
            line(side, half, block),
          ),
        ),
      )
      .join('\n    ');
  const fetch = (keyword: 'let' | 'var', prefix: string, k: string): string =>
    all(
      (side, half, block) =>
        `${keyword} ${prefix}_${side}_${half}${block} = ${fragment(side, half, block, k)};`,
    );
  const terms = hiOnly
    ? [['hi', 'hi']]
    : [
        ['hi', 'hi'],
        ['hi', 'lo'],
        ['lo', 'hi'],
      ];
  const multiply = (prefix: string): string =>
    times(
      columnBlocks,
      (j) =>
        terms
          .map(([a, b]) =>
            times(
              rowBlocks,
              (i) =>
                `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(${prefix}_a_${a}${i}, ${prefix}_b_${b}${j}, sum${i}_${j});`,
              '\n    ',
            ),
          )
          .join('\n    '),
      '\n    ',
    );
  if (ahead === 'next') {
    return `${fetch('var', 'x', '0u')}
  for (var k = 1u; k <= params.blocks; k++) {
    let following = min(k, params.blocks - 1u);
    ${fetch('let', 'y', 'following')}
    ${multiply('x')}
    ${all((side, half, block) => `x_${side}_${half}${block} = y_${side}_${half}${block};`)}
  }`;
  }
  if (ahead === 'pair') {
    return `for (var k = 0u; k < params.blocks; k += 2u) {
    ${fetch('let', 'x', 'k')}
    ${fetch('let', 'y', '(k + 1u)')}
    ${multiply('x')}
    ${multiply('y')}
  }`;
  }
  return `for (var k = 0u; k < params.blocks; k++) {
    ${fetch('let', 'x', 'k')}
    ${multiply('x')}
  }`;
}

const repair: Kernel = {
  key: 'feed-forward split repair',
  buffers: ['read', 'read', 'read', 'read', 'read', 'write'],
  source: () => `
struct Params { rows: u32, columns: u32, inner: u32, has_bias: u32, a_base: u32, b_base: u32, bias_base: u32, out_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> a_marks: array<u32>;
@group(0) @binding(5) var<storage, read> b_marks: array<u32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(256)
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
};

/** Computes the rows and columns of marked lines in f32; leaves at once where there are none. */
export function recordRepair(
  stream: Stream,
  a: Range,
  b: Range,
  marks: { readonly a: Range; readonly b: Range },
  out: Range,
  { rows, columns, inner }: ProductShape,
  bias?: Range,
): void {
  stream.launch({
    kernel: repair,
    // Without a bias its place is taken by b, unread.
    buffers: [a.span, b.span, (bias ?? b).span, marks.a.span, marks.b.span, out.span],
    uniforms: uniformWords([rows, columns, inner, bias ? 1 : 0, a.base, b.base, bias?.base ?? 0, out.base]),
    workgroups: gridOf(rows),
  });
}
