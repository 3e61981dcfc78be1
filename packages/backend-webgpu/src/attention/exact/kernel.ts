import type { Kernel } from '../../runtime/kernel.js';
import { loadVector, storageType, storeVector } from './storage.js';
import { type ExactTile, paddedDim, tileKeys, tileMemory, tileQueries, valueVectors } from './tile.js';

/** What the text of the exact kernel depends on. */
export interface ExactParameters {
  readonly tile: ExactTile;
  readonly headDim: number;
  readonly valueDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly mask: boolean;
  readonly keyLengths: boolean;
  readonly bias: boolean;
  readonly relativeBias: boolean;
  readonly dropout: boolean;
}

/**
 * Exact attention of a tile of queries of one head: scores of a tile of keys in registers, softmax with a running
 * maximum (Milakov and Gimelshein 2018), product with the values; scores are never stored.
 *
 * One pass over q and out, one pass over k and v per tile of queries. Workgroup memory: `tileBytes`. Assumes nothing
 * beyond core WebGPU. A hidden key has the bits of -inf for a score and weight 0; its value row, whatever it holds,
 * adds nothing. A NaN or +inf in a valid score makes its row NaN.
 */
export function exactKernel(parameters: ExactParameters): Kernel {
  const { mask, bias, relativeBias } = parameters;
  return {
    key: `exact ${JSON.stringify(parameters)}`,
    buffers: [
      'read',
      'read',
      'read',
      'write',
      ...(hasAux(parameters) ? (['read'] as const) : []),
      ...(mask ? (['read'] as const) : []),
      ...(bias ? (['read'] as const) : []),
      ...(relativeBias ? (['read'] as const) : []),
    ],
    source: () => source(parameters),
  };
}

/** Whether there is a buffer of key lengths and, behind them, buckets. */
export function hasAux({ keyLengths, relativeBias }: Pick<ExactParameters, 'keyLengths' | 'relativeBias'>): boolean {
  return keyLengths || relativeBias;
}

const range = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index);
const lines = (parts: readonly string[]): string => parts.filter((part) => part !== '').join('\n');

function source(p: ExactParameters): string {
  const { tile } = p;
  const memory = tileMemory(tile, p.headDim, p.valueDim);
  return lines([
    declarations(p),
    workgroupMemory(memory, tile),
    loadVector('loadQuery', 'q', p.headDim, p.dtype),
    loadVector('loadKey', 'k', p.headDim, p.dtype),
    loadVector('loadValue', 'v', p.valueDim, p.dtype),
    storeVector('storeOutput', 'out', p.valueDim, p.dtype),
    numbers,
    p.dropout ? philox : '',
    mainFunction(p),
  ]);
}

function declarations(p: ExactParameters): string {
  const buffers: readonly string[] = [
    `var<storage, read> q: array<${storageType(p.headDim, p.dtype)}>;`,
    `var<storage, read> k: array<${storageType(p.headDim, p.dtype)}>;`,
    `var<storage, read> v: array<${storageType(p.valueDim, p.dtype)}>;`,
    `var<storage, read_write> out: array<${storageType(p.valueDim, p.dtype)}>;`,
    ...(hasAux(p) ? ['var<storage, read> lengths: array<i32>;'] : []),
    ...(p.mask ? ['var<storage, read> mask: array<u32>;'] : []),
    ...(p.bias ? ['var<storage, read> bias: array<f32>;'] : []),
    ...(p.relativeBias ? ['var<storage, read> table: array<f32>;'] : []),
  ];
  return `struct Params {
  queryLength: u32, keyLength: u32, queryHeads: u32, keyHeads: u32,
  firstHead: u32, heads: u32, firstQuery: u32, queries: u32,
  firstKeyHead: u32, qBase: u32, kBase: u32, vBase: u32,
  outBase: u32, scale: f32, bucketStart: u32, reach: i32,
  maskStride: vec4u,
  biasStride: vec4u,
  seedLow: u32, seedHigh: u32, threshold: u32, keptScale: f32,
}
@group(0) @binding(0) var<uniform> params: Params;
${lines(buffers.map((text, index) => `@group(0) @binding(${index + 1}) ${text}`))}`;
}

function workgroupMemory(memory: ReturnType<typeof tileMemory>, tile: ExactTile): string {
  return lines([
    tile.residentQueries ? `var<workgroup> queryTile: array<vec4f, ${memory.queries}>;` : '',
    `var<workgroup> stage: array<vec4f, ${memory.stage}>;`,
    `var<workgroup> weights: array<vec4f, ${memory.weights}>;`,
    `var<workgroup> maxima: array<vec4f, ${memory.maxima}>;`,
    'var<workgroup> hasBadValue: atomic<u32>;',
  ]);
}

