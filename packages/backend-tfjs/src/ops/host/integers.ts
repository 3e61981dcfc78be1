import { type Backend, type DType, TopKError } from '@topk-attention/core';
import { createReferenceBackend, type ReferenceTensor } from '@topk-attention/core/reference';
import type { Engine } from '../../engine/engine.js';
import type { TfTensor } from '../../tf.js';

/** From here on, not every whole number is an f32. */
const EXACT = 2 ** 24;

/**
 * Values of int32 tensors that hold a number of 25 bits or more, by the tensor's data, which reshapes share. The
 * shaders of tf's GPU engines read and write every value as f32, so even a slice would change such a number. All such
 * numbers come from the host: from an upload, a fill or random bits.
 */
const wide = new WeakMap<object, Int32Array>();

/** The fill value of int32 tensors filled with one: an operand of operations with such numbers. */
const filled = new WeakMap<object, number>();

/** Remembers the values of an int32 tensor with which the engine cannot compute exactly. */
export function rememberIntegers(engine: Engine, tensor: TfTensor, values: Int32Array): void {
  if (!engine.traits.hasFloatIntegers) return;
  if (values.some((value) => value >= EXACT || value <= -EXACT)) wide.set(tensor.dataId, values);
}

/** {@link rememberIntegers} for a tensor filled with one value. */
export function rememberFill(engine: Engine, tensor: TfTensor, value: number): void {
  if (!engine.traits.hasFloatIntegers) return;
  filled.set(tensor.dataId, value);
  if (Math.abs(value) >= EXACT) wide.set(tensor.dataId, new Int32Array(tensor.size).fill(value));
}

/** The exact values of a tensor that the engine may have rounded. Only for int32: a cast may share the data. */
export function integersOf(tensor: TfTensor): Int32Array | undefined {
  return tensor.dtype === 'int32' ? wide.get(tensor.dataId) : undefined;
}

const dtypes: Readonly<Partial<Record<string, DType>>> = { float32: 'f32', int32: 'i32', bool: 'bool' };

function hostValues(engine: Engine, tensor: TfTensor): Int32Array | Float32Array | Uint8Array {
  const known = wide.get(tensor.dataId);
  if (known) return known;
  const value = filled.get(tensor.dataId);
  if (value !== undefined) return new Int32Array(tensor.size).fill(value);
  try {
    return tensor.dataSync();
  } catch (error) {
    throw new TopKError(
      'UNSUPPORTED',
      'an op combines int32 values of 25 bits or more with values that only the GPU holds',
      {
        expected: `int32 within ±2^24 on the ${engine.name} engine, which computes with f32`,
        got: `a tensor of shape [${tensor.shape}] that cannot be read without waiting`,
        fix: 'Keep such numbers in tensors made from host data, or use the cpu, wasm or tensorflow engine',
        cause: error,
      },
    );
  }
}

/**
 * Computes an op exactly on the host if an input holds an int32 of 25 bits or more that the engine would round;
 * otherwise undefined, and the engine computes it. Sums and products of smaller numbers that exceed 2^24 are rounded.
 */
export function onHost(
  engine: Engine,
  inputs: readonly TfTensor[],
  run: (host: Backend<ReferenceTensor>, ...inputs: ReferenceTensor[]) => ReferenceTensor,
): TfTensor | undefined {
  if (!engine.traits.hasFloatIntegers || !inputs.some(({ dataId }) => wide.has(dataId))) return undefined;
  const host = createReferenceBackend({ fused: false });
  const result = run(
    host,
    ...inputs.map((one) => host.upload(hostValues(engine, one), one.shape, dtypes[one.dtype] ?? 'f32')),
  );
  const values = result.block.data;
  const { tf } = engine;
  if (values instanceof Int32Array) {
    const tensor = tf.tensor(values, [...result.shape], 'int32');
    rememberIntegers(engine, tensor, values);
    return tensor;
  }
  return result.dtype === 'bool'
    ? tf.tensor(values as Uint8Array, [...result.shape], 'bool')
    : tf.tensor(values as Float32Array, [...result.shape], 'float32');
}
