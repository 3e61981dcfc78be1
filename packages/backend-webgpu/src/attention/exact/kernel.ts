import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, readFrom, write, writeTo } from '../../wgsl/define-kernel.js';
import { halvesOf } from '../../wgsl/numbers.js';
import { lines, range } from '../../wgsl/text.js';
import { dropoutKeeps } from '../shared/dropout.js';
import { geometryUniforms, keyHeadOf, type PartGeometry } from '../shared/geometry.js';
import { type OptionSpans, optionBuffers } from '../shared/options.js';
import { scores, validity } from './kernel-scores.js';
import { sigmoidFunctions, sigmoidWeights } from './kernel-sigmoid.js';
import { finish, product, softmax, storeSegment } from './kernel-softmax.js';
import type { ExactParameters } from './parameters.js';
import { loadVector, storageType, storeVector } from './storage.js';
import { rowText, tileKeys, tileMemory, tileQueries, valueVectors } from './tile.js';

/**
 * Exact attention of a tile of queries of one head: scores of a tile of keys in registers, softmax with a running
 * maximum (Milakov and Gimelshein 2018), product with the values; scores are never stored.
 *
 * One pass over q and out, one pass over k and v per tile of queries. Workgroup memory: `tileBytes`. Assumes nothing
 * beyond core WebGPU. A hidden key has the bits of -inf as its score and those of -0 as its weight; its value row adds
 * nothing, whatever it holds. A weight that rounding or dropout makes 0 is +0: times NaN or inf, it gives NaN. A NaN
 * or +inf in a valid score makes its row NaN.
 */
const exactKernel = kernelFamily('exact', (p: ExactParameters) => ({
  uniforms: { ...geometryUniforms, segments: 'u32', shift: 'f32' },
  buffers: {
    q: readFrom(storageType(p.headDim, p.dtype)),
    k: readFrom(storageType(p.headDim, p.dtype)),
    v: readFrom(storageType(p.valueDim, p.dtype)),
    out: optional(!p.segmented, writeTo(storageType(p.valueDim, p.dtype))),
    sums: optional(p.segmented, write('vec4f')),
    ...optionBuffers(p),
  },
  workgroup: p.tile.threads,
  source: () => source(p),
}));

/** A part of a call, with what it reads and writes. */
export interface ExactCall {
  readonly geometry: PartGeometry;
  readonly segments: number;
  readonly q: Binding;
  readonly k: Binding;
  readonly v: Binding;
  readonly out?: Binding;
  readonly sums?: Span;
  readonly options: OptionSpans;
  /** Added to each score before its sigmoid; unused with softmax. */
  readonly shift: number;
}

/**
 * Records the part of `geometry`. `sums`: what the segments leave for `recordJoin`; without segments, `out` takes
 * their place.
 */
export function recordExactTiles(
  stream: Stream,
  parameters: ExactParameters,
  { geometry, segments, options, shift, ...buffers }: ExactCall,
): void {
  exactKernel(parameters).launch(stream, {
    uniforms: { ...geometry, segments, shift },
    buffers: { ...buffers, ...options },
    workgroups: segments * geometry.heads * Math.ceil(geometry.queries / tileQueries(parameters.tile)),
  });
}

function source(p: ExactParameters): string {
  const { tile } = p;
  const memory = tileMemory(tile, p.valueDim);
  return lines([
    keyHeadOf,
    workgroupMemory(memory),
    loadVector('loadQuery', 'q', p.headDim, p.dtype),
    loadVector('loadKey', 'k', p.headDim, p.dtype),
    loadVector('loadValue', 'v', p.valueDim, p.dtype),
    p.dtype === 'f16' && !p.segmented ? halvesOf : '',
    p.segmented ? '' : storeVector('storeOutput', 'out', p.valueDim, p.dtype),
    numbers,
    p.sigmoid ? sigmoidFunctions : '',
    p.dropout ? dropoutKeeps : '',
    mainFunction(p),
  ]);
}

