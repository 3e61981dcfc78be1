import { lines, range } from '../../wgsl/text.js';
import type { ExactParameters } from './parameters.js';
import { type ExactTile, paddedDim, tileKeys, tileMemory, tileQueries } from './tile.js';

/** Copies 4 x 4 blocks, transposed: dim by dim, groups of 4 rows. Rows past the end are zero. */
function stageRows(
  { threads, dims }: ExactTile,
  from: { readonly load: string; readonly start: string; readonly row0: string; readonly rowEnd: string },
  offset: number,
  stride: number,
  rowCount: number,
): string {
  const { load, start, row0, rowEnd } = from;
  const blocks = (rowCount / 4) * (dims / 4);
  const rowsText = range(4).map(
    (i) =>
      `select(vec4f(0), ${load}(${start}, min(row + ${i}u, ${rowEnd} - 1u), dim), row + ${i}u < ${rowEnd})`,
  );
  return `for (var i = thread; i < ${blocks}u; i += ${threads}u) {
      let dim = dim0 + 4u * (i % ${dims / 4}u);
      let row = ${row0} + 4u * (i / ${dims / 4}u);
      let block = transpose(mat4x4f(${rowsText.join(', ')}));
      let at = ${offset}u + 4u * (i % ${dims / 4}u) * ${stride}u + i / ${dims / 4}u;
      ${range(4)
        .map((i) => `stage[at + ${i * stride}u] = block[${i}];`)
        .join(' ')}
    }`;
}

/** Dot products of the thread's queries and keys, in slices of the dims. */
export function scores(p: ExactParameters): string {
  const { tile } = p;
  const { queryStride, keyStride } = tileMemory(tile, p.valueDim);
  const keyOffset = tile.dims * queryStride;
  const rows = range(tile.rows);
  const down = tile.threads / tile.columns;
  const queries = { load: 'loadQuery', start: 'qStart', row0: 'tileQuery', rowEnd: 'queryEnd' };
  const keys = { load: 'loadKey', start: 'kStart', row0: 'key0', rowEnd: 'params.key_length' };
  return `
${lines(rows.map((r) => `    var s${r} = vec4f(0);`))}
    for (var dim0 = 0u; dim0 < ${paddedDim(tile, p.headDim)}u; dim0 += ${tile.dims}u) {
    workgroupBarrier();
    ${stageRows(tile, queries, 0, queryStride, tileQueries(tile))}
    ${stageRows(tile, keys, keyOffset, keyStride, tileKeys(tile))}
    workgroupBarrier();
    for (var dim = 0u; dim < ${tile.dims}u; dim++) {
${lines(range(tile.rows / 4).map((g) => `      let a${g} = stage[dim * ${queryStride}u + ty + ${g * down}u];`))}
      let b = stage[${keyOffset}u + dim * ${keyStride}u + tx];
${lines(rows.map((r) => `      s${r} = fma(vec4f(a${r >> 2}[${r & 3}]), b, s${r});`))}
    }
    }`;
}

/** Scale, biases, and the bits of -inf for hidden keys; NaN and +inf mark their row. */
export function validity(p: ExactParameters): string {
  const { tile } = p;
  const each = (body: (r: number) => string): string => lines(range(tile.rows).map(body));
  const keys = '(vec4u(key0 + 4u * tx) + vec4u(0, 1, 2, 3))';
  // Hidden keys of the padding read elements that exist: their scores are replaced afterwards.
  const inside = `min(${keys}, vec4u(params.key_length - 1u))`;
  const row = (r: number): string => `min(query${r}, params.query_length - 1u)`;
  const biased = each((r) => {
    const at = `at${r}`;
    const stride = 'params.bias_stride';
    return `    { let ${at} = vec4u(batch * ${stride}.x + headOfBatch * ${stride}.y + ${row(r)} * ${stride}.z) + ${inside} * ${stride}.w;
      s${r} += vec4f(bias[${at}.x], bias[${at}.y], bias[${at}.z], bias[${at}.w]); }`;
  });
  const relative = each(
    (r) => `    { let far = vec4i(${inside}) - vec4i(i32(${row(r)}) + params.query_start);
      let at = vec4u(clamp(far, vec4i(-reach), vec4i(reach)) + vec4i(reach)) + vec4u(relativeStart);
      s${r} += vec4f(relative[at.x], relative[at.y], relative[at.z], relative[at.w]); }`,
  );
  const masked = (r: number): string => `{ let stride = params.mask_stride;
      let at = vec4u(batch * stride.x + headOfBatch * stride.y + ${row(r)} * stride.z) + ${inside} * stride.w;
      seen = seen & (vec4u(mask[at.x], mask[at.y], mask[at.z], mask[at.w]) != vec4u(0)); }`;
  const hiding = each(
    (r) => `      { var seen = vec4i(${keys}) < vec4i(${
      p.causal ? `min(visible, i32(query${r}) + params.query_start + 1)` : 'visible'
    });
      ${p.mask ? masked(r) : ''}
      s${r} = select(vec4f(hidden), s${r}, seen); }`,
  );
  return lines([
    each((r) => `    s${r} *= params.scale;`),
    p.bias ? biased : '',
    p.relativeBias ? relative : '',
    // A bound unknown to the compiler keeps it from evaluating the infinity, which it would reject.
    `    let hidden = bitcast<f32>(HIDDEN + (params.heads & 0u));`,
    // Nor may it replace -0 by 0.
    `    let unseen = bitcast<f32>(UNSEEN + (params.heads & 0u));`,
    `    if (${p.mask ? 'true' : `i32(key0) + ${tileKeys(tile)} > allSee`}) {`,
    hiding,
    '    }',
    each(
      (r) => `    if (any(notFinite(s${r}))) {
      let wrong = notFinite(s${r}) & !isHidden(s${r});
      bad${r} = bad${r} | any(wrong);
      s${r} = select(s${r}, vec4f(hidden), wrong);
    }`,
    ),
  ]);
}