const numbers = `const LOWEST = -3.40282346e38;
const HIDDEN = 0xff800000u;
fn notFinite(x: vec4f) -> vec4<bool> { return (bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u); }
fn isHidden(x: vec4f) -> vec4<bool> { return bitcast<vec4u>(x) == vec4u(HIDDEN); }`;

/** Philox4x32-10, word 0, as in core. */
const philox = `fn mulHigh(a: u32, b: u32) -> u32 {
  let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
  let middle = ah * bl + ((al * bl) >> 16u);
  let carry = (middle & 0xffffu) + al * bh;
  return ah * bh + (middle >> 16u) + (carry >> 16u);
}
fn isKept(batch: u32, head: u32, query: u32, key: u32) -> bool {
  var c = vec4u(batch, head, query, key);
  var seed = vec2u(params.seedLow, params.seedHigh);
  for (var round = 0u; round < 10u; round++) {
    let high = vec2u(mulHigh(0xd2511f53u, c.x), mulHigh(0xcd9e8d57u, c.z));
    c = vec4u(high.y ^ c.y ^ seed.x, 0xcd9e8d57u * c.z, high.x ^ c.w ^ seed.y, 0xd2511f53u * c.x);
    seed += vec2u(0x9e3779b9u, 0xbb67ae85u);
  }
  return c.x >= params.threshold;
}`;

function mainFunction(p: ExactParameters): string {
  const { tile } = p;
  const queries = tileQueries(tile);
  const keys = tileKeys(tile);
  const dims = paddedDim(tile, p.headDim);
  const rows = range(tile.rows);
  const columns = range(valueVectors(tile, p.valueDim));
  return `
@compute @workgroup_size(${tile.threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let tilesOfHead = (params.queries + ${queries - 1}u) / ${queries}u;
  let job = group.x + group.y * groups.x;
  if (job >= tilesOfHead * params.heads) { return; }
  // Queries that see the most keys come first, so that no long tile is left for the end.
  let head = job / tilesOfHead;
  let tileQuery = params.firstQuery + (tilesOfHead - 1u - job % tilesOfHead) * ${queries}u;
  let queryEnd = params.firstQuery + params.queries;
  let batch = (params.firstHead + head) / params.queryHeads;
  let headOfBatch = (params.firstHead + head) % params.queryHeads;
  let keyHead = batch * params.keyHeads + headOfBatch * params.keyHeads / params.queryHeads - params.firstKeyHead;
  let qStart = params.qBase + (head * params.queryLength - params.firstQuery) * ${p.headDim}u;
  let outStart = params.outBase + (head * params.queryLength - params.firstQuery) * ${p.valueDim}u;
  let kStart = params.kBase + keyHead * params.keyLength * ${p.headDim}u;
  let vStart = params.vBase + keyHead * params.keyLength * ${p.valueDim}u;
  let shift = i32(params.keyLength) - i32(params.queryLength);
  var visible = i32(params.keyLength);
  ${p.keyLengths ? 'visible = min(visible, lengths[batch]);' : ''}
  // Keys below the first bound are valid for every query of the tile, from the second on for none.
  var allSee = visible;
  ${p.causal ? `allSee = min(visible, i32(tileQuery) + shift + 1);\nvisible = min(visible, i32(min(tileQuery + ${queries}u, queryEnd)) + shift);` : ''}
  let keyTiles = u32(max(visible + ${keys - 1}, 0)) / ${keys}u;
  let tx = thread % ${tile.columns}u;
  let ty = thread / ${tile.columns}u;
  if (thread == 0u) { atomicStore(&hasBadValue, 0u); }
${lines(rows.map((r) => `  let query${r} = tileQuery + ${rowText(tile, r)};`))}
${lines(rows.map((r) => `  var top${r} = LOWEST; var total${r} = 0.0; var bad${r} = false;`))}
${lines(rows.map((r) => columns.map((c) => `  var sum${r}_${c} = vec4f(0);`).join('')))}
  ${tile.residentQueries ? `${stageQueries(p, 'queryTile', '0u', dims)}` : ''}
  for (var keyTile = 0u; keyTile < keyTiles; keyTile++) {
    let key0 = keyTile * ${keys}u;
${scores(p)}
${validity(p)}
${softmax(p)}
${product(p)}
  }
${finish(p)}
}`;
}

/** The place of row r of a thread in the tile of queries: 4 neighbours, then the next group of 4. */
function rowText(tile: ExactTile, row: number): string {
  const rowsApart = 4 * (tile.threads / tile.columns);
  return `ty * 4u + ${(row >> 2) * rowsApart + (row & 3)}u`;
}

