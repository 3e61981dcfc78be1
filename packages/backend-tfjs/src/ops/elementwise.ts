import { type DType, sizeOf } from '@topk-attention/core';
import { type BinaryOp, broadcastShapes, type CompareOp, type UnaryOp } from '@topk-attention/core/backend';
import type { Engine } from '../engine/engine.js';
import { tfTypeOf } from '../tensor.js';
import type { TfTensor } from '../tf.js';
import { onHost } from './host/integers.js';
import { broadcastTo, joinForBroadcast } from './layout.js';
import { toFloats } from './to-floats.js';

/** The highest rank that every engine takes in elementwise operations. */
const EVERYWHERE_RANK = 4;

export function unary(engine: Engine, op: UnaryOp, x: TfTensor): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.unary(op, y));
  if (exact) return exact;
  const { tf } = engine;
  switch (op) {
    case 'neg':
      return neg(engine, x);
    case 'abs':
      return abs(engine, x);
    case 'exp':
      return guarded(engine, x, tf.exp);
    case 'log':
      return log(engine, x);
    case 'sqrt':
      return tf.sqrt(x);
    case 'rsqrt':
      return tf.rsqrt(x);
    case 'tanh':
      return tf.tanh(x);
    case 'erf':
      return tf.erf(x);
    case 'sigmoid':
      return guarded(engine, x, tf.sigmoid);
    default:
      return op satisfies never;
  }
}

/** f(x), with NaN where x is NaN. */
function guarded({ tf, traits }: Engine, x: TfTensor, f: (x: TfTensor) => TfTensor): TfTensor {
  return traits.losesNaN ? tf.tidy(() => tf.where(tf.isNaN(x), x, f(x))) : f(x);
}

/** In shaders, the logarithm of 0 is up to the device: -88 was seen. */
function log(engine: Engine, x: TfTensor): TfTensor {
  const { tf, traits } = engine;
  if (traits.gpu === undefined) return tf.log(x);
  return tf.tidy(() => {
    const y = guarded(engine, x, tf.log);
    return tf.where(tf.equal(x, tf.scalar(0)), tf.fill(x.shape, Number.NEGATIVE_INFINITY), y);
  });
}

function neg({ tf, traits }: Engine, x: TfTensor): TfTensor {
  if (x.dtype !== 'int32' || !traits.negatesThroughFloats) return tf.neg(x);
  return tf.tidy(() => tf.sub(tf.scalar(0, 'int32'), x));
}

/** tf.abs passes integers through floats on the cpu engine. */
function abs(engine: Engine, x: TfTensor): TfTensor {
  const { tf } = engine;
  return x.dtype === 'int32' ? tf.tidy(() => tf.maximum(x, neg(engine, x))) : tf.abs(x);
}

/** min and max of NaN are undefined: some engines drop it. */
export function binary(engine: Engine, op: BinaryOp, a: TfTensor, b: TfTensor): TfTensor {
  const exact = onHost(engine, [a, b], (host, x, y) => host.binary(op, x, y));
  if (exact) return exact;
  const { tf, traits } = engine;
  if (a.dtype === 'int32' && (op === 'mul' || op === 'div') && traits.roundsIntegerProducts) {
    return integersByLoop(engine, op, a, b);
  }
  const run = (x: TfTensor, y: TfTensor): TfTensor => {
    switch (op) {
      case 'add':
        return tf.add(x, y);
      case 'sub':
        return tf.sub(x, y);
      case 'mul':
        return tf.mul(x, y);
      case 'div':
        return x.dtype === 'int32' ? truncatingDivision(engine, x, y) : division(engine, x, y);
      case 'min':
        return tf.minimum(x, y);
      case 'max':
        return tf.maximum(x, y);
      default:
        return op satisfies never;
    }
  };
  return broadcasting(engine, a, b, run, op !== 'min' && op !== 'max');
}

