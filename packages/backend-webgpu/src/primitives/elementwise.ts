import { type DType, isFloat } from '@topk-attention/core';
import type { BinaryOp, CompareOp, UnaryOp } from '@topk-attention/core/backend';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import type { Helper } from './elementwise-wgsl.js';
import { type Mapping, type Operand, recordMap } from './map-elements.js';
import { broadcastStrides } from './strides.js';

const QUIET_NAN = '0x7fc00000u';
const INFINITY_BITS = '0x7f800000u';

type Formula = Pick<Mapping, 'body' | 'helpers'>;

/** Guards come first, on bits; what remains is an ordinary number. */
const guarded = (guards: string, value: string, helpers: Mapping['helpers'] = []): Formula => ({
  helpers: ['isNaN', ...helpers],
  body: `
  if (is_nan(a)) { return a | 0x400000u; }
  ${guards}
  let x = bitcast<f32>(a);
  return bitcast<u32>(${value});`,
});

const negativeIsNaN = `if (a > 0x80000000u) { return ${QUIET_NAN}; }`;

const floatUnary: Readonly<Record<UnaryOp, Formula>> = {
  neg: { body: 'return a ^ 0x80000000u;' },
  abs: { body: 'return a & 0x7fffffffu;' },
  exp: guarded(
    `if (a == 0xff800000u) { return 0u; }
  if (bitcast<f32>(a & 0x7fffffffu) > 88.72283 && (a & 0x80000000u) == 0u) { return ${INFINITY_BITS}; }`,
    'exp(max(x, -150.0))',
  ),
  log: guarded(
    `if ((a & 0x7fffffffu) == 0u) { return 0xff800000u; }
  if (a == ${INFINITY_BITS}) { return a; }
  ${negativeIsNaN}`,
    'log(x)',
  ),
  sqrt: guarded(
    `if ((a & 0x7fffffffu) == 0u || a == ${INFINITY_BITS}) { return a; }
  ${negativeIsNaN}`,
    'sqrt(x)',
  ),
  rsqrt: guarded(
    `if ((a & 0x7fffffffu) == 0u) { return ${INFINITY_BITS} | a; }
  if (a == ${INFINITY_BITS}) { return 0u; }
  ${negativeIsNaN}`,
    'inverseSqrt(x)',
  ),
  tanh: guarded(
    'if ((a & 0x7fffffffu) > 0x41a00000u) { return (a & 0x80000000u) | 0x3f800000u; }',
    'tanh_of(x)',
    ['tanh'],
  ),
  erf: guarded(
    'if ((a & 0x7fffffffu) > 0x40800000u) { return (a & 0x80000000u) | 0x3f800000u; }',
    'erf_of(x)',
    ['erf'],
  ),
  sigmoid: guarded(
    `if (a == 0xff800000u) { return 0u; }
  if (a == ${INFINITY_BITS}) { return 0x3f800000u; }`,
    'sigmoid_of(x)',
    ['sigmoid'],
  ),
};

/** WGSL of an op on floats: `fn NAME_bits(a: u32) -> u32` on bits, without its helpers. */
export function unaryFunction(op: UnaryOp): { readonly text: string; readonly helpers: readonly Helper[] } {
  const { body, helpers = [] } = floatUnary[op];
  return { text: `fn ${op}_bits(a: u32) -> u32 { ${body} }`, helpers };
}

/** WGSL of an op on floats. */
export function binaryExpression(op: BinaryOp, x: string, y: string): string {
  return binaryExpressions[op].replace(/\bx\b/, x).replace(/\by\b/, y);
}

const integerUnary: Partial<Readonly<Record<UnaryOp, Formula>>> = {
  neg: { body: 'return 0u - a;' },
  abs: { body: 'return select(a, 0u - a, (a & 0x80000000u) != 0u);' },
};

const floatBinary = (expression: string): Formula => ({
  body: `let x = bitcast<f32>(a); let y = bitcast<f32>(b); return bitcast<u32>(${expression});`,
});
const integerBinary = (expression: string): Formula => ({
  body: `let x = bitcast<i32>(a); let y = bitcast<i32>(b); return bitcast<u32>(${expression});`,
});