/** Copies 4 x 4 blocks, transposed: dim by dim, groups of 4 rows. Rows past the end are zero. */
function stageRows(
  p: ExactParameters,
  load: string,
  start: string,
  into: string,
  offset: number,
  stride: number,
  rowCount: number,
  row0: string,
  rowEnd: string,
  dim0: string,
  dims: number,
): string {
  const blocks = (rowCount / 4) * (dims / 4);
  const rowsText = range(4).map(
    (i) =>
      `select(vec4f(0), ${load}(${start}, min(row + ${i}u, ${rowEnd} - 1u), dim), row + ${i}u < ${rowEnd})`,
  );
  return `for (var i = thread; i < ${blocks}u; i += ${p.tile.threads}u) {
      let dim = ${dim0} + 4u * (i % ${dims / 4}u);
      let row = ${row0} + 4u * (i / ${dims / 4}u);
      let block = transpose(mat4x4f(${rowsText.join(', ')}));
      let at = ${offset}u + 4u * (i % ${dims / 4}u) * ${stride}u + i / ${dims / 4}u;
      ${range(4)
        .map((i) => `${into}[at + ${i * stride}u] = block[${i}];`)
        .join(' ')}
    }`;
}

function stageQueries(p: ExactParameters, into: string, dim0: string, dims: number): string {
  const { queryStride } = tileMemory(p.tile, p.headDim, p.valueDim);
  return stageRows(p, 'loadQuery', 'qStart', into, 0, queryStride, tileQueries(p.tile), 'tileQuery', 'queryEnd', dim0, dims);
}

function scores(p: ExactParameters): string {
  const { tile } = p;
  const { queryStride, keyStride } = tileMemory(tile, p.headDim, p.valueDim);
  const keyOffset = tile.residentQueries ? 0 : tile.dims * queryStride;
  const groups = range(tile.rows / 4);
  const vectors = range(tile.keyVectors);
  const down = tile.threads / tile.columns;
  const [queryMemory, queryDim] = tile.residentQueries ? ['queryTile', 'dim0 + dim'] : ['stage', 'dim'];
  return `
${lines(range(tile.rows).map((r) => vectors.map((c) => `    var s${r}_${c} = vec4f(0);`).join('')))}
    for (var dim0 = 0u; dim0 < ${paddedDim(tile, p.headDim)}u; dim0 += ${tile.dims}u) {
    workgroupBarrier();
    ${tile.residentQueries ? '' : stageQueries(p, 'stage', 'dim0', tile.dims)}
    ${stageRows(p, 'loadKey', 'kStart', 'stage', keyOffset, keyStride, tileKeys(tile), 'key0', 'params.keyLength', 'dim0', tile.dims)}
    workgroupBarrier();
    for (var dim = 0u; dim < ${tile.dims}u; dim++) {
${lines(groups.map((g) => `      let a${g} = ${queryMemory}[(${queryDim}) * ${queryStride}u + ty + ${g * down}u];`))}
${lines(vectors.map((c) => `      let b${c} = stage[${keyOffset}u + dim * ${keyStride}u + tx + ${c * tile.columns}u];`))}
${lines(
  range(tile.rows).map((r) =>
    vectors.map((c) => `      s${r}_${c} = fma(vec4f(a${r >> 2}[${r & 3}]), b${c}, s${r}_${c});`).join(''),
  ),
)}
    }
    }`;
}

/** Scale, biases, and the bits of -inf for hidden keys; NaN and +inf mark their row. */
function validity(p: ExactParameters): string {
  const { tile } = p;
  const each = (body: (r: number, c: number) => string): string =>
    lines(range(tile.rows).flatMap((r) => range(tile.keyVectors).map((c) => body(r, c))));
  const keysOf = (c: number): string => `(vec4u(key0 + 4u * (tx + ${c * tile.columns}u)) + vec4u(0, 1, 2, 3))`;
  // Hidden keys of the padding read elements that exist: their scores are replaced afterwards.
  const inside = (c: number): string => `min(${keysOf(c)}, vec4u(params.keyLength - 1u))`;
  const row = (r: number): string => `min(query${r}, params.queryLength - 1u)`;
  const biased = each((r, c) => {
    const at = `at${r}_${c}`;
    const stride = 'params.biasStride';
    return `    { let ${at} = vec4u(batch * ${stride}.x + headOfBatch * ${stride}.y + ${row(r)} * ${stride}.z) + ${inside(c)} * ${stride}.w;
      s${r}_${c} += vec4f(bias[${at}.x], bias[${at}.y], bias[${at}.z], bias[${at}.w]); }`;
  });
  const relative = each(
    (r, c) => `    { let far = vec4i(${inside(c)}) - vec4i(i32(${row(r)}) + shift);
      let at = vec4u(clamp(far, vec4i(-params.reach), vec4i(params.reach)) + vec4i(params.reach)) + vec4u(params.bucketStart);
      let slot = vec4u(vec4i(lengths[at.x], lengths[at.y], lengths[at.z], lengths[at.w])) * params.queryHeads + vec4u(headOfBatch);
      s${r}_${c} += vec4f(table[slot.x], table[slot.y], table[slot.z], table[slot.w]); }`,
  );
  const masked = (r: number, c: number): string => `{ let stride = params.maskStride;
      let at = vec4u(batch * stride.x + headOfBatch * stride.y + ${row(r)} * stride.z) + ${inside(c)} * stride.w;
      seen = seen & (vec4u(mask[at.x], mask[at.y], mask[at.z], mask[at.w]) != vec4u(0)); }`;
  const hiding = each(
    (r, c) => `      { var seen = vec4i(${keysOf(c)}) < vec4i(${
      p.causal ? `min(visible, i32(query${r}) + shift + 1)` : 'visible'
    });
      ${p.mask ? masked(r, c) : ''}
      s${r}_${c} = select(vec4f(hidden), s${r}_${c}, seen); }`,
  );
  return lines([
    each((r, c) => `    s${r}_${c} *= params.scale;`),
    p.bias ? biased : '',
    p.relativeBias ? relative : '',
    // A bound that the compiler does not know keeps it from evaluating the infinity, which it would reject.
    `    let hidden = bitcast<f32>(HIDDEN + (params.heads & 0u));`,
    `    if (${p.mask ? 'true' : `i32(key0) + ${tileKeys(tile)} > allSee`}) {`,
    hiding,
    '    }',
    each(
      (r, c) => `    if (any(notFinite(s${r}_${c}))) {
      let wrong = notFinite(s${r}_${c}) & !isHidden(s${r}_${c});
      bad${r} = bad${r} | any(wrong);
      s${r}_${c} = select(s${r}_${c}, vec4f(hidden), wrong);
    }`,
    ),
  ]);
}

