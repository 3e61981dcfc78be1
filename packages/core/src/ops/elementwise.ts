import type { DType } from '../contract/dtype.js';
import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import type { BinaryOp, CompareOp, UnaryOp } from '../contract/op-names.js';
import { broadcastShapes } from '../contract/shape.js';
import { apply, commonBackend } from '../tensor/apply.js';
import type { Operand, Operations } from '../tensor/operations.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Saved } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import { checkDType, fill } from './create.js';

const twoOverSqrtPi = 2 / Math.sqrt(Math.PI);

/** d op(x)/dx times the cotangent g, from those of x and y = op(x) that `reads` names: the others are not kept. */
interface UnaryGradient {
  readonly reads: '' | 'x' | 'y' | 'xy';
  readonly of: (ops: Operations, g: Tensor, x: Tensor, y: Tensor) => Tensor;
}

const unaryGradients: { readonly [op in UnaryOp]: UnaryGradient } = {
  neg: { reads: '', of: (ops, g) => ops.neg(g) },
  abs: {
    reads: 'x',
    of: (ops, g, x) => ops.mul(g, ops.sub(ops.cast(ops.lt(0, x), g.dtype), ops.cast(ops.lt(x, 0), g.dtype))),
  },
  exp: { reads: 'y', of: (ops, g, _x, y) => ops.mul(g, y) },
  log: { reads: 'x', of: (ops, g, x) => ops.div(g, x) },
  sqrt: { reads: 'y', of: (ops, g, _x, y) => ops.div(g, ops.mul(y, 2)) },
  rsqrt: { reads: 'xy', of: (ops, g, x, y) => ops.mul(g, ops.mul(ops.div(y, x), -0.5)) },
  tanh: { reads: 'y', of: (ops, g, _x, y) => ops.mul(g, ops.sub(1, ops.mul(y, y))) },
  erf: {
    reads: 'x',
    of: (ops, g, x) => ops.mul(g, ops.mul(ops.exp(ops.neg(ops.mul(x, x))), twoOverSqrtPi)),
  },
  sigmoid: { reads: 'y', of: (ops, g, _x, y) => ops.mul(g, ops.mul(y, ops.sub(1, y))) },
};

function unary(op: UnaryOp, x: Tensor): Tensor {
  requireTensor(op, 'x', x);
  if (!isFloat(x.dtype) && !(x.dtype === 'i32' && (op === 'neg' || op === 'abs'))) {
    throw new TopKError('DTYPE_MISMATCH', `${op}: wrong dtype`, { expected: 'a float tensor', got: x.dtype });
  }
  const { reads, of } = unaryGradients[op];
  const [y] = apply(op, [x], [x], (backend, a) => [backend.unary(op, a)], {
    save: ([out]) => [reads.includes('x') ? x : undefined, reads.includes('y') ? out : undefined],
    backward: (ops, [g], [input, output]) => [
      scope(() => of(ops, g as Tensor, input as Tensor, output as Tensor)),
    ],
  });
  return y as Tensor;
}

export const neg = (x: Tensor): Tensor => unary('neg', x);
export const abs = (x: Tensor): Tensor => unary('abs', x);
export const exp = (x: Tensor): Tensor => unary('exp', x);
export const log = (x: Tensor): Tensor => unary('log', x);
export const sqrt = (x: Tensor): Tensor => unary('sqrt', x);
/** 1 / sqrt(x) */
export const rsqrt = (x: Tensor): Tensor => unary('rsqrt', x);
export const tanh = (x: Tensor): Tensor => unary('tanh', x);
export const erf = (x: Tensor): Tensor => unary('erf', x);
export const sigmoid = (x: Tensor): Tensor => unary('sigmoid', x);

/** Those of both operands, made when asked for. */
type BinaryGradient = (
  ops: Operations,
  g: Tensor,
  a: Tensor,
  b: Tensor,
) => readonly [left: () => Tensor, right: () => Tensor];