/** a / b, with NaN for the quotients of zeros and of infinities. */
function division({ tf, traits }: Engine, a: TfTensor, b: TfTensor): TfTensor {
  if (!traits.dividesEqualsToOne) return tf.div(a, b);
  return tf.tidy(() => {
    const quotients = tf.div(a, b);
    const size = tf.abs(b);
    const isExtreme = tf.logicalOr(
      tf.equal(size, tf.scalar(0)),
      tf.equal(size, tf.scalar(Number.POSITIVE_INFINITY)),
    );
    const isNaN = tf.logicalAnd(tf.equal(a, b), isExtreme);
    return tf.where(isNaN, tf.fill(quotients.shape, Number.NaN), quotients);
  });
}

/** Wrapping products and truncated quotients of int32, for engines that lose bits in them. */
function integersByLoop(engine: Engine, op: 'mul' | 'div', a: TfTensor, b: TfTensor): TfTensor {
  const { tf } = engine;
  const shape = broadcastShapes('elementwise', a.shape, b.shape);
  return tf.tidy(() => {
    const [x, y] = [a, b].map((one) => broadcastTo(engine, one, shape).dataSync<'int32'>()) as [
      Int32Array,
      Int32Array,
    ];
    const values =
      op === 'mul'
        ? x.map((value, at) => Math.imul(value, y[at] as number))
        : x.map((value, at) => value / (y[at] as number));
    return tf.tensor(values, [...shape], 'int32');
  });
}

/**
 * Quotients of integers, rounded towards zero. tf.floorDiv rounds down, so negative quotients that are not whole are
 * one too small.
 */
function truncatingDivision(engine: Engine, a: TfTensor, b: TfTensor): TfTensor {
  const { tf, traits } = engine;
  return tf.tidy(() => {
    const zero = tf.scalar(0, 'int32');
    const isNegative = tf.notEqual(tf.less(a, zero), tf.less(b, zero));
    if (traits.hasFloatIntegers) {
      const magnitude = quotient(engine, abs(engine, a), abs(engine, b));
      return tf.where(isNegative, tf.neg(magnitude), magnitude);
    }
    const down = tf.floorDiv(a, b);
    const isPart = tf.notEqual(tf.sub(a, tf.mul(down, b)), zero);
    return tf.add(down, tf.cast(tf.logicalAnd(isNegative, isPart), 'int32'));
  });
}

/**
 * Quotients of integers from 0 to 2^24 on engines that divide as f32. Those are off by at most 1, where the f32 rounds
 * to a whole number.
 */
function quotient({ tf }: Engine, a: TfTensor, b: TfTensor): TfTensor {
  const rough = tf.floorDiv(a, b);
  const rest = tf.sub(a, tf.mul(rough, b));
  const isAbove = tf.cast(tf.greaterEqual(rest, b), 'int32');
  const isBelow = tf.cast(tf.less(rest, tf.scalar(0, 'int32')), 'int32');
  return tf.add(rough, tf.sub(isAbove, isBelow));
}

export function compare(engine: Engine, op: CompareOp, a: TfTensor, b: TfTensor): TfTensor {
  const exact = onHost(engine, [a, b], (host, x, y) => host.compare(op, x, y));
  if (exact) return exact;
  const { tf } = engine;
  return broadcasting(engine, a, b, (x, y) => {
    switch (op) {
      case 'eq':
        return tf.equal(x, y);
      case 'lt':
        return tf.less(x, y);
      case 'le':
        return tf.lessEqual(x, y);
      default:
        return op satisfies never;
    }
  });
}

export function isNaN({ tf }: Engine, x: TfTensor): TfTensor {
  return x.dtype === 'float32' ? tf.isNaN(x) : tf.zeros(x.shape, 'bool');
}

export function logicalAnd(engine: Engine, a: TfTensor, b: TfTensor): TfTensor {
  return broadcasting(engine, a, b, (x, y) => engine.tf.logicalAnd(x, y));
}

