import { range } from '../../../wgsl/text.js';
import { groupIndex } from '../../shared/reductions.js';
import { loadRow, powerOfTwo } from '../layout/rows.js';
import type { GatherShape } from './gather-shape.js';

export const LANES = 32;

/** One of the two gradients: how its columns lie over the lanes. */
interface Side {
  readonly name: 'query' | 'gradient';
  /** Component of the entry's weights. */
  readonly weight: 'x' | 'y';
  /** Vectors of a row. */
  readonly columns: number;
  /** Lanes side by side in a row; the other lanes take other entries. */
  readonly across: number;
  readonly parts: number;
  /** Vectors per lane. */
  readonly blocks: number;
}

function sideOf(name: 'query' | 'gradient', dim: number): Side {
  const columns = dim / 4;
  const across = Math.min(LANES, powerOfTwo(columns));
  return {
    name,
    weight: name === 'query' ? 'y' : 'x',
    columns,
    across,
    parts: LANES / across,
    blocks: Math.ceil(columns / across),
  };
}

/** Rows of each side in flight at a time: pieces are long and few, keys are many. */
const AHEAD_OF_PIECES = 8;
const AHEAD_OF_KEYS = 4;

/**
 * Adds a chunk of up to 32 entries, held by the lanes, to the sums of sides with the same layout. `guarded`: some
 * lanes hold none.
 */
function addChunk(sides: readonly Side[], most: number, guarded: boolean): string {
  const { across, parts, columns, blocks } = sides[0] as Side;
  const ahead = Math.max(1, Math.min(most, 2 ** Math.floor(Math.log2(8 / blocks)), LANES / parts));
  const step = ahead * parts;
  const isWhole = columns % across === 0;
  const columnOf = (b: number): string => {
    const column = b === 0 ? 'column' : `column + ${b * across}u`;
    return isWhole || b === 0 ? column : `min(${column}, ${columns - 1}u)`;
  };
  const lines: string[] = [
    `let part = lane / ${across}u;`,
    `let column = ${isWhole ? `lane % ${across}u` : `min(lane % ${across}u, ${columns - 1}u)`};`,
    `for (var first = 0u; first < ${guarded ? 'count' : `${LANES}u`}; first += ${step}u) {`,
  ];
  for (const i of range(ahead)) {
    lines.push(
      `let entry${i} = first + ${i * parts}u + part;`,
      `let row${i} = subgroupShuffle(row, entry${i}) * ${columns}u;`,
    );
    for (const { name, weight } of sides) {
      lines.push(`let ${name}_weight${i} = subgroupShuffle(pair.${weight}, entry${i});`);
      for (const b of range(blocks)) {
        lines.push(`let ${name}${i}_${b} = load_${name}(${name}_base + row${i} + ${columnOf(b)});`);
      }
    }
  }
  for (const i of range(ahead)) {
    for (const { name } of sides) {
      for (const b of range(blocks)) {
        const sum = `${name}_sum${b}`;
        const added = `fma(vec4f(${name}_weight${i}), ${name}${i}_${b}, ${sum})`;
        lines.push(`${sum} = ${guarded ? `select(${sum}, ${added}, entry${i} < count)` : added};`);
      }
    }
  }
  lines.push('}');
  return `{ ${lines.join('\n    ')} }`;
}

/** Sides with equal columns go together: the list is read once, with twice the loads in flight. */
function addChunks(sides: readonly [Side, Side], most: number, guarded: boolean): string {
  const parts = sides[0].columns === sides[1].columns ? [sides] : sides.map((side) => [side]);
  return parts.map((part) => addChunk(part, most, guarded)).join('\n      ');
}