function workgroupMemory(memory: ReturnType<typeof tileMemory>): string {
  return lines([
    `var<workgroup> stage: array<vec4f, ${memory.stage}>;`,
    `var<workgroup> weights: array<vec4f, ${memory.weights}>;`,
    `var<workgroup> maxima: array<vec4f, ${memory.maxima}>;`,
    'var<workgroup> hasBadValue: atomic<u32>;',
  ]);
}

const numbers = `const LOWEST = -3.40282346e38;
const HIDDEN = 0xff800000u;
const UNSEEN = 0x80000000u;
fn notFinite(x: vec4f) -> vec4<bool> { return (bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u); }
fn isHidden(x: vec4f) -> vec4<bool> { return bitcast<vec4u>(x) == vec4u(HIDDEN); }`;

function mainFunction(p: ExactParameters): string {
  const { tile } = p;
  const queries = tileQueries(tile);
  const keys = tileKeys(tile);
  const rows = range(tile.rows);
  const columns = range(valueVectors(tile, p.valueDim));
  return `
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) thread: u32) {
  let tilesOfHead = (params.queries + ${queries - 1}u) / ${queries}u;
  let ${p.segmented ? 'index' : 'job'} = group.x + group.y * groups.x;
  ${
    p.segmented
      ? `let segment = index / (tilesOfHead * params.heads);
  let job = index % (tilesOfHead * params.heads);
  if (segment >= params.segments) { return; }`
      : 'if (job >= tilesOfHead * params.heads) { return; }'
  }
  // Queries that see the most keys come first, so that no long tile is left for the end.
  let head = job / tilesOfHead;
  let tileQuery = params.first_query + (tilesOfHead - 1u - job % tilesOfHead) * ${queries}u;
  let queryEnd = params.first_query + params.queries;
  let batch = (params.first_head + head) / params.query_heads;
  let headOfBatch = (params.first_head + head) % params.query_heads;
  let keyHead = key_head_of(head);
  let qStart = params.q_base + (head * params.query_length - params.first_query) * ${p.headDim}u;
  ${p.segmented ? '' : `let outStart = params.out_base + (head * params.query_length - params.first_query) * ${p.valueDim}u;`}
  let kStart = params.k_base + keyHead * params.key_length * ${p.headDim}u;
  let vStart = params.v_base + keyHead * params.key_length * ${p.valueDim}u;
  ${
    p.relativeBias
      ? `let reach = i32(params.reach);
  let relativeStart = headOfBatch * (2u * params.reach + 1u);`
      : ''
  }
  var visible = i32(params.key_length);
  ${p.keyLengths ? 'visible = min(visible, key_lengths[batch]);' : ''}
  // Keys below the first bound are valid for every query of the tile, from the second on for none.
  var allSee = visible;
  ${p.causal ? `allSee = min(visible, i32(tileQuery) + params.query_start + 1);\nvisible = min(visible, i32(min(tileQuery + ${queries}u, queryEnd)) + params.query_start);` : ''}
  let keyTiles = u32(max(visible + ${keys - 1}, 0)) / ${keys}u;
  let tx = thread % ${tile.columns}u;
  let ty = thread / ${tile.columns}u;
  if (thread == 0u) { atomicStore(&hasBadValue, 0u); }
${lines(rows.map((r) => `  let query${r} = tileQuery + ${rowText(tile, r)};`))}
${lines(rows.map((r) => `  var top${r} = LOWEST; var total${r} = 0.0; var bad${r} = false;`))}
${lines(rows.map((r) => columns.map((c) => `  var sum${r}_${c} = vec4f(0);`).join('')))}
  // Segments take tiles in turn: what runs together reads neighbouring memory, and causality leaves all of them alike.
  for (var keyTile = ${p.segmented ? 'segment' : '0u'}; keyTile < keyTiles; keyTile += ${p.segmented ? 'params.segments' : '1u'}) {
    let key0 = keyTile * ${keys}u;
${scores(p)}
${validity(p)}
${p.sigmoid ? sigmoidWeights(p) : softmax(p)}
${product(p)}
  }
${p.segmented ? storeSegment(p) : finish(p)}
}`;
}