function softmax(p: ExactParameters): string {
  const { tile } = p;
  const rows = range(tile.rows);
  const vectors = range(tile.keyVectors);
  const down = tile.threads / tile.columns;
  const quads = tileQueries(tile) / 4;
  const keyQuads = tileKeys(tile) / 4;
  return lines([
    ...rows.map((r) => {
      const largest = vectors
        .map((c) => `select(s${r}_${c}, vec4f(LOWEST), isHidden(s${r}_${c}))`)
        .reduce((a, b) => `max(${a}, ${b})`);
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
    ...rows.flatMap((r) =>
      vectors.map((c) => {
        const key = `key0 + 4u * (tx + ${c * tile.columns}u)`;
        const kept = range(4).map((i) => `isKept(batch, headOfBatch, query${r}, ${key} + ${i}u)`);
        const weight = p.dropout ? `select(vec4f(0), w * params.keptScale, vec4<bool>(${kept.join(', ')}))` : 'w';
        return `    { let w = select(exp(s${r}_${c} - top${r}), vec4f(0), isHidden(s${r}_${c}));
      total${r} += w.x + w.y + w.z + w.w;
      weights[(${rowText(tile, r)}) * ${keyQuads}u + tx + ${c * tile.columns}u] = ${weight}; }`;
      }),
    ),
  ]);
}

function product(p: ExactParameters): string {
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
      let value = select(vec4f(0), loadValue(vStart, min(key, params.keyLength - 1u), column), key < params.keyLength);
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
    // 0 * NaN is NaN: keys without weight are left out. Rare, so the text is short.
    for (var at = 0u; at < ${tile.values}u; at++) {
${lines(columns.map((c) => `      let v${c} = stage[at * ${width}u + tx + ${c * tile.columns}u];`))}
${lines(rows.map((r) => `      let w${r} = weights[(${rowText(tile, r)}) * ${keyQuads}u + quad0 + at / 4u][at & 3u];`))}
${lines(rows.map((r) => `      if (w${r} > 0.0) { ${columns.map((c) => `sum${r}_${c} += w${r} * v${c};`).join(' ')} }`))}
    }
    }
    }`;
}

/** Sums of the rows over their threads, division, output. */
function finish(p: ExactParameters): string {
  const { tile } = p;
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
  return lines([
    reduce('all', (r) => `total${r}`),
    reduce('wrong', (r) => `select(0.0, 1.0, bad${r})`),
    '  let nan = bitcast<f32>(0x7fc00000u + (params.heads & 0u));',
    ...range(tile.rows).flatMap((r) => {
      const [g, at] = [r >> 2, r & 3];
      return [
        `  if (query${r} < queryEnd) {`,
        `    let share = select(0.0, 1.0 / all${g}[${at}], all${g}[${at}] > 0.0);`,
        ...range(valueVectors(tile, p.valueDim)).map((c) => {
          const value = `select(sum${r}_${c} * share, vec4f(nan), vec4<bool>(wrong${g}[${at}] > 0.0))`;
          return `    storeOutput(outStart, query${r}, 4u * (tx + ${c * tile.columns}u), ${value});`;
        }),
        '  }',
      ];
    }),
  ]);
}
