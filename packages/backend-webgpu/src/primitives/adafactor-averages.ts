import { type DefinedKernel, defineKernel, optional, read, write } from '../wgsl/define-kernel.js';
import {
  buffersOf,
  gradientText,
  INVOCATIONS,
  JOIN,
  keyOf,
  loadText,
  MAIN,
  type Row,
  type Rows,
  type Storage,
  type Variant,
} from './adafactor-text.js';
import { whichTensor } from './several-tensors.js';

// Choices; other numbers were not measured.
/** Rows that a workgroup sums, and the invocations that share one. */
const ROWS = 16;
const LANES = INVOCATIONS / ROWS;
/** Columns that a workgroup sums over a part of the rows. */
const COLUMNS = 64;
/** Columns whose parts a workgroup joins. */
const JOINED_COLUMNS = 16;
/** Rows of a part of a column's sum, and most parts. */
const PART_ROWS = 32;
const MOST_PARTS = 256;

/** Words of the sums of a parameter; a vector has width 0. */
export function sumWords(rows: number, width: number): number {
  return rows + width * partsOf(rows);
}

/** Workgroups of `squaresKernel` for a parameter. */
export function squaresWorkgroups(rows: number, width: number): number {
  return Math.ceil(rows / ROWS) + Math.ceil(width / COLUMNS) * partsOf(rows);
}

/** Workgroups of `averagesKernel` for a parameter. */
export function averagesWorkgroups(rows: number, width: number): number {
  return Math.ceil(rows / INVOCATIONS) + Math.ceil(width / JOINED_COLUMNS);
}

const partsOf = (rows: number): number => Math.max(1, Math.min(MOST_PARTS, Math.ceil(rows / PART_ROWS)));
/** The same in WGSL. */
const PARTS_TEXT = `clamp((rows + ${PART_ROWS - 1}u) / ${PART_ROWS}u, 1u, ${MOST_PARTS}u)`;

/**
 * Sums of g² + epsilon: of each row, and of each column over parts of the rows, [parts, width] behind the rows' sums. Width 0
 * is a vector, whose elements are rows of one.
 */
export const squaresKernel = (
  variant: Variant,
): DefinedKernel<Rows<'first' | 'rows' | 'width' | 'base'> & { readonly epsilon: 'f32' }, Storage> => {
  const { tensors, isScaled } = variant;
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: keyOf('squares', variant),
    uniforms: { epsilon: 'f32', first: row, rows: row, width: row, base: row },
    buffers: {
      sums: write('f32'),
      scale: optional(isScaled, read('f32')),
      ...buffersOf('raw_gradient', tensors),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${gradientText(variant)}
fn square_at(which: u32, at: u32) -> f32 {
  let g = gradient_at(which, at);
  return g * g + params.epsilon;
}
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'width', 'base'])}
  let own = group - first;
  let columns = max(width, 1u);
  let row_groups = (rows + ${ROWS - 1}u) / ${ROWS}u;
  let column_groups = max((width + ${COLUMNS - 1}u) / ${COLUMNS}u, 1u);
  let is_rows = own < row_groups;
  let row = own * ${ROWS}u + local / ${LANES}u;
  let rest = max(own, row_groups) - row_groups;
  let part = rest / column_groups;
  let column = rest % column_groups * ${COLUMNS}u + local % ${COLUMNS}u;
  let parts = ${PARTS_TEXT};
  let each = (rows + parts - 1u) / parts;
  var sum = 0.0;
  if (is_rows) {
    if (row < rows) {
      for (var at = local % ${LANES}u; at < columns; at += ${LANES}u) { sum += square_at(which, row * columns + at); }
    }
  } else if (column < width) {
    let end = min(rows, (part + 1u) * each);
    for (var at = part * each + local / ${COLUMNS}u; at < end; at += ${INVOCATIONS / COLUMNS}u) {
      sum += square_at(which, at * width + column);
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (is_rows) {
    if (local % ${LANES}u > 0u || row >= rows) { return; }
    for (var other = 1u; other < ${LANES}u; other++) { sum += joined[local + other]; }
    sums[base + row] = sum;
    return;
  }
  if (local >= ${COLUMNS}u || column >= width || part >= parts) { return; }
  for (var other = 1u; other < ${INVOCATIONS / COLUMNS}u; other++) { sum += joined[local + other * ${COLUMNS}u]; }
  sums[base + rows + part * width + column] = sum;
}`,
  });
};

/** The averages by row and by column, from those before and the sums. */
export const averagesKernel = (
  tensors: number,
): DefinedKernel<Rows<'first' | 'rows' | 'width' | 'base' | 'row_place' | 'column_place'>, Storage> => {
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: `adafactor averages ${tensors}`,
    uniforms: { first: row, rows: row, width: row, base: row, row_place: row, column_place: row },
    buffers: {
      sums: read('f32'),
      numbers: read('f32'),
      after: write('f32'),
      ...buffersOf('old_rows', tensors),
      ...buffersOf('old_columns', tensors),
    } as Storage,
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${loadText('old_rows', tensors)}
${loadText('old_columns', tensors)}
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'width', 'base', 'row_place', 'column_place'])}
  let own = group - first;
  let row_groups = (rows + INVOCATIONS - 1u) / INVOCATIONS;
  if (own < row_groups) {
    let row = own * INVOCATIONS + local;
    if (row < rows) {
      let now = sums[base + row] / f32(max(width, 1u));
      after[row_place + row] = old_rows_at(which, row) * numbers[0] + now * numbers[1];
    }
    return;
  }
  let column = (own - row_groups) * ${JOINED_COLUMNS}u + local % ${JOINED_COLUMNS}u;
  let parts = ${PARTS_TEXT};
  var sum = 0.0;
  if (column < width) {
    for (var part = local / ${JOINED_COLUMNS}u; part < parts; part += ${INVOCATIONS / JOINED_COLUMNS}u) {
      sum += sums[base + rows + part * width + column];
    }
  }
  joined[local] = sum;
  workgroupBarrier();
  if (local >= ${JOINED_COLUMNS}u || column >= width) { return; }
  for (var other = 1u; other < ${INVOCATIONS / JOINED_COLUMNS}u; other++) {
    sum += joined[local + other * ${JOINED_COLUMNS}u];
  }
  after[column_place + column] = old_columns_at(which, column) * numbers[0] + sum / f32(rows) * numbers[1];
}`,
  });
};

/** The mean of each tensor's averages by row; a workgroup takes one. */
export const meansKernel = (
  tensors: number,
): DefinedKernel<Rows<'first' | 'rows' | 'row_place'> & { readonly first_tensor: 'u32' }, Storage> => {
  const row: Row = ['u32', tensors];
  return defineKernel({
    key: `adafactor means ${tensors}`,
    uniforms: { first_tensor: 'u32', first: row, rows: row, row_place: row },
    buffers: { after: read('f32'), means: write('f32') },
    workgroup: INVOCATIONS,
    source: () => `var<workgroup> joined: array<f32, INVOCATIONS>;
${MAIN}
  ${whichTensor('group', tensors, ['rows', 'row_place'])}
  var sum = 0.0;
  for (var at = local; at < rows; at += INVOCATIONS) { sum += after[row_place + at]; }
  joined[local] = sum;
  ${JOIN}
  if (local == 0u) { means[params.first_tensor + which] = joined[0] / f32(rows); }
}`,
  });
};