const binaryExpressions: Readonly<Record<BinaryOp, string>> = {
  add: 'x + y',
  sub: 'x - y',
  mul: 'x * y',
  div: 'x / y',
  min: 'min(x, y)',
  max: 'max(x, y)',
};

/** Compares by the order of the floats: exact for subnormals and infinities too. */
const floatCompare: Readonly<Record<CompareOp, string>> = {
  eq: 'key_of(a) == key_of(b)',
  lt: 'key_of(a) < key_of(b)',
  le: 'key_of(a) <= key_of(b)',
};
const integerCompare: Readonly<Record<CompareOp, string>> = {
  eq: 'a == b',
  lt: 'bitcast<i32>(a) < bitcast<i32>(b)',
  le: 'bitcast<i32>(a) <= bitcast<i32>(b)',
};

function broadcast(views: readonly View[], out: View): Operand[] {
  return views.map((view) => ({ view, strides: broadcastStrides(view.shape, out.shape) }));
}

export function recordUnary(stream: Stream, op: UnaryOp, x: View, out: View): void {
  const formula = isFloat(x.dtype) ? floatUnary[op] : (integerUnary[op] as Formula);
  recordMap(stream, { name: op, ...formula }, broadcast([x], out), out);
}

export function recordBinary(stream: Stream, op: BinaryOp, a: View, b: View, out: View): void {
  const formula = (isFloat(a.dtype) ? floatBinary : integerBinary)(binaryExpressions[op]);
  recordMap(stream, { name: op, ...formula }, broadcast([a, b], out), out);
}

export function recordCompare(stream: Stream, op: CompareOp, a: View, b: View, out: View): void {
  const formula: Formula = isFloat(a.dtype)
    ? {
        helpers: ['isNaN', 'key'],
        body: `return select(0u, 1u, !is_nan(a) && !is_nan(b) && ${floatCompare[op]});`,
      }
    : { body: `return select(0u, 1u, ${integerCompare[op]});` };
  recordMap(stream, { name: op, ...formula }, broadcast([a, b], out), out);
}

export function recordIsNaN(stream: Stream, x: View, out: View): void {
  const formula: Formula = isFloat(x.dtype)
    ? { helpers: ['isNaN'], body: 'return select(0u, 1u, is_nan(a));' }
    : { body: 'return 0u;' };
  recordMap(stream, { name: 'isNaN', ...formula }, broadcast([x], out), out);
}

export function recordLogicalAnd(stream: Stream, a: View, b: View, out: View): void {
  recordMap(
    stream,
    { name: 'and', body: 'return select(0u, 1u, a != 0u && b != 0u);' },
    broadcast([a, b], out),
    out,
  );
}

export function recordLogicalNot(stream: Stream, x: View, out: View): void {
  recordMap(stream, { name: 'not', body: 'return select(0u, 1u, a == 0u);' }, broadcast([x], out), out);
}

export function recordWhere(stream: Stream, condition: View, a: View, b: View, out: View): void {
  const mapping: Mapping = { name: 'where', raw: true, body: 'return select(c, b, a != 0u);' };
  recordMap(stream, mapping, broadcast([condition, a, b], out), out);
}

/** Float to i32 truncates towards zero; anything to bool is `!= 0`. */
export function recordCast(stream: Stream, x: View, out: View): void {
  recordMap(
    stream,
    { name: 'cast', body: `return ${castOf(x.dtype, out.dtype)};` },
    broadcast([x], out),
    out,
  );
}

/** f16 is read and written as f32. */
function castOf(from: DType, to: DType): string {
  const [source, target] = [from, to].map((dtype) => (dtype === 'f16' ? 'f32' : dtype));
  if (source === target) return 'a';
  if (target === 'bool') {
    return source === 'f32' ? 'select(0u, 1u, (a & 0x7fffffffu) != 0u)' : 'select(0u, 1u, a != 0u)';
  }
  if (target === 'i32') return source === 'bool' ? 'a' : 'bitcast<u32>(i32(bitcast<f32>(a)))';
  return source === 'bool' ? 'select(0u, 0x3f800000u, a != 0u)' : 'bitcast<u32>(f32(bitcast<i32>(a)))';
}
