import { lines, range } from '../../wgsl/text.js';
import type { ExactParameters } from './parameters.js';
import { rowText, tileKeys, tileQueries, valueVectors } from './tile.js';

/** The running maximum of each row, and the weights of the step, which go to workgroup memory. */
export function softmax(p: ExactParameters): string {
  const { tile } = p;
  const rows = range(tile.rows);
  const down = tile.threads / tile.columns;
  const quads = tileQueries(tile) / 4;
  const keyQuads = tileKeys(tile) / 4;
  return lines([
    ...rows.map((r) => {
      const largest = `select(s${r}, vec4f(LOWEST), isHidden(s${r}))`;
      return `    let m${r} = ${largest}; let own${r} = max(max(m${r}.x, m${r}.y), max(m${r}.z, m${r}.w));`;
    }),
    ...range(tile.rows / 4).map(
      (g) =>
        `    maxima[tx * ${quads}u + ty + ${g * down}u] = vec4f(own${4 * g}, own${4 * g + 1}, own${4 * g + 2}, own${4 * g + 3});`,
    ),
    '    workgroupBarrier();',
    ...range(tile.rows / 4).map((g) => {
      const all = range(tile.columns).map((x) => `maxima[${x * quads}u + ty + ${g * down}u]`);
      const old = `vec4f(top${4 * g}, top${4 * g + 1}, top${4 * g + 2}, top${4 * g + 3})`;
      return `    var new${g} = ${old};\n${lines(all.map((one) => `    new${g} = max(new${g}, ${one});`))}
    let fade${g} = exp(${old} - new${g});`;
    }),
    ...rows.map((r) => {
      const [g, at] = [r >> 2, r & 3];
      const fading = range(valueVectors(tile, p.valueDim)).map((c) => `sum${r}_${c} *= fade${g}[${at}];`);
      return `    top${r} = new${g}[${at}]; total${r} *= fade${g}[${at}]; ${fading.join(' ')}`;
    }),
    ...rows.map((r) => {
      const weight = p.dropout
        ? `select(select(vec4f(0), w * params.kept_scale, are_kept(vec4u(batch, headOfBatch, query${r}, key0 + 4u * tx))), vec4f(unseen), isOut)`
        : 'w';
      return `    { let isOut = isHidden(s${r}); let w = select(exp(s${r} - top${r}), vec4f(unseen), isOut);
      total${r} += w.x + w.y + w.z + w.w;
      weights[(${rowText(tile, r)}) * ${keyQuads}u + tx] = ${weight}; }`;
    }),
  ]);
}

/** Sums of weighted values, in slices of the keys. */
export function product(p: ExactParameters): string {
  const { tile } = p;
  const keyQuads = tileKeys(tile) / 4;
  const width = valueVectors(tile, p.valueDim) * tile.columns;
  const rows = range(tile.rows);
  const columns = range(valueVectors(tile, p.valueDim));
  const loads = lines([
    ...rows.map((r) => `      let w${r} = weights[(${rowText(tile, r)}) * ${keyQuads}u + quad];`),
    ...range(4).flatMap((i) =>
      columns.map(
        (c) =>
          `      let v${i}_${c} = stage[((quad - quad0) * 4u + ${i}u) * ${width}u + tx + ${c * tile.columns}u];`,
      ),
    ),
  ]);
  const products = lines(
    rows.flatMap((r) =>
      range(4).flatMap((i) =>
        columns.map((c) => `      sum${r}_${c} = fma(vec4f(w${r}[${i}]), v${i}_${c}, sum${r}_${c});`),
      ),
    ),
  );
  return `
    for (var quad0 = 0u; quad0 < ${keyQuads}u; quad0 += ${tile.values / 4}u) {
    workgroupBarrier();
    for (var i = thread; i < ${tile.values * width}u; i += ${tile.threads}u) {
      let key = key0 + quad0 * 4u + i / ${width}u;
      let column = 4u * (i % ${width}u);
      let value = select(vec4f(0), loadValue(vStart, min(key, params.key_length - 1u), column), key < params.key_length);
      if (any(notFinite(value))) { atomicStore(&hasBadValue, 1u); }
      stage[i] = value;
    }
    workgroupBarrier();
    if (atomicLoad(&hasBadValue) == 0u) {
    for (var quad = quad0; quad < quad0 + ${tile.values / 4}u; quad++) {
${loads}
${products}
    }
    } else {
    // 0 * NaN is NaN: hidden keys are left out. Rare, so the text is short.
    for (var at = 0u; at < ${tile.values}u; at++) {
${lines(columns.map((c) => `      let v${c} = stage[at * ${width}u + tx + ${c * tile.columns}u];`))}
${lines(rows.map((r) => `      let w${r} = weights[(${rowText(tile, r)}) * ${keyQuads}u + quad0 + at / 4u][at & 3u];`))}
${lines(rows.map((r) => `      if (bitcast<u32>(w${r}) != UNSEEN) { ${columns.map((c) => `sum${r}_${c} += w${r} * v${c};`).join(' ')} }`))}
    }
    }
    }`;
}