function gathering(
  { headDim, valueDim, layout }: GatherShape,
  most: number,
): {
  readonly text: string;
  readonly sides: readonly [Side, Side];
} {
  const sides = [sideOf('query', headDim), sideOf('gradient', valueDim)] as const;
  const sums = sides.flatMap((side) => range(side.blocks).map((b) => `${side.name}_sum${b}`));
  const text = `
${loadRow('query', layout)}
${loadRow('gradient', layout)}
${groupIndex}
${sums.map((sum) => `var<private> ${sum}: vec4f;`).join('\n')}
// Adds list entries start .. end - 1, 32 at a time.
fn gather(start: u32, end: u32, lane: u32) {
  let query_base = params.query_base / 4u;
  let gradient_base = params.gradient_base / 4u;
  for (var at = start; at < end; at += INVOCATIONS) {
    let count = min(INVOCATIONS, end - at);
    let mine = at + min(lane, count - 1u);
    let row = sorted_rows[mine];
    let pair = sorted_weights[mine];
    if (count == INVOCATIONS) {
      ${addChunks(sides, most, false)}
    } else {
      ${addChunks(sides, most, true)}
    }
  }
}
// Adds up the lanes that hold the same columns.
fn add_parts() {
  ${sides
    .flatMap((side) => {
      const steps: string[] = [];
      for (let distance = side.across; distance < LANES; distance *= 2) {
        for (const b of range(side.blocks)) {
          const sum = `${side.name}_sum${b}`;
          steps.push(`${sum} += subgroupShuffleXor(${sum}, ${distance}u);`);
        }
      }
      return steps;
    })
    .join('\n  ')}
}`;
  return { text, sides };
}

/** `body(sum, column, isKey)` for every vector of a row that this lane holds. */
function eachColumn(
  sides: readonly [Side, Side],
  body: (sum: string, column: string, side: Side) => string,
): string {
  return sides
    .flatMap((side) =>
      range(side.blocks).map((b) => {
        const column = `(lane + ${b * side.across}u)`;
        return `if (lane < ${side.across}u && ${column} < ${side.columns}u) { ${body(`${side.name}_sum${b}`, column, side)} }`;
      }),
    )
    .join('\n  ');
}

const main = `
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32)`;

/** As `plainPieces`: one subgroup of 32 per piece, entries in the lanes, no workgroup memory. */
export function subgroupPieces(shape: GatherShape): string {
  const { text, sides } = gathering(shape, AHEAD_OF_PIECES);
  const columns = sides[0].columns + sides[1].columns;
  return `${text}
${main} {
  let piece = group_index(group, groups);
  if (piece >= params.pieces) { return; }
  let ends = piece_keys[piece];
  if (ends.x == 0u || ends.x != ends.y) { return; }
  let start = piece * params.piece_entries;
  gather(start, start + params.piece_entries, lane);
  add_parts();
  let at = piece * ${columns}u;
  ${eachColumn(sides, (sum, column, { name }) => `sums[at + ${name === 'query' ? '' : `${sides[0].columns}u + `}${column}] = ${sum};`)}
}`;
}

/** As `plainKeys`: one subgroup of 32 per key, entries in the lanes, no workgroup memory. */
export function subgroupKeys(shape: GatherShape): string {
  const { text, sides } = gathering(shape, AHEAD_OF_KEYS);
  const columns = sides[0].columns + sides[1].columns;
  const store = (sum: string, column: string, { name, columns: own }: Side): string => {
    const side = name === 'query' ? 'key' : 'value';
    const value = name === 'query' ? `${sum} * params.scale` : sum;
    return `let at = params.${side}_result_base / 4u + key * ${own}u + ${column};
    var result = ${value};
    if (params.adds != 0u) { result += ${side}_result[at]; }
    ${side}_result[at] = result;`;
  };
  return `${text}
${main} {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let start = ranges[key].x;
  let end = start + ranges[key].y;
  let first_piece = (start + params.piece_entries - 1u) / params.piece_entries;
  let end_piece = end / params.piece_entries;
  let has_pieces = end_piece > first_piece;
  gather(start, select(end, first_piece * params.piece_entries, has_pieces), lane);
  if (has_pieces) { gather(end_piece * params.piece_entries, end, lane); }
  add_parts();
  for (var piece = first_piece; piece < end_piece; piece++) {
    let at = piece * ${columns}u;
    ${eachColumn(sides, (sum, column, { name }) => `${sum} += sums[at + ${name === 'query' ? '' : `${sides[0].columns}u + `}${column}];`)}
  }
  ${eachColumn(sides, store)}
}`;
}
