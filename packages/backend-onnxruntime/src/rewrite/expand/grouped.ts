import { dataTypes } from '../../onnx/data-types.js';
import { floatOf, intOf } from '../graph/attributes.js';
import { lowest } from './masks.js';
import { headsOf, scaleOf } from './multi-head.js';
import {
  axesOf,
  emitBlock,
  type Fused,
  fromHeads,
  number,
  places,
  refused,
  repeated,
  toHeads,
  typeOf,
} from './parts.js';

/**
 * com.microsoft.GroupQueryAttention: causal, with fewer heads of keys, the number of tokens in each row of the batch, rotary
 * positions, and a past that grows by the input or is a buffer with room for it. What is returned of a past is as long as all
 * tokens and no shorter than what was given, as the operator says.
 */
export function expandGrouped(fused: Fused): void {
  const { node, writer } = fused;
  const [q = '', k = '', v = '', pastKey = '', pastValue = '', counts = '', all = '', cos = '', sin = ''] =
    node.input;
  const [positions = '', added = '', ...others] = node.input.slice(9);
  const [, presentKey = '', presentValue = '', ...more] = node.output;
  if (k === '' || v === '') throw refused(fused, 'packed queries, keys and values');
  if (others.some((name) => name !== '')) throw refused(fused, 'sinks or a quantized past');
  if (more.some((name) => name !== '')) throw refused(fused, 'scores as an output');
  if ((floatOf(node, 'softcap') ?? 0) !== 0) throw refused(fused, 'a softcap');
  if ((intOf(node, 'smooth_softmax') ?? 0) > 0) throw refused(fused, 'a smooth softmax');
  if ((intOf(node, 'rotary_interleaved') ?? 0) !== 0) throw refused(fused, 'interleaved rotary positions');
  if (writer.opset < 12) throw refused(fused, `operator set ${writer.opset}, not 12 or later`);
  const type = typeOf(fused);
  const heads = headsOf(fused);
  const keyHeads = intOf(node, 'kv_num_heads') ?? heads;
  const depth = (axesOf(fused, q).dims.at(-1) as number) / heads;
  const window = intOf(node, 'local_window_size') ?? -1;
  const isRotated = (intOf(node, 'do_rotary') ?? 0) !== 0;

  let queries = toHeads(fused, q, heads);
  let keys = toHeads(fused, k, keyHeads);
  const rows = places(fused, queries, 2, true);
  const length = writer.extent(queries, 2);
  const total = writer.op('Reshape', [writer.op('Cast', [all], { to: dataTypes.int64 }), writer.i64([])]);
  const before = emitBefore(fused, counts, total, length);
  // [B, 1, L, 1]
  const ownPlaces = writer.op('Add', [rows, before]);
  if (isRotated) {
    const at = positions === '' ? ownPlaces : writer.unsqueeze(writer.unsqueeze(positions, 1), 3);
    const looked = (table: string): string =>
      writer.squeeze(writer.op('Gather', [table, at], { axis: 0 }), 3);
    const [cosine, sine] = [looked(cos), looked(sin)];
    const half = axesOf(fused, cos).dims.at(-1) as number;
    queries = emitRotated(fused, queries, cosine, sine, half, depth);
    keys = emitRotated(fused, keys, cosine, sine, half, depth);
  }
  const values = toHeads(fused, v, keyHeads);
  const withPast = (past: string, value: string, present: string): string => {
    if (past !== '') return emitCache(fused, { past, value, before, total }, present);
    if (present !== '') writer.opInto([present], 'Identity', [value]);
    return value;
  };
  const ofAll = (past: string, value: string, present: string): string =>
    repeated(fused, withPast(past, value, present), keyHeads, heads / keyHeads);
  const parts = {
    q: queries,
    k: ofAll(pastKey, keys, presentKey),
    v: ofAll(pastValue, values, presentValue),
  };
  const columns = places(fused, parts.k, 2, false);
  let hidden = writer.op('Greater', [columns, ownPlaces]);
  if (window >= 0) {
    const first = writer.op('Sub', [ownPlaces, writer.i64(window)]);
    hidden = writer.op('Or', [hidden, writer.op('Not', [writer.op('Greater', [columns, first])])]);
  }
  const biases = [
    writer.op('Where', [hidden, number(fused, lowest(type), type), number(fused, 0, type)]),
    ...(added === '' ? [] : [added]),
  ];
  fromHeads(fused, emitBlock(fused, parts, scaleOf(fused, depth, type), biases));
}

/** Tokens of each row of the batch before the input, as [B, 1, 1, 1]; none where the input is all there is. */
function emitBefore({ writer }: Fused, counts: string, total: string, length: string): string {
  // The operator's input is one less than the number of tokens so far.
  const whole = writer.op('Cast', [counts], { to: dataTypes.int64 });
  const list = writer.op('Reshape', [whole, writer.i64([-1, 1, 1, 1])]);
  const last = writer.op('Sub', [writer.op('Add', [list, writer.i64(1)]), length]);
  return writer.op('Where', [writer.op('Equal', [length, total]), writer.i64(0), last]);
}

/** The first half of the turned part is the real one, the second the imaginary. */
function emitRotated(
  { writer }: Fused,
  value: string,
  cosine: string,
  sine: string,
  half: number,
  depth: number,
): string {
  const cut = (from: number, to: number): string => writer.part(value, 3, from, to);
  const times = (a: string, b: string): string => writer.op('Mul', [a, b]);
  const [real, imaginary] = [cut(0, half), cut(half, 2 * half)];
  const turned = [
    writer.op('Sub', [times(real, cosine), times(imaginary, sine)]),
    writer.op('Add', [times(real, sine), times(imaginary, cosine)]),
  ];
  if (2 * half < depth) turned.push(cut(2 * half, depth));
  return writer.op('Concat', turned, { axis: 3 });
}

interface Cache {
  readonly past: string;
  readonly value: string;
  readonly before: string;
  readonly total: string;
}

/**
 * Of each row of the batch the tokens so far and then those of the input: shorter rows end in copies of their last. What is
 * left of a buffer comes after them, which causality hides.
 */
function emitCache({ writer }: Fused, { past, value, before, total }: Cache, present: string): string {
  const both = writer.op('Concat', [past, value], { axis: 2 });
  const turned = writer.op('Transpose', [both], { perm: [0, 2, 1, 3] });
  const pastLength = writer.extent(past, 2);
  const count = writer.extent(both, 2);
  const columns = writer.range(count);
  const mine = writer.op('Reshape', [before, writer.i64([-1, 1])]);
  const shifted = writer.op('Add', [columns, writer.op('Sub', [pastLength, mine])]);
  const ofPast = writer.op('Less', [columns, mine]);
  const places = writer.op('Where', [ofPast, columns, shifted]);
  const last = writer.op('Sub', [count, writer.i64(1)]);
  const indices = writer.unsqueeze(writer.smaller(places, last), 2);
  const gathered = writer.op('GatherND', [turned, indices], { batch_dims: 1 });
  const tokens = writer.op('Transpose', [gathered], { perm: [0, 2, 1, 3] });
  if (present !== '') {
    const end = writer.list(writer.larger(total, pastLength));
    writer.opInto([present], 'Slice', [tokens, writer.i64([0]), end, writer.i64([2])]);
  }
  return tokens;
}