/** `all<g>` and `wrong<g>`: totals of the rows over their threads, and how many of these met a score of NaN or +inf. */
function rowTotals({ tile }: ExactParameters): string {
  const quads = tileQueries(tile) / 4;
  const down = tile.threads / tile.columns;
  const groups = range(tile.rows / 4);
  const vector = (g: number, text: (r: number) => string): string =>
    `vec4f(${range(4)
      .map((i) => text(4 * g + i))
      .join(', ')})`;
  const reduce = (name: string, own: (r: number) => string): string =>
    lines([
      '  workgroupBarrier();',
      ...groups.map((g) => `  maxima[tx * ${quads}u + ty + ${g * down}u] = ${vector(g, own)};`),
      '  workgroupBarrier();',
      ...groups.map((g) => {
        const all = range(tile.columns).map((x) => `maxima[${x * quads}u + ty + ${g * down}u]`);
        return `  let ${name}${g} = ${all.join(' + ')};`;
      }),
    ]);
  return lines([reduce('all', (r) => `total${r}`), reduce('wrong', (r) => `select(0.0, 1.0, bad${r})`)]);
}

/** Sums of the rows over their threads, division, output. */
export function finish(p: ExactParameters): string {
  const { tile } = p;
  return lines([
    rowTotals(p),
    '  let nan = bitcast<f32>(0x7fc00000u + (params.heads & 0u));',
    ...range(tile.rows).flatMap((r) => {
      const [g, at] = [r >> 2, r & 3];
      return [
        `  if (query${r} < queryEnd) {`,
        `    let share = ${p.sigmoid ? '1.0' : `select(0.0, 1.0 / all${g}[${at}], all${g}[${at}] > 0.0)`};`,
        ...range(valueVectors(tile, p.valueDim)).map((c) => {
          const value = `select(sum${r}_${c} * share, vec4f(nan), vec4<bool>(wrong${g}[${at}] > 0.0))`;
          return `    storeOutput(outStart, query${r}, 4u * (tx + ${c * tile.columns}u), ${value});`;
        }),
        '  }',
      ];
    }),
  ]);
}

/** What `recordJoin` reads: per segment and row the sums, then (maximum, total, whether a score is NaN or +inf). */
export function storeSegment(p: ExactParameters): string {
  const { tile } = p;
  const fours = Math.ceil(p.valueDim / 4);
  return lines([
    rowTotals(p),
    ...range(tile.rows).flatMap((r) => {
      const [g, at] = [r >> 2, r & 3];
      return [
        `  if (query${r} < queryEnd) {`,
        `    let row = (segment * params.heads + head) * params.queries + query${r} - params.first_query;`,
        ...range(valueVectors(tile, p.valueDim)).map(
          (c) =>
            `    if (tx + ${c * tile.columns}u < ${fours}u) { sums[row * ${fours + 1}u + tx + ${c * tile.columns}u] = sum${r}_${c}; }`,
        ),
        `    if (tx == 0u) { sums[row * ${fours + 1}u + ${fours}u] = vec4f(top${r}, all${g}[${at}], wrong${g}[${at}], 0.0); }`,
        '  }',
      ];
    }),
  ]);
}