const binaryGradients: { readonly [op in BinaryOp]: BinaryGradient } = {
  add: (_ops, g) => [() => g, () => g],
  sub: (ops, g) => [() => g, () => ops.neg(g)],
  mul: (ops, g, a, b) => [() => ops.mul(g, b), () => ops.mul(g, a)],
  div: (ops, g, a, b) => {
    const scaled = ops.div(g, b);
    return [() => scaled, () => ops.neg(ops.mul(scaled, ops.div(a, b)))];
  },
  // If the operands are equal, the gradient goes to the first.
  min: (ops, g, a, b) => [() => ops.where(ops.le(a, b), g, 0), () => ops.where(ops.lt(b, a), g, 0)],
  max: (ops, g, a, b) => [() => ops.where(ops.le(b, a), g, 0), () => ops.where(ops.lt(a, b), g, 0)],
};

/** The operands that the wanted gradients read. */
function operandsRead(op: BinaryOp, a: Tensor, b: Tensor, [ofLeft, ofRight]: readonly boolean[]): Saved {
  if (op === 'add' || op === 'sub') return [];
  if (op === 'mul') return [ofRight ? a : undefined, ofLeft ? b : undefined];
  if (op === 'div') return [ofRight ? a : undefined, b];
  return [a, b];
}

function binary(op: BinaryOp, left: Operand, right: Operand): Tensor {
  return withOperands(op, left, right, (a, b) => {
    if (a.dtype === 'bool') {
      throw new TopKError('DTYPE_MISMATCH', `${op}: wrong dtype`, {
        expected: 'a numeric dtype',
        got: 'bool',
        fix: 'Cast it first',
      });
    }
    const shape = broadcastShapes(op, a.shape, b.shape);
    const [y] = apply(
      op,
      [a, b],
      [{ shape, dtype: a.dtype }],
      (backend, x, z) => [backend.binary(op, x, z)],
      {
        save: (_outputs, wanted) => operandsRead(op, a, b, wanted),
        backward: (ops, [g], [x, z], [ofLeft, ofRight]) =>
          scope(() => {
            const [left, right] = binaryGradients[op](ops, g as Tensor, x as Tensor, z as Tensor);
            return [
              ofLeft ? ops.sumTo(left(), a.shape) : undefined,
              ofRight ? ops.sumTo(right(), b.shape) : undefined,
            ];
          }),
      },
    );
    return y as Tensor;
  });
}

export const add = (a: Operand, b: Operand): Tensor => binary('add', a, b);
export const sub = (a: Operand, b: Operand): Tensor => binary('sub', a, b);
export const mul = (a: Operand, b: Operand): Tensor => binary('mul', a, b);
export const div = (a: Operand, b: Operand): Tensor => binary('div', a, b);
/** Elementwise smaller; NaN operands are undefined. */
export const min = (a: Operand, b: Operand): Tensor => binary('min', a, b);
/** Elementwise larger; NaN operands are undefined. */
export const max = (a: Operand, b: Operand): Tensor => binary('max', a, b);

function compare(op: CompareOp, left: Operand, right: Operand): Tensor {
  return withOperands(op, left, right, (a, b) => {
    const shape = broadcastShapes(op, a.shape, b.shape);
    const [y] = apply(op, [a, b], [{ shape, dtype: 'bool' }], (backend, x, z) => [backend.compare(op, x, z)]);
    return y as Tensor;
  });
}

/** bool; false where either is NaN. */
export const eq = (a: Operand, b: Operand): Tensor => compare('eq', a, b);
export const lt = (a: Operand, b: Operand): Tensor => compare('lt', a, b);
export const le = (a: Operand, b: Operand): Tensor => compare('le', a, b);

export function elementIsNaN(x: Tensor): Tensor {
  const [y] = apply('isNaN', [x], [{ shape: x.shape, dtype: 'bool' }], (backend, a) => [backend.isNaN(a)]);
  return y as Tensor;
}