export function logicalNot({ tf }: Engine, x: TfTensor): TfTensor {
  return tf.logicalNot(x);
}

export function where(engine: Engine, condition: TfTensor, a: TfTensor, b: TfTensor): TfTensor {
  const exact = onHost(engine, [condition, a, b], (host, c, x, y) => host.where(c, x, y));
  if (exact) return exact;
  const { tf } = engine;
  const shape = broadcastShapes('where', condition.shape, broadcastShapes('where', a.shape, b.shape));
  return tf.tidy(() => {
    const whole = [condition, a, b].map((x) => broadcastTo(engine, x, shape));
    const [c, x, y] = (
      shape.length > EVERYWHERE_RANK ? whole.map((one) => tf.reshape(one, [-1])) : whole
    ) as [TfTensor, TfTensor, TfTensor];
    return tf.reshape(x.dtype === 'bool' ? whereBool(engine, c, x, y) : tf.where(c, x, y), [...shape]);
  });
}

/** Uses boolean logic: tf.where of bool takes the wrong branch on the wasm engine. */
function whereBool({ tf }: Engine, condition: TfTensor, a: TfTensor, b: TfTensor): TfTensor {
  return tf.logicalOr(tf.logicalAnd(condition, a), tf.logicalAnd(tf.logicalNot(condition), b));
}

/** Float to i32 truncates towards zero; anything to bool is `!= 0`. */
export function cast(engine: Engine, x: TfTensor, dtype: DType): TfTensor {
  const exact = onHost(engine, [x], (host, y) => host.cast(y, dtype));
  if (exact) return exact;
  const { tf } = engine;
  const type = tfTypeOf(dtype);
  if (type === 'float32') return toFloats(engine, x);
  if (type !== 'bool' || x.dtype === 'bool') return tf.cast(x, type);
  // tf.cast to bool keeps the low bits on some engines: 0.25 and 256 would be false.
  return tf.tidy(() => tf.notEqual(x, tf.scalar(0, x.dtype)));
}

/** Up to this many elements it does not matter how the engine broadcasts. */
const FEW = 256;

/**
 * Whether operands are repeated before the operation. Engines on the host take 50 to 80 ns per element to broadcast,
 * and 1 to 15 on equal shapes. `isArithmetic`: one of the operations that some engines broadcast as fast as they
 * compute.
 */
function repeatsFirst(
  { traits }: Engine,
  a: TfTensor,
  b: TfTensor,
  size: number,
  isArithmetic: boolean,
): boolean {
  if (!traits.isOnHost || size <= FEW) return false;
  if (isArithmetic && traits.broadcastsFloats && a.dtype === 'float32') return false;
  return [a, b].some((one) => one.size > 1 && one.size < size);
}

/** Runs an operation that broadcasts, on fewer axes where not every engine takes the rank. */
function broadcasting(
  engine: Engine,
  a: TfTensor,
  b: TfTensor,
  run: (a: TfTensor, b: TfTensor) => TfTensor,
  isArithmetic = false,
): TfTensor {
  const { tf } = engine;
  const shape = broadcastShapes('elementwise', a.shape, b.shape);
  if (repeatsFirst(engine, a, b, sizeOf(shape), isArithmetic)) {
    return tf.tidy(() => {
      const [x, y] = [a, b].map((one) =>
        tf.reshape(one.size === 1 ? one : broadcastTo(engine, one, shape), one.size === 1 ? [] : [-1]),
      ) as [TfTensor, TfTensor];
      return tf.reshape(run(x, y), [...shape]);
    });
  }
  if (a.rank <= EVERYWHERE_RANK && b.rank <= EVERYWHERE_RANK) return run(a, b);
  const [aShape = [], bShape = []] = joinForBroadcast([a.shape, b.shape], shape);
  return tf.tidy(() => tf.reshape(run(tf.reshape(a, aShape), tf.reshape(b, bShape)), [...shape]));
}