export function logicalAnd(a: Tensor, b: Tensor): Tensor {
  requireBool('logicalAnd', a, b);
  const shape = broadcastShapes('logicalAnd', a.shape, b.shape);
  const [y] = apply('logicalAnd', [a, b], [{ shape, dtype: 'bool' }], (backend, x, z) => [
    backend.logicalAnd(x, z),
  ]);
  return y as Tensor;
}

export function logicalNot(x: Tensor): Tensor {
  requireBool('logicalNot', x);
  const [y] = apply('logicalNot', [x], [x], (backend, a) => [backend.logicalNot(a)]);
  return y as Tensor;
}

/** condition ? a : b, with NumPy broadcasting. The branch not taken never matters, even when it is NaN. */
export function where(condition: Tensor, left: Operand, right: Operand): Tensor {
  requireBool('where', condition);
  const choose = (a: Tensor, b: Tensor): Tensor => {
    const shape = broadcastShapes('where', condition.shape, a.shape, b.shape);
    const [y] = apply(
      'where',
      [condition, a, b],
      [{ shape, dtype: a.dtype }],
      (backend, c, x, z) => [backend.where(c, x, z)],
      {
        save: () => [condition],
        backward: (ops, [g], [c], [, ofLeft, ofRight]) => [
          undefined,
          ofLeft ? scope(() => ops.sumTo(ops.where(c as Tensor, g as Tensor, 0), a.shape)) : undefined,
          ofRight ? scope(() => ops.sumTo(ops.where(c as Tensor, 0, g as Tensor), b.shape)) : undefined,
        ],
      },
    );
    return y as Tensor;
  };
  return withOperands('where', left, right, choose, condition);
}

/** Float to i32 truncates towards zero; anything to bool is `!= 0`. Gradients flow between float types only. */
export function cast(x: Tensor, dtype: DType): Tensor {
  requireTensor('cast', 'x', x);
  checkDType('cast', x.backend, dtype);
  if (x.dtype === dtype) return x.alias();
  const differentiable = isFloat(x.dtype) && isFloat(dtype);
  const [y] = apply(
    'cast',
    [x],
    [{ shape: x.shape, dtype }],
    (backend, a) => [backend.cast(a, dtype)],
    differentiable ? { save: () => [], backward: (ops, [g]) => [ops.cast(g as Tensor, x.dtype)] } : undefined,
  );
  return y as Tensor;
}

/** Runs `body` on both operands as tensors; a tensor made from a number lives only that long. */
function withOperands(
  where: string,
  left: Operand,
  right: Operand,
  body: (a: Tensor, b: Tensor) => Tensor,
  other?: Tensor,
): Tensor {
  const [a, b] = operands(where, left, right, other);
  try {
    return body(a, b);
  } finally {
    if (a !== left) a.dispose();
    if (b !== right) b.dispose();
  }
}

function operands(where: string, left: Operand, right: Operand, other?: Tensor): [Tensor, Tensor] {
  for (const operand of [left, right]) {
    if (typeof operand !== 'number') requireTensor(where, 'operand', operand);
  }
  const model = left instanceof Tensor ? left : right instanceof Tensor ? right : undefined;
  const backend = commonBackend(
    where,
    [left, right, other].filter((operand) => operand instanceof Tensor),
  );
  const dtype = model?.dtype ?? 'f32';
  const a = left instanceof Tensor ? left : fill(backend, left, [], dtype);
  const b = right instanceof Tensor ? right : fill(backend, right, [], dtype);
  if (a.dtype === b.dtype) return [a, b];
  throw new TopKError('DTYPE_MISMATCH', `${where}: operands of different dtypes`, {
    expected: 'equal dtypes',
    got: `${a.dtype} and ${b.dtype}`,
    fix: 'Cast one of them',
  });
}

function requireBool(where: string, ...xs: readonly Tensor[]): void {
  for (const x of xs) {
    requireTensor(where, 'operand', x);
    if (x.dtype === 'bool') continue;
    throw new TopKError('DTYPE_MISMATCH', `${where}: wrong dtype`, { expected: 'bool', got: x.dtype });
  }
}
